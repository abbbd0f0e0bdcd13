"""One running worker: its process, its events, and its end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from stagewright.engine.again import BUILDS
from stagewright.engine.job import Job
from stagewright.engine.limits import Guard
from stagewright.engine.worker import isolated, worker_command
from stagewright.engine.worker_server import ForkedProcess, Request, WorkerServer
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, NodeFinished, NodePhase, Status
from stagewright.kinds.common.base import Stage
from stagewright.kinds.common.signing_keys import needed_variables
from stagewright.kinds.registry import by_kind
from stagewright.root import cgroup
from stagewright.root.emulation import of_the_computer
from stagewright.run import PIPE, Process, describe, environment, network, spawn
from stagewright.store.place import disk_full, is_full

_TAIL = 1 << 16
"""Bytes at the end of a log in which the last lines are."""


@dataclass
class Worker:
    """A worker process. ``result`` is its last event, once that has come.

    ``namespace`` is a pidfd of process 1 of the worker's pid namespace (pidfd_open(2)). It becomes readable when the
    kernel has ended every process in the namespace. It is None if unshare(1) ended before it made the namespace.
    ``exit`` is a pidfd of ``process``. It is None if that ended at once.
    ``keeper`` removes the control group of a node that has one. ``guard`` enforces the limits of the job; ``stopped``
    is the error for which the engine has ended the worker. ``silent`` is True if no more events can come.
    """

    job: Job
    folder: Path
    process: Process | ForkedProcess
    namespace: int | None = None
    exit: int | None = None
    keeper: Process | None = None
    guard: Guard | None = None
    stopped: StagewrightError | None = None
    result: NodeFinished | None = None
    silent: bool = False
    _rest: bytes = field(default=b"", repr=False)

    @classmethod
    def start(
        cls,
        job: Job,
        folder: Path,
        mode: str = "build",
        program: Sequence[str] = (),
        server: WorkerServer | None = None,
    ) -> Worker:
        """Start a worker on a job in its work folder. ``program`` replaces the command of Stagewright's own worker.

        ``server`` forks the worker, if the kind permits it.
        """
        job.write(folder)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        kind = by_kind()[job.node.kind]
        words = list(program) or worker_command(folder, mode)
        with contextlib.ExitStack() as undo, open(job.log, "ab") as log:  # noqa: PTH123
            keeper = undo.enter_context(cgroup.keeper(folder.name)) if kind.contained else None
            guard = Guard.start(job, folder)
            undo.callback(guard.group.remove)
            log.write(f"{guard}\n".encode())
            log.flush()
            wanted = [*job.stage.needed_variables(), *needed_variables(job.node)] if mode in BUILDS else []
            own = {name: os.environ[name] for name in wanted if name in os.environ}
            env = {**network(), **of_the_computer(), **own}
            started: _Started | None = None
            if server and not program and is_forked(kind):
                request = Request((mode, str(folder)), environment(env), own_network=kind.own_network)
                started = _forked(server, request, guard, log.fileno())
            if started is None:
                inner = isolated(words, own_network=kind.own_network, private_ids=kind.private_ids)
                started = _spawned(guard.group.command(inner), env, log)
            undo.enter_context(started[0])
            worker = cls(job, folder, *started, keeper, guard)
            os.set_blocking(worker.fileno(), False)
            undo.pop_all()
        return worker

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.close()

    @property
    def keeps_root(self) -> bool:
        """True: the work folder has the root of the build."""
        return True

    def descriptors(self) -> list[int]:
        """Return the descriptors to watch: that of the events, and :meth:`ends`."""
        return [self.fileno(), *self.ends()]

    def ends(self) -> list[int]:
        """Return the descriptors that become readable, and stay so, when the process and its namespace have ended."""
        return [one for one in (self.namespace, self.exit) if one is not None]

    def fileno(self) -> int:
        """Return the descriptor that events come from, for selectors."""
        assert self.process.stdout
        return self.process.stdout.fileno()

    def events(self) -> Iterator[Event]:
        """Yield the events that have come since the last call. The last event of all becomes ``result`` instead.

        A line that is not an event goes to the log of the node.
        """
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.fileno(), 65536):
                self._rest += chunk
            self.silent = True
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            try:
                event = Event.from_json(line.decode("utf-8"))
            except (ValueError, KeyError):
                self._log(f"!!! not an event: {line!r}")
                continue
            if isinstance(event, NodePhase) and self.guard:
                self.guard.note_phase(waits=event.waits)
            if isinstance(event, NodeFinished):
                self.result = event
            else:
                yield event

    def wait(self, timeout: float | None = None) -> None:
        """Wait until events have come, or the process or its namespace has ended, at most so many seconds."""
        awaited = [*([] if self.silent else [self.fileno()]), *(one for one in self.ends() if not _poll([one], 0))]
        if awaited:
            _poll(awaited, timeout)

    @property
    def ended(self) -> bool:
        """True if the worker and every process in its pid namespace is gone."""
        if self.process.poll() is None:
            return False
        self._kill_namespace()  # unshare(1) may have been killed from outside
        return self._is_gone(0)

    def enforce(self) -> None:
        """End the worker if its time is over. It has ended when :attr:`ended` is True."""
        if self.guard and not self.stopped and (error := self.guard.overdue()):
            self.stop(error)

    def stop(self, error: StagewrightError) -> None:
        """Kill the worker for an error, without waiting until it is gone. The end of the log becomes its detail."""
        detail = "\n".join(filter(None, [error.detail, _tail(self.job.log)]))
        self._log(f"\n!!! {error}")
        self.stopped = StagewrightError(error.reason, error.message, hint=error.hint, detail=detail)
        self.process.kill()
        self._kill_namespace()

    def kill(self) -> None:
        """Kill the worker and every process in its pid namespace, and wait until all of them are gone."""
        self.process.kill()
        self._kill_namespace()
        self.process.wait()
        self._is_gone(None)

    def close(self) -> None:
        """Close the descriptors of a worker that has ended, and have its control group removed."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()
        for descriptor in self.ends():
            os.close(descriptor)
        self.namespace = self.exit = None
        if isinstance(self.process, ForkedProcess):
            self.process.close()
        if self.keeper:
            cgroup.dismiss(self.keeper)
            self.keeper = None
        if self.guard:
            self.guard.group.remove()

    def _kill_namespace(self) -> None:
        """Kill process 1 of the namespace; the kernel then kills all others (pid_namespaces(7))."""
        if self.namespace is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.namespace, signal.SIGKILL)

    def _is_gone(self, timeout: float | None) -> bool:
        """True if the namespace has no processes, after at most so many seconds (None: no limit)."""
        return self.namespace is None or _poll([self.namespace], timeout)

    def _log(self, text: str) -> None:
        with contextlib.suppress(OSError), open(self.job.log, "a", encoding="utf-8") as log:  # noqa: PTH123
            log.write(text + "\n")

    def outcome(self) -> NodeFinished:
        """Return the last event of the worker, or an event with an error if it sent none.

        The error of a failed worker names the limit that it hit, if any.
        """
        if self.result and not (self.result.error and self.guard):
            return self.result
        error = self.stopped or self._error()
        if self.guard and not self.stopped:
            error = self.guard.explained(error)
        seconds = self.result.seconds if self.result else time.monotonic() - self.guard.started if self.guard else 0.0
        return NodeFinished(node=self.job.node.id, status=Status.FAILED, seconds=seconds, error=error.to_dict())

    def _error(self) -> StagewrightError:
        """Return the error of a worker that failed, or that ended without an event."""
        if self.result and self.result.error:
            return StagewrightError.from_dict(self.result.error)
        if is_full(self.job.store):
            return disk_full(f"disk full: {self.job.store}", _tail(self.job.log))
        return StagewrightError(
            Reason.BUILD_FAILED,
            f"worker for {self.job.node.id} exited unexpectedly ({describe(self.process.wait())})",
            detail=_tail(self.job.log),
            hint="it was killed, or the machine ran out of memory; run the same command again to continue",
        )


