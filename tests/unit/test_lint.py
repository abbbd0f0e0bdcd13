"""Linters and types are tests: the same on a laptop and in CI."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def check(*words: str) -> None:
    if importlib.util.find_spec(words[0]) is None:
        pytest.skip(f"NOT TESTED: {words[0]} is not installed")
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("words", [["ruff", "check", "."], ["ruff", "format", "--check", "."]], ids=" ".join)
def test_lint(words: list[str]) -> None:
    check(*words)


@pytest.mark.slow
def test_types(tmp_path: Path) -> None:
    """Also those of the example in docs/python-api.md. Other programs see the package's types, since it says so."""
    (example,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/python-api.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (tmp_path / "program.py").write_text(example, encoding="utf-8")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    check("mypy", *settings["files"], str(tmp_path / "program.py"))
    assert (ROOT / "src/stagewright/py.typed").exists()
