"""Helpers of the integration tests: runs of the command, projects, copies of the warm store."""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import starter

from stagewright.id_ranges import IdRange
from stagewright.ids import owner
from stagewright.trees import remove_tree

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "examples" / "demo"
SEED = REPOSITORY / "tests" / "data" / "seed"
TRIXIE = REPOSITORY / "tests" / "data" / "trixie"
FAILREPO = REPOSITORY / "tests" / "data" / "failrepo"

MINUTES = 60.0


@dataclass(frozen=True)
class Run:
    """The exit code and the output of a command."""

    words: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of a run with ``--progress=json``."""
        return parse_events(self.stdout.splitlines())

    @property
    def plan(self) -> dict[str, dict[str, Any]]:
        """The steps of ``plan --json``, by node."""
        return {step["node"]: step for step in json.loads(self.stdout)["nodes"]}

    @property
    def reasons(self) -> dict[str, str]:
        """The reason of each failed node, from the events."""
        return {event["node"]: event["error"]["reason"] for event in self.events if event.get("error")}

    def built(self) -> set[str]:
        """The nodes that this run built, from the events."""
        return {event["node"] for event in finished(self.events) if event["status"] == "built"}

    def __str__(self) -> str:
        return f"{' '.join(self.words)}: exit code {self.code}\n{self.stdout[-3000:]}\n{self.stderr[-3000:]}"

    __repr__ = __str__


def command(*args: str, cwd: Path, store: Path) -> list[str]:
    """Return a command line of Stagewright."""
    return [sys.executable, "-m", "stagewright", "-C", str(cwd), "--store", str(store), *args]


def call(
    *args: str,
    cwd: Path,
    store: Path,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    timeout: float = 15 * MINUTES,
) -> Run:
    """Run a command of Stagewright. Fails the test on a traceback, and with ``check`` on any failure."""
    options = ("-C", cwd, "--store", store)
    done = starter.run(*options, *args, cwd=Path.cwd(), env=env, timeout=timeout)
    run = Run(args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    assert run.code != 70 and "Traceback" not in run.stderr, f"a defect: {run}"
    assert not check or run.code == 0, run
    return run


def build(*targets: str, cwd: Path, store: Path, check: bool = True, **more: Any) -> Run:
    """Run ``stagewright build`` with its events as JSON lines."""
    return call("build", "--progress=json", *targets, cwd=cwd, store=store, check=check, **more)


def plan(*targets: str, cwd: Path, store: Path) -> dict[str, dict[str, Any]]:
    """Return the steps of the plan, by node."""
    return call("plan", "--json", *targets, cwd=cwd, store=store).plan


def states(*targets: str, cwd: Path, store: Path) -> dict[str, str]:
    """Return the state of each node in the plan: cached, build or not needed."""
    return {node: step["state"] for node, step in plan(*targets, cwd=cwd, store=store).items()}


def parse_events(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Return events from JSON lines."""
    return [json.loads(line) for line in lines if line.startswith("{")]