_Started = tuple[Process | ForkedProcess, int | None, int | None]
"""A process, and the pidfds of process 1 of its namespace and of itself."""


def is_forked(kind: type[Stage]) -> bool:
    """Return True if a server can fork the workers of a kind: those in the namespace that the server is in."""
    return kind.private_ids and not kind.contained


def _spawned(command: Sequence[str], env: Mapping[str, str], log: IO[bytes]) -> _Started:
    process = spawn(command, env=env, stdin=PIPE, stdout=PIPE, stderr=log, own_session=True)
    return process, _first_process(process), _pidfd(process)


def _forked(server: WorkerServer, request: Request, guard: Guard, log: int) -> _Started | None:
    """Have a server start a worker in the groups of its guard. Return None if the server is gone."""
    group = guard.group
    limits = {str(number): limit for number, limit in group.resource_limits().items()}
    with contextlib.ExitStack() as undo:
        try:
            process = undo.enter_context(server.start(replace(request, score=group.score, limits=limits), log))
            group.take(process.pid)
            namespace = process.proceed()
        except OSError:
            return None
        undo.pop_all()
    return process, namespace, os.dup(process.pidfd)


def _poll(descriptors: Iterable[int], timeout: float | None) -> bool:
    """Wait until one of some descriptors is readable, at most so many seconds; return True if one is."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


def _first_process(unshare: Process) -> int | None:
    """Return a pidfd of the process that unshare(1) forks; None if unshare ended before it did.

    It takes some milliseconds after the start.
    """
    while unshare.poll() is None:
        for child in _children(unshare.pid):
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(child)
                if child in _children(unshare.pid):  # else another process has got the number
                    return descriptor
                os.close(descriptor)
        time.sleep(0.002)
    return None


def _pidfd(process: Process) -> int | None:
    """Return a pidfd of a process; None if it has ended."""
    with contextlib.suppress(ProcessLookupError):
        return os.pidfd_open(process.pid)
    return None


def _children(parent: int) -> list[int]:
    """Return the children of a process: from their list in /proc, or from proc_pid_stat(5) if a kernel has none."""
    with contextlib.suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_bytes().split()]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                found += [int(entry.name)] if int(fields[1]) == parent else []
    return found


def _tail(path: Path, lines: int = 10) -> str:
    """Return the last lines of a file, which a build can have made very large."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return "\n".join(file.read(_TAIL).decode("utf-8", errors="replace").rstrip().splitlines()[-lines:])
    return ""
