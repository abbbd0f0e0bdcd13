"""pip downloads source distributions in a sandbox: it runs their code before their digest is known."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.run import run
from stagewright.seeds.pypi import fetch_package

pytestmark = [pytest.mark.real, pytest.mark.slow]

PROJECT = """
[project]
name = "hostile"
version = "1.0"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""

BACKEND = """
import os
from pathlib import Path
def get_requires_for_build_wheel(settings=None):
    {attack}
    return []
def prepare_metadata_for_build_wheel(folder, settings=None):
    info = Path(folder, "hostile-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: hostile\\nVersion: 1.0\\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\\n")
    return info.name
"""


def index(folder: Path, attack: str) -> Path:
    """Write a home with settings of pip, and a folder of packages with an sdist whose build does ``attack``."""
    links, home = folder / "links", folder / "home/.config/pip"
    links.mkdir()
    home.mkdir(parents=True)
    (home / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {links}\n", encoding="utf-8")
    with tarfile.open(links / "hostile-1.0.tar.gz", "w:gz") as archive:
        files = {"pyproject.toml": PROJECT, "backend.py": BACKEND.format(attack=attack), "PKG-INFO": ""}
        for name, text in files.items():
            entry = tarfile.TarInfo(f"hostile-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return folder / "home"


def test_the_build_of_a_source_distribution_sees_no_files_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.touch()
    attack = f"if os.path.exists({str(secret)!r}): raise SystemExit('reached')"
    monkeypatch.setenv("HOME", str(index(tmp_path, attack)))
    plain = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=:all:", "hostile==1.0"]
    done = run([*plain, "--dest", str(tmp_path)], check=False)
    assert done.code and "reached" in done.stdout + done.stderr, "the attack itself works"
    found = fetch_package("hostile==1.0", tmp_path / "cache", source=True)
    assert found.read_bytes() == (tmp_path / "links/hostile-1.0.tar.gz").read_bytes()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [found.parent.name]


def test_a_link_instead_of_the_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(index(tmp_path, "os.symlink('/etc/shadow', '/stagewright/other.tar.gz')")))
    with pytest.raises(StagewrightError) as caught:
        fetch_package("hostile==1.0", tmp_path / "cache", source=True)
    assert caught.value.reason is Reason.FETCH_FAILED
    assert not list((tmp_path / "cache").iterdir()), "nothing is left"
