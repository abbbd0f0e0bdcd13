"""A small project for tests of commands, and the command itself in this process."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from stagewright.cli.main import run
from stagewright.engine.session import Session
from stagewright.store.meta import Meta

HEAD = """
format = 1
[project]
name = "small"
version = "1"
source_date_epoch = 2026-11-20
[seeds.base]
file = "seed.tar"
"""

PROJECT = f"""{HEAD}
[stages.live]
kind = "livecd-stage1"
root = "base"
root_overlay = ["overlay"]
[stages.pack]
kind = "tarball"
root = "live"
"""


BUSYBOX = Path("/bin/busybox")


def write_busybox_project(folder: Path, stages: str, programs: Iterable[str], scripts: Mapping[str, str]) -> Path:
    """Write a project of stages and their scripts. Its seed is a busybox with these programs."""
    root = folder.with_name(f"{folder.name}-seed") / "bin"
    root.mkdir(parents=True)
    folder.mkdir()
    shutil.copy(BUSYBOX, root / "busybox")
    for name in programs:
        (root / name).symlink_to("busybox")
    with tarfile.open(folder / "seed.tar", "w") as seed:
        seed.add(root, "bin")
    (folder / "stagewright.toml").write_text(HEAD + stages, encoding="utf-8")
    for name, text in scripts.items():
        write_script(folder, name, text)
    return folder


def write_script(project: Path, name: str, text: str) -> None:
    """Write a script of a stage."""
    (project / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    (project / name).chmod(0o755)


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