def finished(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the NodeFinished events."""
    return [event for event in events if event["event"] == "NodeFinished"]


def notices(run: Run) -> list[str]:
    """Return the notices of a run."""
    return [event["text"] for event in run.events if event["event"] == "NodeNotice"]


def owner_in_layer(path: Path) -> tuple[int, int]:
    """Return the user and the group that own a file of a layer, with the ids that builds see."""
    info, first = path.lstat(), owner() or IdRange(0, 0)
    return info.st_uid - first.uid, info.st_gid - first.gid


def copy_project(source: Path, target: Path) -> Path:
    """Copy a project folder without the output of builds, and return the copy."""
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("out", "stagewright.lock"))
    return target


def write_project(folder: Path, text: str, name: str = "test") -> Path:
    """Write a project with these tables, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    head = f'format = 1\n[project]\nname = "{name}"\nversion = "1"\nsource_date_epoch = 2026-11-20\n'
    (folder / "stagewright.toml").write_text(head + text, encoding="utf-8")
    return folder


def edit(project: Path, old: str, new: str, name: str = "stagewright.toml") -> None:
    """Replace existing text in a file of a project."""
    file = project / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@dataclass(frozen=True)
class Warm:
    """A store that was filled for a whole test run: its place, the lock file of its project, the keys of its nodes."""

    store: Path
    lock: Path
    keys: Mapping[str, str]
    copies: Path

    @classmethod
    def fill(cls, folder: Path, source: Path, *targets: str) -> Warm:
        """Build targets of a copy of a project in a permanent folder, with the pins of the last run."""
        shutil.rmtree(folder / "fresh", ignore_errors=True)
        project, store = folder / "project", folder / "store"
        pins = project / "stagewright.lock"
        kept = pins.read_bytes() if pins.exists() else None
        shutil.rmtree(project, ignore_errors=True)
        copy_project(source, project)
        if kept:
            pins.write_bytes(kept)
        built = cls._build(project, store, *targets)
        if built.code and "stagewright update" in built.stderr:  # the packages of the distribution have changed
            call("update", cwd=project, store=store)
            built = cls._build(project, store, *targets)
        assert built.code == 0, built
        call("gc", cwd=project, store=store)
        call("clean", cwd=project, store=store)
        return cls.of(folder)

    @staticmethod
    def _keys(project: Path, store: Path, *targets: str) -> list[tuple[str, str]]:
        """Return the nodes of targets and their keys, or none if something is not pinned yet."""
        planned = call("plan", "--json", *targets, cwd=project, store=store, check=False)
        return sorted((node, step["key"]) for node, step in planned.plan.items()) if planned.code == 0 else []

    @classmethod
    def _build(cls, project: Path, store: Path, *targets: str) -> Run:
        """Build targets. Where a key has changed since the last time, compile all their packages.

        Packages of an earlier run have the mark of other inputs, so copies of the project would not take them. Results
        of earlier keys go, too: where only keys have changed and no content, a run takes them and compiles nothing.
        """
        record, keys = store / "keys-of-packages", cls._keys(project, store, *targets)
        if not record.exists() or record.read_text(encoding="utf-8") != str(keys):
            seeds = {key for node, key in keys if node.startswith("seed:")}
            results = (place for kind in ("layers", "artifacts") for place in (store / kind).glob("*"))
            for place in (store / "cache/binpkgs", *(place for place in results if place.name not in seeds)):
                remove_tree(place)
        built = call("build", *targets, cwd=project, store=store, check=False)
        if built.code == 0:
            record.write_text(str(cls._keys(project, store, *targets)), encoding="utf-8")
        return built

    @classmethod
    @contextmanager
    def shared(cls, folder: Path, source: Path, *targets: str, run: str) -> Iterator[Warm]:
        """Yield a store that all processes of a test run use: the first one fills it, the others wait for that.

        ``run`` identifies the test run. Two test runs that need different content take turns.
        """
        folder.mkdir(parents=True, exist_ok=True)
        filled = folder / "filled-by"
        with (
            (folder / "session.lock").open("w", encoding="utf-8") as use,
            (folder / "fill.lock").open("w", encoding="utf-8") as turn,
        ):
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not filled.exists() or filled.read_text(encoding="utf-8") != run:
                fcntl.flock(use, fcntl.LOCK_EX)
                cls.fill(folder, source, *targets)
                filled.write_text(run, encoding="utf-8")
            fcntl.flock(use, fcntl.LOCK_SH)
            found = cls.of(folder)
            fcntl.flock(turn, fcntl.LOCK_UN)
            yield found

    @classmethod
    def of(cls, folder: Path) -> Warm:
        """Return the store in a folder that was filled."""
        project, store = folder / "project", folder / "store"
        plan = call("plan", "--json", cwd=project, store=store).plan
        keys = {node: step["key"] for node, step in plan.items()}
        return cls(store, project / "stagewright.lock", keys, folder / "fresh")

    def copy(self, nodes: Iterable[str], *, binpkgs: bool) -> Path:
        """Make a new store with the results of some nodes, as hard links (results are only read), and the caches."""
        target = self.copies / secrets.token_hex(4)
        for folder in ("layers", "artifacts", "cache"):
            (target / folder).mkdir(parents=True)
        for node in nodes:
            place = self.result(node)
            subprocess.run(["cp", "-al", place, target / place.relative_to(self.store)], check=True)
        for name in ("distfiles", "pypi", *(["binpkgs"] if binpkgs else [])):
            if (self.store / "cache" / name).exists():
                subprocess.run(["cp", "-a", self.store / "cache" / name, target / "cache" / name], check=True)
        for path in (self.store / "cache").iterdir():
            if path.is_file():  # digests, versions of tools
                shutil.copy(path, target / "cache")
        return target

    def result(self, node: str) -> Path:
        """Return the folder of a node's layer or artifact, which has ``meta.json`` and ``tree`` in it."""
        places = (self.store / folder / self.keys[node] for folder in ("layers", "artifacts"))
        return next(place for place in places if place.exists())

    def tree(self, node: str) -> Path:
        """Return the files of a node's layer or artifact."""
        return self.result(node) / "tree"


QUICK = """[stages.boot.kernel]
dracut_arguments = ["--no-compress"]

[stages.boot.initramfs]
modules = ["dmsquash-live"]
omit = [
	"systemd", "systemd-initrd", "dracut-systemd", "plymouth", "crypt", "nfs", "i18n", "terminfo", "resume", "network",
	"network-legacy", "ifcfg",
]
drivers = ["squashfs", "loop", "overlay", "iso9660"]

"""


def make_quick(project: Path) -> None:
    """Shrink the initramfs of a copy of the demo, which then takes a fourth of the time and still is a real one."""
    text = (project / "stagewright.toml").read_text(encoding="utf-8")
    start, end = text.index("[stages.boot.initramfs]"), text.index("[stages.iso]")
    edit(project, text[start:end], QUICK)


def make_small(project: Path) -> None:
    """Leave two packages of nine in the system of a copy of the demo, for tests that do not look at its content."""
    edit(project, '"virtual/demo-system", "app-misc/greet"', '"sys-apps/demo-baselayout", "app-misc/hello"')


def seeds_of(project: Path) -> str:
    """Return the text of a project's seeds. A project with the same tables can use the pins of its lock."""
    text = (project / "stagewright.toml").read_text(encoding="utf-8")
    return text[text.index("[seeds.") : text.index("[stages.")]


def use_seed(project: Path, seed: Warm, *others: str) -> None:
    """Put the shared seed in the place of a project's seeds, which are ``debian`` and ``others``."""
    tables = seeds_of(project)
    edit(project, tables, seeds_of(SEED))
    for name in others:
        edit(project, f'"{name}"', '"debian"')
    shutil.copy(seed.lock, project)
