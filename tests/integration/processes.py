"""Running builds: their events, processes and mounts, and checks that nothing stays behind."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from integration.support import command

PROC = Path("/proc")


@dataclass
class Process:
    """The state of one process at one time."""

    pid: int
    parent: int
    name: str
    words: str


def processes() -> dict[int, Process]:
    """Return all processes by id."""
    found = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                name, _, rest = (folder / "stat").read_text(encoding="utf-8").partition("(")[2].rpartition(") ")
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if rest[0] != "Z":
                    found[int(folder.name)] = Process(int(folder.name), int(rest.split()[1]), name, words)
    return found


def below(pid: int) -> list[Process]:
    """Return the descendants of a process, nearest first."""
    table = processes()
    found: list[Process] = []
    parents = {pid}
    while parents:
        children = [process for process in table.values() if process.parent in parents]
        found += children
        parents = {process.pid for process in children}
    return found


def of_store(store: Path) -> list[Process]:
    """Return the processes that use a store by their command, working folder, root or mounts."""
    text = str(store)
    return [process for process in processes().values() if process.pid != os.getpid() and _mentions(process, text)]


def _mentions(process: Process, text: str) -> bool:
    if text in process.words:
        return True
    folder = PROC / str(process.pid)
    with suppress(OSError):
        if any(text in str((folder / name).readlink()) for name in ("cwd", "root")):
            return True
    with suppress(OSError):
        return text in (folder / "mountinfo").read_text(encoding="utf-8")
    return False


def mounts_below(path: Path) -> list[str]:
    """Return the mounts of this process's namespace at, below or from a path."""
    return [line for line in (PROC / "self/mountinfo").read_text(encoding="utf-8").splitlines() if str(path) in line]


def assert_nothing_left(store: Path, seconds: float = 15) -> None:
    """Assert that no process and no mount of this store is left after at most ``seconds``."""
    assert eventually(lambda: not of_store(store), seconds), of_store(store)
    assert not mounts_below(store)


def eventually(condition: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Return True if a condition becomes true in time (seconds)."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


@dataclass(repr=False)
class Watched:
    """A build in its own process. Threads read its events."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    @classmethod
    def start(cls, *args: str, cwd: Path, store: Path) -> Watched:
        """Start ``stagewright build`` as a session leader, like a shell on a terminal."""
        words = command("build", "--progress=json", *args, cwd=cwd, store=store)
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        watched = cls(process)
        for work in (watched._read_events, watched._read_errors):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            watched._threads.append(thread)
        return watched

    def _read_events(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):
                self.events.append({**json.loads(line), "seen": time.monotonic()})

    def _read_errors(self) -> None:
        assert self.process.stderr
        self.errors.extend(self.process.stderr)

    @property
    def alive(self) -> bool:
        """True if the main process is running."""
        return self.process.poll() is None

    def has(self, **wanted: str) -> bool:
        """True if an event with these values was read."""
        return any(all(event.get(name) == value for name, value in wanted.items()) for event in list(self.events))

    def wait_for(self, seconds: float = 300, **wanted: str) -> bool:
        """Wait for an event or the end of the build. Return True if the event was read."""
        assert eventually(lambda: self.has(**wanted) or not self.alive, seconds, 0.01), f"no {wanted}: {self}"
        return self.has(**wanted)

    def end(self, seconds: float = 600) -> int:
        """Wait for the end of the build and return its exit code."""
        code = self.process.wait(seconds)
        for thread in self._threads:
            thread.join(10)
        return code

    @property
    def text(self) -> str:
        """Its standard error."""
        return "".join(self.errors)

    def built(self) -> list[str]:
        """Return the built nodes, in order."""
        return [event["node"] for event in self.events if event.get("status") == "built" and "node" in event]

    def __str__(self) -> str:
        return f"exit {self.process.returncode}, events {self.events[-5:]}\n{self.text[-3000:]}"

    __repr__ = __str__


VOLATILE = ("var/db/pkg/", "var/cache/edb/")
"""Portage's records in a root, which differ between builds (ids of binary packages, environments with times)."""


def tree_digest(tree: Path) -> str:
    """Return a digest of names, types, modes, owners and content of a tree, without Portage's records."""
    total = hashlib.sha256()
    for path in _walk(tree):
        name = str(path.relative_to(tree))
        if name.startswith(VOLATILE):
            continue
        info = path.lstat()
        line = f"{name} {info.st_mode:o} {info.st_uid} {info.st_gid} {info.st_rdev} "
        if path.is_symlink():
            line += str(path.readlink())
        elif path.is_file():
            line += hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(line.encode(errors="surrogateescape") + b"\n")
    return total.hexdigest()


def _walk(tree: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(tree):
        folders.sort()
        yield from (Path(folder, name) for name in sorted([*folders, *files]))


def sha512(path: Path) -> str:
    """Return the SHA512 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha512").hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA512 of every file below a folder, by its path there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha512(path) for path in paths}
