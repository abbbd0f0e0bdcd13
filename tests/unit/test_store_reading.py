"""Commands that only look need no store that they can write to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagewright.cli.main import run
from stagewright.errors import Exit, Reason, StagewrightError
from stagewright.graph.node import Yields
from stagewright.store.reading import ReadOnlyStore
from stagewright.store.store import Store

PROJECT = """
format = 1
[project]
name = "small"
version = "1"
source_date_epoch = 2026-11-20
[seeds.base]
file = "seed"
[stages.pack]
kind = "tarball"
root = "base"
"""

AS_ANOTHER = """
import os, sys
import stagewright.cli.boot, stagewright.cli.doctor, stagewright.cli.graph, stagewright.cli.log, stagewright.cli.plan
from stagewright.cli.main import run
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that all users can read, with a project."""
    made = Path(tempfile.mkdtemp(prefix="stagewright-test-", dir="/var/tmp"))
    made.chmod(0o755)
    (made / "project" / "seed" / "etc").mkdir(parents=True)
    (made / "project" / "stagewright.toml").write_text(PROJECT, encoding="utf-8")
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("words", [["plan"], ["graph", "--as", "text"], ["plan", "--json"]], ids=" ".join)
def test_looking_creates_no_store(folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    store = folder / "store"
    assert run(["-C", str(folder / "project"), "--store", str(store), *words]) == Exit.OK
    assert "pack" in capsys.readouterr().out
    assert not store.exists()


def test_what_is_missing_is_reported_without_a_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["log", "pack"], ["boot", "pack"]):
        assert run(["-C", str(folder / "project"), "--store", str(folder / "none"), *words]) == Exit.INVALID
        assert "stagewright build pack" in capsys.readouterr().err
    assert not (folder / "none").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_store_of_another_user_can_be_looked_at(folder: Path) -> None:
    """Its logs and artifacts are there, its layers are closed."""
    store = Store(folder / "store")
    log = store.log_folder("small", "pack") / "20261120-000000.log"
    log.parent.mkdir(parents=True)
    log.write_text("packed\n", encoding="utf-8")

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", AS_ANOTHER, "-C", str(folder / "project"), "--store", str(store.path), *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env={"HOME": "/", "PATH": "/usr/bin"}
        )

    before = sorted(path.name for path in (store.path / "cache").iterdir())
    said = call("log", "pack")
    assert (said.returncode, said.stdout) == (0, "packed\n"), said.stderr
    said = call("plan")
    assert said.returncode == 0, said.stderr
    assert "pack" in said.stdout
    said = call("doctor")
    assert "MISSING store: cannot write to the store" in said.stdout, said.stderr
    assert "bwrap" in said.stdout
    assert sorted(path.name for path in (store.path / "cache").iterdir()) == before


def test_a_store_for_reading_is_not_changed(folder: Path) -> None:
    store = ReadOnlyStore(folder / "store")
    assert not store.has(Yields.ARTIFACT, "a" * 64)
    assert store.memory("digests.db") is None
    with pytest.raises(StagewrightError) as caught, store.scratch("test"):
        pass
    assert caught.value.reason is Reason.NOT_ROOT
    assert not store.path.exists()
    Store(folder / "store")
    assert ReadOnlyStore(folder / "store").memory("digests.db") == folder / "store" / "cache" / "digests.db"
    (folder / "store" / "format").write_text("99\n", encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        ReadOnlyStore(folder / "store")
    assert caught.value.reason is Reason.STORE_FORMAT
