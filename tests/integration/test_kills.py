"""Twenty kills at random moments of a build, and Ctrl-C: nothing is left, nothing is broken, the next run goes on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from integration.processes import Process, Watched, assert_nothing_left, below, eventually, processes, tree_digest
from integration.support import DEMO, Warm, build, copy_project, make_quick, make_small, plan

pytestmark = pytest.mark.real

KILLS = 20
STOP_LIMIT = 2.0  # seconds, a promise of the product


@dataclass(frozen=True)
class Reference:
    """An undisturbed build: its project, digests of all results by key, and the moments at which one could kill."""

    project: Path
    results: dict[str, str]
    moments: list[tuple[dict[str, str], float]]  # an event, and seconds after it

    def moment(self, fraction: float) -> tuple[dict[str, str], float]:
        return self.moments[min(int(fraction * len(self.moments)), len(self.moments) - 1)]


@pytest.fixture(scope="module")
def reference(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    project = copy_project(DEMO, tmp_path_factory.mktemp("kills") / "demo")
    make_quick(project)
    make_small(project)
    shutil.copy(warm.lock, project)
    store = kill_store(warm)
    run = build("iso", cwd=project, store=store)
    yield Reference(project, results(store), moments(run.events))
    shutil.rmtree(store)


def kill_store(warm: Warm) -> Path:
    """A store with the seeds, and binary packages of everything but one package, so that something is compiled."""
    store = warm.copy(["seed:debian", "seed:debian-boot"], binpkgs=True)
    shutil.rmtree(store / "cache/binpkgs/app-misc/hello")
    return store


def moments(events: list[dict[str, Any]]) -> list[tuple[dict[str, str], float]]:
    """A grid of moments over a build, ten a second, each as an offset from the node's phase before it."""
    names = ("event", "node", "phase", "name")
    found = []
    for event, following in pairwise(events):
        if event["event"] in ("NodeStarted", "NodePhase", "NodeProgress"):
            mark = {name: event[name] for name in names if name in event}
            steps = max(1, round((following["time"] - event["time"]) * 10))
            found += [(mark, step / 10) for step in range(steps)]
    return found


def results(store: Path) -> dict[str, str]:
    """Digests of all finished results, except the seeds, by key. Fails when one is not whole."""
    found = {}
    for meta in sorted(store.glob("*/*/meta.json")):
        data = json.loads(meta.read_text(encoding="utf-8"))
        assert data["key"] == meta.parent.name
        assert (meta.parent / "tree").is_dir()
        if not data["node"].startswith("seed:"):
            found[data["key"]] = tree_digest(meta.parent / "tree")
    return found


def victims(main: int) -> dict[str, list[Process]]:
    """The processes of a build, by the part that they play."""
    parts: dict[str, list[Process]] = {"unshare": [], "worker": [], "command": []}
    for process in below(main):
        if process.name in ("nsenter", "unshare", "setpriv"):
            parts["unshare"].append(process)
        elif "stagewright.engine.worker" in process.words:
            parts["worker"].append(process)
        else:
            parts["command"].append(process)
    return {"main": [processes()[main]] if main in processes() else [], **parts}


def kill(watched: Watched, role: str, chance: random.Random) -> str:
    """Kill a process of a build that plays a part, or of another part when there is none; returns what was killed."""
    found = victims(watched.process.pid)
    for part in (role, "worker", "main"):
        if found[part]:
            victim = chance.choice(found[part])
            with suppress(ProcessLookupError):  # it was quicker
                os.kill(victim.pid, signal.SIGKILL)
                return f"{part} {victim.name}"
    return "nothing"


