"""A small project for tests of commands, and the command itself in this process."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from stagewright.cli.main import run
from stagewright.engine.session import Session
from stagewright.store.meta import Meta

PROJECT = """
format = 1
[project]
name = "small"
version = "1"
source_date_epoch = 2026-11-20
[seeds.base]
file = "seed.tar"
[stages.live]
kind = "livecd-stage1"
root = "base"
root_overlay = ["overlay"]
[stages.pack]
kind = "tarball"
root = "live"
"""


@dataclass
class Small:
    """A project in ``folder``, its store, and the output of the last command."""

    folder: Path
    store: Path
    capture: pytest.CaptureFixture[str]
    code: int = 0
    out: str = ""
    err: str = ""

    def __post_init__(self) -> None:
        (self.folder / "overlay" / "etc").mkdir(parents=True)
        with tarfile.open(self.folder / "seed.tar", "w") as seed:
            seed.add(self.folder / "overlay", "etc")
        self.write(PROJECT)

    def write(self, text: str) -> None:
        """Write the project file."""
        (self.folder / "stagewright.toml").write_text(text, encoding="utf-8")

    def __call__(self, *words: str) -> Small:
        """Run a command, and keep what it printed."""
        self.capture.readouterr()
        self.code = run(["-C", str(self.folder), "--store", str(self.store), *words])
        self.out, self.err = self.capture.readouterr()
        return self

    @property
    def session(self) -> Session:
        """The project as it is now."""
        return Session.open(self.folder, store=self.store)

    def build(self, *nodes: str) -> None:
        """Put empty results for these nodes into the store, as a build does."""
        session = self.session
        for name, step in session.plan().steps.items():
            if name in nodes or not nodes:
                tree = session.store.new_work(step.key.digest) / "tree"
                tree.mkdir()
                stack = [step.key.digest]
                meta = Meta(step.key.digest, name, step.node.kind, 0.0, 1, step.key.data, stack)
                session.store.commit(tree, step.node.yields, meta)
                session.store.remember(session.project.records, name, step.key.data)

    def log(self, node: str, text: str) -> Path:
        """Write a log of a node."""
        folder = self.session.store.log_folder(self.session.project.records, node)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "20261120-000000.log"
        path.write_text(text, encoding="utf-8")
        return path

    def fail(self, node: str) -> Path:
        """Make the kept root of a failed build."""
        folder = self.session.store.failed(self.session.project.records, node)
        folder.mkdir(parents=True)
        return folder
