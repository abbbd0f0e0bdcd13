"""Faults in the middle of a build: a disk that is aborted, a program that vanishes, a clock that goes back."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_workers import Site

from stagewright.cli.main import run
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, NodeFinished, NodeStarted, RunFinished, Status
from stagewright.interpreter import package_path

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: mounting needs root")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small ext4 file system, mounted where a :class:`Site` has its store."""
    image, place = tmp_path / "disk.img", tmp_path / "store"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    place.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-m0", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, place], check=False).returncode:
        pytest.skip("NOT TESTED: this machine cannot mount a file")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def abort(place: Path) -> None:
    """Stop a file system as the kernel does after an error of the disk."""
    subprocess.run(["mount", "-o", "remount,abort", place], check=True)


@as_root
@pytest.mark.parametrize("moment", [NodeStarted, NodeFinished])
def test_a_disk_that_is_aborted_during_a_build_is_named(disk: Path, tmp_path: Path, moment: type[Event]) -> None:
    site = Site(tmp_path, {"seed:one": "await aborted; built"})

    def spoil(event: Event) -> None:
        if isinstance(event, moment) and getattr(event, "node", "") in ("seed:one", "seed:two"):
            abort(disk)
            site.reach("aborted")

    try:
        outcome = site.run(spoil)
    except StagewrightError as error:
        assert error.reason is Reason.STORE_FAILED
    else:
        assert outcome.errors
        assert {error.reason for error in outcome.errors.values()} <= {Reason.STORE_FAILED, Reason.BUILD_FAILED}
    assert isinstance(site.events[-1], RunFinished)
    assert site.events[-1].status is Status.FAILED


@as_root
@pytest.mark.parametrize("command", ["plan", "build", "gc", "clean", "log", "doctor"])
def test_no_command_has_a_traceback_on_an_aborted_disk(
    disk: Path, tmp_path: Path, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path)
    assert site.run().status is Status.BUILT
    abort(disk)
    code = run(["-C", str(tmp_path / "project"), "--store", str(disk), command])
    assert code in (0, 2, 3, 4)
    assert "Traceback" not in capfd.readouterr().err


VANISHING = """
import os, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from stagewright.api import Session
from stagewright.events import NodeFinished
project, program = Path(sys.argv[2]), Path(sys.argv[3]).resolve()

def vanish(event):
    if isinstance(event, NodeFinished) and event.node == "seed:base":
        layer = project.parent / "layer"
        layer.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", layer], check=True)
        for name in ("upper", "work"):
            (layer / name).mkdir()
        os.mknod(layer / "upper" / program.name, 0o20000, os.makedev(0, 0))
        options = f"lowerdir={program.parent},upperdir={layer}/upper,workdir={layer}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, program.parent], check=True)
        assert not program.exists()

session = Session.open(project, store=project.parent / "store", listeners=[vanish])
result = session.build()
for name, error in result.errors.items():
    print(name, error.reason, error.message)
"""
"""Builds a project; a program of the host vanishes for this process after the first node."""


@pytest.mark.slow
@as_root
def test_a_program_that_vanishes_during_a_build_is_named(packed_seed: Path) -> None:
    program = shutil.which("zstd")
    if not program:
        pytest.skip("NOT TESTED: zstd is not installed")
    words = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", VANISHING]
    done = subprocess.run([*words, package_path(), packed_seed, program], capture_output=True, text=True, check=False)
    assert done.stdout == "pack missing-tool pack: zstd is not installed\n", done.stderr
    assert done.returncode == 0


def test_a_clock_that_goes_back_changes_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(2_000_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(ticks)))
    site = Site(tmp_path)
    assert site.run().status is Status.BUILT
    assert time.time() < 2_000_000_000
    durations = [event.seconds for event in site.events if isinstance(event, (NodeFinished, RunFinished))]
    assert all(0 <= seconds < 60 for seconds in durations)
    assert site.run().statuses == {}