def test_twenty_kills(reference: Reference, warm: Warm) -> None:
    seed = int(os.environ.get("STAGEWRIGHT_TEST_SEED", time.time_ns() % 100_000))
    chance = random.Random(seed)
    print(f"STAGEWRIGHT_TEST_SEED={seed}")
    roles = ["main", "unshare", "worker", "command", "command"] * (KILLS // 5)
    chance.shuffle(roles)
    store = kill_store(warm)
    killed = 0
    for number, role in enumerate(roles):
        mark, delay = reference.moment((number + chance.random()) / KILLS)
        forget(mark["node"], store)
        watched = Watched.start("iso", cwd=reference.project, store=store)
        assert watched.wait_for(**mark), watched
        eventually(lambda watched=watched: not watched.alive, delay + chance.random() / 10, 0.01)
        hit = kill(watched, role, chance) if watched.alive else "nothing"
        code = watched.end(120)
        print(f"{number}: {role} at {' '.join(mark.values())} + {delay}: killed {hit}, exit code {code}")
        killed += hit != "nothing"
        assert "Traceback" not in watched.text, watched
        assert code in expected(hit), watched
        assert_nothing_left(store)
        check_store(store, reference)
    assert killed >= KILLS * 3 // 4
    build("iso", cwd=reference.project, store=store)
    assert results(store) == reference.results
    assert not list((store / "work").iterdir())
    shutil.rmtree(store)


def expected(hit: str) -> tuple[int, ...]:
    """The exit codes that a build may have after this was killed."""
    if hit == "nothing":
        return (0,)
    return (-signal.SIGKILL,) if hit.startswith("main") else (0, 1)


def check_store(store: Path, reference: Reference) -> None:
    """Everything that counts as finished is whole and the same as in the undisturbed build, and the plan agrees."""
    there = results(store)
    assert there.items() <= reference.results.items()
    for node, step in plan("iso", cwd=reference.project, store=store).items():
        assert (step["state"] == "cached") == (step["key"] in there or node.startswith("seed:")), step


def forget(node: str, store: Path) -> None:
    """Remove the results of a node and of those after it, as a collection would, so that they are built again.

    Another build may have put the package that is compiled into the cache, and the metadata of the ebuilds.
    """
    order = ("system", "boot", "live", "live+boot.squashfs", "iso")
    gone = {name for name in order[order.index(node) :] if (node, name) != ("system", "boot")}
    for meta in sorted(store.glob("*/*/meta.json")):
        if json.loads(meta.read_text(encoding="utf-8"))["node"] in gone:
            shutil.rmtree(meta.parent)
    shutil.rmtree(store / "cache/binpkgs/app-misc/hello", ignore_errors=True)
    shutil.rmtree(store / "cache/repos/md5-cache", ignore_errors=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_build_cleanly(
    number: signal.Signals, reference: Reference, fresh: Callable[..., Path]
) -> None:
    """The signal goes to the whole process group, as Ctrl-C on a terminal does."""
    store = fresh()
    watched = Watched.start("iso", cwd=reference.project, store=store)
    assert watched.wait_for(node="boot", phase="kernel gentoo")
    asked = time.monotonic()
    os.killpg(watched.process.pid, number)
    code = watched.end(30)
    seconds = time.monotonic() - asked
    assert code == 130, watched
    assert "run the same command again" in watched.text
    assert watched.has(event="RunFinished", status="interrupted")
    assert watched.has(node="boot", status="interrupted")
    assert seconds < STOP_LIMIT
    assert_nothing_left(store)
    again = build("iso", cwd=reference.project, store=store)
    assert again.built() == {"system", "live", "boot", "live+boot.squashfs", "iso"} - set(watched.built())
    assert results(store) == reference.results


def test_ctrl_c_while_seeds_are_looked_up(reference: Reference, fresh: Callable[..., Path], tmp_path: Path) -> None:
    project = copy_project(reference.project, tmp_path / "demo")  # without its lock
    store = fresh()
    watched = Watched.start("debian", cwd=project, store=store)
    assert watched.wait_for(event="NodePhase", phase="look up packages")
    os.killpg(watched.process.pid, signal.SIGINT)
    assert watched.end(30) == 130, watched
    assert "Traceback" not in watched.text
    assert_nothing_left(store)
    assert not (project / "stagewright.lock").exists()
