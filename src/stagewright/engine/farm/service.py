"""The services of a farm: a Dask worker that builds nodes, and Dask's scheduler with the settings of a farm."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from distributed import Scheduler, Worker, WorkerPlugin, get_worker
from distributed.core import Status

from stagewright.engine.farm.host import Host
from stagewright.engine.farm.security import is_encrypted, security
from stagewright.engine.farm.wire import BuildRequest, Message

NAME = "stagewright"
"""The name of the plugin of workers, and of what they announce and report."""

TAKEN = 10.0
"""Seconds that a worker that drains waits until those who asked for its last results have them."""

SETTINGS = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.worker-ttl": "60s",
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.allowed-failures": 0,
    "distributed.admin.low-level-log-length": 1000,
    "distributed.admin.tick.limit": "30s",
}
"""Settings of Dask. A worker that is silent for a minute counts as lost. The run itself tries its nodes elsewhere."""


def build_node(text: str) -> str:
    """Build a node on the worker that Dask calls this on (:class:`BuildRequest`), and return the reply."""
    worker = get_worker()
    plugin = worker.plugins[NAME]
    topic = BuildRequest.from_json(text).topic

    def send(message: Message) -> None:
        worker.log_event(topic, message.to_data())

    reply: str = plugin.host.build(text, send)
    return reply


class HostPlugin(WorkerPlugin):
    """Connects a :class:`Host` with its Dask worker: it ends nodes that no client wants any more."""

    name = NAME

    def __init__(self, host: Host) -> None:
        self.host = host

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Called by Dask when a task changes its state."""
        if finish in ("cancelled", "resumed", "released", "forgotten"):
            self.host.cancel(str(key))

    def teardown(self, worker: Worker) -> None:
        """End all nodes: the scheduler is lost, or the worker stops."""
        self.host.cancel_all()


@dataclass
class WorkerService:
    """A worker that runs until a signal ends it. It waits for a scheduler that is not there, and for a lost one."""

    host: Host
    url: str
    certs: Path | None = None
    listen: str | None = None
    say: Callable[[str], None] = print

    def run(self) -> None:
        """Serve until SIGTERM, which lets running nodes end, or SIGINT or a second SIGTERM, which do not."""
        dask.config.set(SETTINGS)
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        drain, stop = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def terminate() -> None:
            (stop if drain.is_set() else drain).set()

        loop.add_signal_handler(signal.SIGTERM, terminate)
        loop.add_signal_handler(signal.SIGINT, stop.set)
        while not drain.is_set() and not stop.is_set():
            worker = self._worker()
            waiting = [asyncio.ensure_future(one) for one in (self._one(worker), drain.wait(), stop.wait())]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if drain.is_set() and not stop.is_set() and worker.status is Status.running:
                await self._drain(worker, stop)
            self.host.cancel_all()
            await self._idle()
            with contextlib.suppress(Exception):
                await worker.close(timeout=5, reason="stagewright worker stops")
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _one(self, worker: Worker) -> None:
        """Connect, and wait until the connection is lost."""
        try:
            await worker
            self.say(f"{self.host.machine.name}: connected to {self.url}")
            await worker.finished()
            self.say(f"{self.host.machine.name}: the scheduler is gone, waiting for it")
        except (OSError, RuntimeError, ValueError) as error:
            self.say(f"{self.host.machine.name}: no connection to {self.url}: {error}")
        await asyncio.sleep(1)

    async def _drain(self, worker: Worker, stop: asyncio.Event) -> None:
        """Take no more nodes, wait for those that run, and for their results to be taken."""
        worker.status = Status.paused
        count = len(self.host.load())
        self.say(f"{self.host.machine.name}: taking no more nodes" + f", waiting for {count}" * bool(count))
        while self.host.busy and not stop.is_set() and worker.status is Status.paused:
            await asyncio.sleep(0.1)
        for _ in range(int(TAKEN / 0.1)):
            if not worker.data or stop.is_set():
                break
            await asyncio.sleep(0.1)

    async def _idle(self) -> None:
        while self.host.busy:
            await asyncio.sleep(0.05)

    def _worker(self) -> Worker:
        return Worker(self.url, **worker_options(self.host, self.url, self.certs, self.listen))


def worker_options(host: Host, url: str, certs: Path | None, listen: str | None = None) -> dict[str, Any]:
    """Return the arguments of a Dask worker that builds nodes for the scheduler at an address."""
    machine, instance = host.machine, secrets.token_hex(8)
    announced = {"machine": machine.to_dict(), "instance": instance}

    def report(_: Worker) -> dict[str, Any]:
        return {"load": host.load(), "disk": shutil.disk_usage(host.store.path).free}

    encrypted = is_encrypted(url)
    return {
        "name": f"{machine.name}-{instance[:4]}",
        "nthreads": max(8, 2 * machine.cores),
        "resources": machine.resources(),
        "security": security(url, certs, "worker"),
        "host": listen or (None if encrypted else "127.0.0.1"),
        "protocol": "tls://" if encrypted else "tcp://",
        "memory_limit": 0,
        "local_directory": str(host.store.cache("dask")),
        "plugins": (HostPlugin(host),),
        "startup_information": {NAME: lambda _: announced},
        "metrics": {NAME: report},
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",
        "heartbeat_interval": "1s",
    }


def run_scheduler(url: str, certs: Path | None, say: Callable[[str], None] = print) -> None:
    """Run Dask's scheduler at an address until SIGTERM or SIGINT."""
    dask.config.set(SETTINGS)
    safe = security(url, certs, "scheduler")

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        dashboard = "127.0.0.1:0"
        async with Scheduler(host=url, security=safe, dashboard=False, dashboard_address=dashboard) as scheduler:
            say(f"scheduler: {scheduler.address}")
            sys.stdout.flush()
            await stop.wait()

    asyncio.run(serve())
