"""A full disk is reported before a build if that is possible; if it fills up later, no result is damaged."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.processes import Watched, assert_nothing_left
from integration.support import Warm, build, call, make_quick, make_small, states

pytestmark = pytest.mark.real

MIB = 1 << 20


@contextmanager
def tmpfs(path: Path, size: str) -> Iterator[Path]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def shrink(path: Path, free: int) -> None:
    """Make a tmpfs so small that only ``free`` bytes are left, as if another program had taken the room."""
    resize(path, shutil.disk_usage(path).used + free)


def resize(path: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", path], check=True)


def test_a_small_disk_is_refused_in_the_first_second(demo: Path, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "store", "64m") as store:
        run = build("system", cwd=demo, store=store, check=False)
        assert run.code == 4, run
        assert "GiB free" in run.stderr and "stagewright gc" in run.stderr
        assert not run.events
        assert not list((store / "work").iterdir())


def test_a_completely_full_disk_is_reported(demo: Path, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "store", "64m") as store:
        call("plan", cwd=demo, store=store)
        shrink(store, 0)
        for command in ("plan", "build"):
            run = call(command, "system", cwd=demo, store=store, check=False)
            assert run.code in (0, 4), run
        assert run.code == 4
        assert "Traceback" not in run.stderr


@pytest.mark.parametrize(("node", "free"), [("boot", 12 * MIB), ("boot", 2 * MIB), ("iso", 12 * MIB)])
def test_a_disk_that_fills_up_during_a_build_is_reported(
    node: str, free: int, demo: Path, roomy: Callable[..., Path]
) -> None:
    """The check before the build passes; then something else takes the room when a node starts."""
    make_quick(demo)
    make_small(demo)
    store = roomy()
    watched = Watched.start("iso", cwd=demo, store=store)
    assert watched.wait_for(event="NodeStarted", node=node)
    shrink(store, free)
    code = watched.end()
    print(watched.text)
    assert code == 4, watched
    failed = [event for event in watched.events if event.get("error")]
    assert {event["error"]["reason"] for event in failed} == {"disk-full"}, failed
    assert "Traceback" not in watched.text
    assert_nothing_left(store / "work")
    resize(store, 5 << 30)
    done = set(watched.built())
    plan = states("iso", cwd=demo, store=store)
    assert all(plan[node] == "cached" for node in done)
    build("iso", cwd=demo, store=store)


@pytest.fixture
def roomy(warm: Warm, tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """A tmpfs with room for a build of the demo, with the seeds in it."""
    with tmpfs(tmp_path / "store", "5g") as store:

        def make() -> Path:
            source = warm.copy(["seed:debian", "seed:debian-boot"], binpkgs=True)
            subprocess.run(["cp", "-a", f"{source}/.", store], check=True)
            shutil.rmtree(source)
            return store

        yield make
