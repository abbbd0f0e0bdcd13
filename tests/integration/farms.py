"""Farms on this computer: a scheduler, machines with their stores, and a remote store in a folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = """
format = 1
[project]
name = "farmed"
version = "1"
[seeds.small]
file = "tree"
[stages.one]
kind = "stage4"
root = "small"
root_overlay = ["overlay"]
script = "script"
[stages.one-tar]
kind = "tarball"
root = "one"
[stages.two]
kind = "stage4"
root = "one"
root_overlay = ["overlay"]
[stages.two-tar]
kind = "tarball"
root = "two"
compression = "none"
"""

NODES = ("seed:small", "one", "one-tar", "two", "two-tar")


def make_project(folder: Path, script: str = "true") -> Path:
    """Write a project of five nodes whose roots have a shell and nothing else."""
    (folder / "tree/bin").mkdir(parents=True)
    (folder / "overlay/etc").mkdir(parents=True)
    shutil.copy("/bin/busybox", folder / "tree/bin/busybox")
    for name in ("sh", "sleep", "touch"):
        (folder / "tree/bin" / name).symlink_to("busybox")
    (folder / "overlay/etc/motd").write_text("hello\n")
    (folder / "script").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "stagewright.toml").write_text(PROJECT)
    return folder


def eventually(found: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until a function returns something true, and return that."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return value


def free_port() -> int:
    with contextlib.closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@dataclass
class Farm:
    """The processes of a farm. ``url`` is the address of its scheduler; ``options`` come before each command."""

    folder: Path
    port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def remote(self) -> Path:
        return self.folder / "remote"

    def store(self, name: str) -> Path:
        return self.folder / f"store-{name}"

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def command(self, name: str, *words: str) -> list[str]:
        return [sys.executable, "-m", "stagewright", "--store", str(self.store(name)), *words]

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(self.command(name, *words), stdout=log, stderr=log, start_new_session=True)
        self.processes[name] = process
        return process

    def scheduler(self) -> None:
        self.start("scheduler", "farm", "scheduler", self.url)
        eventually(lambda: "scheduler: " in self.log("scheduler"))

    def worker(self, name: str, *options: str) -> None:
        words = ("--scheduler", self.url, "--remote", f"{self.remote}/", "--name", name, "--cores", "2")
        self.start(name, "worker", *words, *options)

    def connected(self, *names: str) -> None:
        for name in names:
            eventually(lambda name=name: f"{name}: connected" in self.log(name))

    def build(self, project: Path, *words: str, store: str = "user") -> Build:
        options = ("--farm", self.url, "--farm-remote", f"{self.remote}/", "--progress", "json", "--farm-wait", "20")
        command = self.command(store, "-C", str(project), "build", *options, *words)
        return Build(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def logs_of(self, node: str, *machines: str) -> int:
        """Return how often the machines have built a node."""
        quoted = node.replace(":", "%3A")
        return sum(len(list((self.store(name) / "logs/farm" / quoted).glob("*.log"))) for name in machines)

    def close(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGINT)
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@dataclass
class Build:
    """A build on a farm that runs; its events as they come, and after its end the text of its errors."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)
    errors: str = ""

    def until(self, name: str, **values: object) -> dict[str, Any]:
        """Wait for an event, and return it."""
        for event in self._read():
            if event["event"] == name and all(event.get(key) == value for key, value in values.items()):
                return event
        raise AssertionError(f"no {name} {values}: {self.process.communicate()[1]}")

    def _read(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):
                self.events.append(json.loads(line))
                yield self.events[-1]

    def end(self) -> tuple[int, dict[str, dict[str, Any]]]:
        """Wait for the end. Return the exit code and the last event of each node."""
        list(self._read())
        self.errors = self.process.communicate()[1]
        ends = {event["node"]: event for event in self.events if event["event"] == "NodeFinished"}
        return self.process.returncode, ends

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def farm(folder: Path, *machines: str) -> Iterator[Farm]:
    """Yield a farm with a scheduler and connected machines, and end all of it."""
    one = Farm(folder)
    try:
        one.scheduler()
        for name in machines:
            one.worker(name)
        one.connected(*machines)
        yield one
    finally:
        one.close()
