"""A program that acts as QEMU."""

import sys
from pathlib import Path

import pytest


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A folder with the fake QEMU. Its path contains spaces and is too long for a socket."""
    folder = tmp_path / ("deep folder " * 10)
    folder.mkdir()
    source = Path(__file__).with_name("qemu_fake.py").read_text(encoding="utf-8")
    program = folder / "qemu-fake"
    program.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
    program.chmod(0o755)
    return folder
