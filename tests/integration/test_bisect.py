"""``bisect`` with real builds: the commit between two locks that breaks a stage, or makes it too large."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from integration.archives import busybox_root, folder, member
from integration.gits import Git, tiny
from integration.support import Run, call, write_project

BUSYBOX = Path("/bin/busybox")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not BUSYBOX.exists(), reason="NOT TESTED: no static busybox"),
]

PROJECT = """
[repos.one]
git = "{one}"
[repos.two]
git = "{two}"
[seeds.base]
file = "seed.tar"
[stages.system]
kind = "livecd-stage1"
root = "base"
script = "script.sh"
unmerge = ["app-misc/none"]
profile = "default"
[stages.packed]
kind = "tarball"
root = "system"
compression = "none"
"""

SCRIPT = "test ! -e /var/db/repos/one/broken || exit 1\ncat /var/db/repos/two/large > /large\n"


class Place:
    """A project with two repositories. ``locks`` are the locks before and after their commits."""

    def __init__(self, base: Path) -> None:
        files = {"large": "x", "profiles/default/make.defaults": 'ARCH="amd64"\n'}
        self.one, self.two = (Git.make(base / name, {**tiny(name), **files}) for name in ("one", "two"))
        text = PROJECT.format(one=self.one.url, two=self.two.url)
        self.project, self.store = write_project(base / "project", text), base / "store"
        (self.project / "script.sh").write_text(SCRIPT, encoding="utf-8")
        programs = [member(f"usr/bin/{name}", b"#!/bin/sh\n", mode=0o755) for name in ("emerge", "egencache")]
        busybox_root(self.project / "seed.tar", BUSYBOX, [folder("usr/bin"), *programs])
        self.lock("good")
        self.one.change("fine")
        self.one.write({"broken": "x"})
        self.broken = self.one.commit("break it")
        self.one.change("later")
        self.two.change("fine")
        self.two.write({"large": "x" * (3 << 20)})
        self.large = self.two.commit("grow")
        self.lock("bad")

    def lock(self, name: str) -> None:
        call("update", cwd=self.project, store=self.store)
        shutil.copy(self.project / "stagewright.lock", self.project.parent / f"{name}.lock")

    def bisect(self, *words: str) -> Run:
        locks = [f"--{name}={self.project.parent / name}.lock" for name in ("good", "bad")]
        return call("bisect", *words, *locks, cwd=self.project, store=self.store, check=False)


def found(run: Run) -> dict[str, Any]:
    data = json.loads(run.stdout)
    assert isinstance(data, dict)
    return data


def test_the_commit_that_breaks_a_stage_or_makes_it_large_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path)
    lock = (place.project / "stagewright.lock").read_bytes()
    run = place.bisect("system")
    assert run.code == 0 and run.stdout.startswith(f"{place.broken} of one is the first bad commit\n  break it\n"), run
    again = place.bisect("system", "--json")
    assert found(again)["commits"][0]["id"] == place.broken
    assert "started" not in again.stderr, "the answers are kept"
    (place.project / "script.sh").write_text(SCRIPT.splitlines()[1], encoding="utf-8")
    run = place.bisect("--size", "packed", "--limit", "4M", "--json")
    assert run.code == 0 and found(run)["names"] == ["two"], run
    assert [commit["subject"] for commit in found(run)["commits"]] == ["grow"]
    assert (place.project / "stagewright.lock").read_bytes() == lock
