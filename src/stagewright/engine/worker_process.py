"""One running worker: its process, its events, and what is left of it when it is gone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.engine.job import Job
from stagewright.engine.worker import command, disk_full
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, NodeFinished, Status
from stagewright.kinds.registry import by_kind
from stagewright.root import cgroup
from stagewright.run import PIPE, Process, network, spawn
from stagewright.store.store import is_full


@dataclass
class Worker:
    """A worker process, with its keeper if it needs one. ``result`` is its last event, once that has come."""

    job: Job
    folder: Path
    process: Process
    keeper: Process | None = None
    result: NodeFinished | None = None
    _rest: bytes = field(default=b"", repr=False)

    @classmethod
    def start(cls, job: Job, folder: Path, mode: str = "build") -> Worker:
        """Start a worker on a job in its work folder."""
        job.write(folder)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        kind = by_kind()[job.node.kind]
        keeper = cgroup.keeper(folder.name) if kind.contained else None
        with open(job.log, "ab") as log:  # noqa: PTH123
            words = command(folder, mode, own_network=kind.own_network)
            process = spawn(words, env=network(), stdin=PIPE, stdout=PIPE, stderr=log, own_session=True)
        assert process.stdout
        os.set_blocking(process.stdout.fileno(), False)
        return cls(job, folder, process, keeper)

    def fileno(self) -> int:
        """The descriptor that events come from, for selectors."""
        assert self.process.stdout
        return self.process.stdout.fileno()

    def events(self) -> Iterator[Event]:
        """The events that have come since the last call; the final one is kept in ``result`` instead."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.fileno(), 65536):
                self._rest += chunk
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            event = Event.from_json(line.decode())
            if isinstance(event, NodeFinished):
                self.result = event
            else:
                yield event

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    def kill(self) -> None:
        """End the worker and everything it started, at once, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Let go of the pipes; a keeper tidies up and ends by itself."""
        for stream in (self.process.stdin, self.process.stdout, self.keeper and self.keeper.stdin):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()

    def outcome(self) -> NodeFinished:
        """How it ended: what it said itself, or an error for one that was killed."""
        if self.result:
            return self.result
        code = self.process.returncode
        if is_full(self.job.store):
            full = disk_full(str(self.job.store), detail=_tail(self.job.log))
            return NodeFinished(node=self.job.node.id, status=Status.FAILED, error=full.to_dict())
        killed = StagewrightError(
            Reason.BUILD_FAILED,
            f"the worker of {self.job.node.id} ended without a word (exit code {code})",
            detail=_tail(self.job.log),
            hint="it was killed, or the machine ran out of memory; run the same command again to go on",
        )
        return NodeFinished(node=self.job.node.id, status=Status.FAILED, error=killed.to_dict())


def _tail(path: Path, lines: int = 10) -> str:
    with contextlib.suppress(FileNotFoundError):
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-lines:])
    return ""
