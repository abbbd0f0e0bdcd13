"""Temporary folders, and what killed processes leave of them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import stagewright
from stagewright import temporary
from stagewright.temporary import PREFIX, temporary_folder

SOURCE = Path(stagewright.__file__).parent

HOLDER = """
import sys, time
from pathlib import Path
from stagewright.temporary import temporary_folder
with temporary_folder("test", Path(sys.argv[1]), hidden=True) as folder:
    (folder / "key").touch()
    print(folder, flush=True)
    time.sleep(600)
"""


def test_the_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "NEW", -1.0)
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        theirs = Path(holder.stdout.readline().strip())
        with temporary_folder("test", tmp_path, hidden=True) as ours:
            assert ours != theirs
            assert theirs.exists()
        assert not ours.exists()
        holder.kill()
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / f".{PREFIX}test-link").symlink_to(target)
    with temporary_folder("other", tmp_path), temporary_folder("test", tmp_path):
        assert theirs.exists()  # of another name
    with temporary_folder("test", tmp_path, hidden=True):
        assert not theirs.exists()
    assert target.exists()


def test_a_new_folder_stays(tmp_path: Path) -> None:
    """Its process may not have locked it yet."""
    new, old = (tmp_path / f"{PREFIX}test-{name}" for name in ("new", "old"))
    new.mkdir()
    old.mkdir()
    os.utime(old, (0, 0))
    with temporary_folder("test", tmp_path):
        assert new.exists()
        assert not old.exists()


NAMED = {"TemporaryDirectory", "NamedTemporaryFile", "mkdtemp", "mkstemp"}
"""Functions of tempfile whose files have a name, and stay after a kill."""


def test_other_modules_make_named_temporary_files_only_in_a_folder_that_is_removed() -> None:
    """That is, with ``dir``: a work folder, or a temporary folder. Files without a name leave nothing."""
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        if "tempfile." in (text := path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in NAMED
        if "dir" not in {keyword.arg for keyword in node.keywords}
    ]
    assert found == []
