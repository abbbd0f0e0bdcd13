"""A farm with a computer for each of scheduler, workers, user and remote store (:mod:`bench.farm_net`)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.farm_net import Network, network
from bench.farm_services import Service
from stagewright.arch import MACHINES, Arch
from stagewright.graph.node import Yields
from stagewright.root.emulation import names
from stagewright.run import PATH
from stagewright.store.same_content import content_of
from stagewright.store.store import Store

PORT = 8786

TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Ended:
    """A command that has ended: exit code, events, and what it printed on standard error."""

    code: int
    events: Sequence[Mapping[str, Any]]
    stderr: str

    @property
    def ends(self) -> dict[str, Mapping[str, Any]]:
        """The last event of each node."""
        return {event["node"]: event for event in self.events if event["event"] == "NodeFinished"}

    @property
    def reasons(self) -> list[str]:
        """The reasons of all errors, sorted."""
        return sorted({str(error["reason"]) for error in self._errors.values()})

    @property
    def failures(self) -> str:
        """Message and detail of each failed node. The detail of a defect is its traceback."""
        return "\n".join(
            f"{node}: {error['message']}\n{error.get('detail', '')}" for node, error in self._errors.items()
        )

    @property
    def _errors(self) -> Mapping[str, Mapping[str, Any]]:
        return {node: end["error"] for node, end in self.ends.items() if end.get("error")}


@dataclass
class Lab:
    """A farm. ``relayed``: its remote store is behind the relay of the service."""

    folder: Path
    net: Network
    service: Service
    store_name: str = "store"
    relayed: bool = False
    workers: dict[str, Sequence[str]] = field(default_factory=dict)
    preload: dict[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The address of the scheduler."""
        return f"tls://{self.net.computers['scheduler'].address}:{PORT}"

    @property
    def certs(self) -> Path:
        """The certificates of the farm."""
        return self.service.certs

    def store(self, name: str) -> Path:
        """Return the store of a computer."""
        return self.folder / f"store-{name}"

    def env(self, name: str = "") -> dict[str, str]:
        """Return the environment of a computer's programs."""
        return {
            **self.service.variables,
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            **self.preload.get(name, {}),
        }

    def configure(self) -> None:
        """Write the settings of the remote store that all computers use."""
        place = self.folder / "config" / "stagewright"
        place.mkdir(parents=True, exist_ok=True)
        (place / "remotes.toml").write_text(self.service.settings(self.store_name, relayed=self.relayed))

    def start_scheduler(self) -> None:
        """Start the scheduler, and wait for it."""
        words = command("farm", "scheduler", self.url, "--certs", str(self.certs))
        self.net.log("scheduler").write_text("")
        self.net.start("scheduler", "scheduler", words, self.env())
        self.net.wait_for("scheduler", "scheduler: ")

    def start_worker(self, name: str, *options: str) -> None:
        """Start the worker of a computer. Its log begins again."""
        self.workers[name] = options
        address = self.net.computers[name].address
        words = command("worker", "--scheduler", self.url, "--certs", str(self.certs), store=self.store(name))
        words += ["--remote", "shared", "--name", name, "--listen", address, *options]
        self.net.log(name).write_text("")
        self.net.start(name, name, words, self.env(name))

    def connected(self, *names: str) -> None:
        """Wait until workers are connected."""
        for name in names:
            self.net.wait_for(name, f"{name}: connected")

    def restart(self, name: str) -> None:
        """Start a worker again, with the options that it had."""
        self.start_worker(name, *self.workers[name])

    def build(self, project: Path, *words: str, wait: float = 60.0) -> subprocess.Popen[str]:
        """Start a build on the computer of the user."""
        options = ["--farm", self.url, "--farm-certs", str(self.certs), "--farm-remote", "shared", "--no-pull"]
        options += ["--progress", "json", "--farm-wait", f"{wait:g}"]
        line = command("-C", str(project), "build", *options, *words, store=self.store("user"))
        line = self.net.computers["user"].words(*line)
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env("user"))

    def logs_of(self, node: str) -> int:
        """Return how many attempts at a node the workers have begun to build."""
        quoted = node.replace(":", "%3A")
        return sum(len(list((self.store(name) / "logs/farm" / quoted).glob("*.log"))) for name in self.workers)


def command(*words: str, store: Path | None = None) -> list[str]:
    """Return a command line of Stagewright."""
    own = ["--store", str(store)] if store else []
    return [sys.executable, "-m", "stagewright", *own, *words]


def ended(process: subprocess.Popen[str], seconds: float) -> Ended:
    """Wait for the end of a build. Raises TimeoutError for one that hangs."""
    try:
        out, err = process.communicate(timeout=seconds)
    except SystemExit:  # a signal ends the benchmark
        process.terminate()
        process.wait()
        raise
    except subprocess.TimeoutExpired as error:
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        raise TimeoutError(f"no end after {seconds:.0f} seconds\n{out[-3000:]}\n{err[-3000:]}") from error
    return Ended(process.returncode, [json.loads(line) for line in out.splitlines() if line.startswith("{")], err)


def local(project: Path, store: Path, *words: str) -> Ended:
    """Build on this machine, without a farm."""
    line = command("-C", str(project), "build", "--no-pull", "--progress", "json", *words, store=store)
    return ended(subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), 7200)


def contents(store: Path) -> dict[str, str]:
    """Return what a store has: the digest of each file of artifacts, and of each root with its layers.

    As for an early cut-off, times of binary packages do not count: they are those of the cache.
    """
    found, opened = {}, Store(store)
    for path in (store / "artifacts").glob("*/tree/**/*"):
        if path.is_file():
            found[str(path.relative_to(store))] = _digest(path)
    for path in (store / "layers").glob("*/meta.json"):
        found[str(path.parent.relative_to(store))] = content_of(opened, Yields.LAYER, path.parent.name)
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def emulators_of(arch: Arch) -> list[Path]:
    """Return the emulators of an architecture that this machine has."""
    every = {name for machine in MACHINES if machine.arch is arch for name in names(machine)}
    found = [Path(folder) / name for folder in PATH.split(":") for name in sorted(every)]
    return [path for path in found if path.exists() and not path.is_symlink()]


@contextlib.contextmanager
def lab(
    folder: Path, kind: str, workers: Mapping[str, Sequence[Path]], *, outside: bool = False, relayed: bool = False
) -> Iterator[Lab]:
    """Yield a farm with running scheduler and service, and computers for ``workers``, by the programs they lack."""
    folder.mkdir(parents=True, exist_ok=True)
    with network(folder / "logs") as net:
        for name in ("scheduler", "remote", "user"):
            net.add(name, outside=outside and name == "user")
        for name, hidden in workers.items():
            net.add(name, outside=outside, hidden=hidden)
        service = Service(net, "remote", kind, folder / "remote", folder / "certs")
        service.start()
        one = Lab(folder, net, service, relayed=relayed)
        one.configure()
        one.start_scheduler()
        yield one
