"""A server that forks workers: it has imported the code of the kinds once, so a worker starts in milliseconds.

The server belongs to one run. It is a child of the engine, in the user namespace of builds, and ends with the engine
(``setpriv --pdeathsig``). It handles no job itself. For each job it forks a guardian, which does what unshare(1) does
for a worker with a separate command (:func:`stagewright.engine.worker.isolated`): it makes the namespaces, forks
process 1 of them, and ends with it. If the server dies, the kernel kills the guardians, and with each guardian its
process 1 and everything in that namespace.

A worker gets a copy of the memory of the server, which no job has ever been part of, and none of its descriptors. Its
environment is the one that the request has. So workers share nothing that one of them could change.

The engine and the server talk by a socket. A request is a JSON object, with the descriptors of standard input, output
and error of the worker, and of the control socket of the job. On that the guardian sends its process id with a pidfd,
waits for the engine to put it into its control groups, sends a pidfd of process 1, and at the end the exit code.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn, Self

from stagewright import ids
from stagewright.errors import StagewrightError
from stagewright.interpreter import NO_BYTECODE, package_path, python
from stagewright.lazy_dataclass import complete_all
from stagewright.root.syscalls import compiled
from stagewright.run import Process, TimeoutExpired, fork, spawn

_MESSAGE = 1 << 20
_GRACE = 1.0  # seconds for the server to end by itself, when no worker runs any more
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_NEW_MOUNTS, _NEW_HOST_NAME, _NEW_IPC, _NEW_PROCESSES, _NEW_NETWORK = 1 << 17, 1 << 26, 1 << 27, 1 << 29, 1 << 30
_RECURSIVE, _PRIVATE = 1 << 14, 1 << 18  # flags of mount(2)
_NO_SETUID, _NO_DEVICES, _NO_PROGRAMS = 2, 4, 8  # of mount(2), the flags of /proc


@dataclass(frozen=True)
class Request:
    """One worker to start: arguments of the worker's ``main``, environment, and what applies to its process.

    ``limits`` are resource limits by number (setrlimit(2)), ``score`` is that of proc_pid_oom_score_adj(5).
    """

    arguments: Sequence[str]
    environment: dict[str, str]
    score: int = 0
    limits: dict[str, int] = field(default_factory=dict)
    own_network: bool = False


class ForkedProcess:
    """The guardian of a worker, with the interface of :class:`stagewright.run.Process` that a worker needs."""

    def __init__(self, control: socket.socket, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        """Take the guardian's id from its control socket. Raises OSError if the server is gone."""
        self._control = control
        self.stdin, self.stdout = stdin, stdout
        self.returncode: int | None = None
        text, self.pidfd = _received(control)
        self.pid = int(text)

    def proceed(self) -> int:
        """Let the guardian start the worker. Return a pidfd of process 1. Raises OSError if it is gone."""
        self._control.send(b"go")
        return _received(self._control)[1]

    def poll(self) -> int | None:
        """Return the exit code, or None while the guardian runs."""
        return self._ended(0) if self.returncode is None else self.returncode

    def wait(self) -> int:
        """Wait for the end of the guardian, and return the exit code."""
        code = self._ended(None) if self.returncode is None else self.returncode
        assert code is not None
        return code

    def kill(self) -> None:
        """Kill the guardian. The kernel then kills the worker."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(timeout):
            return None
        self._control.setblocking(False)
        try:
            last = self._control.recv(_MESSAGE)
        except OSError:
            last = b""
        self.returncode = int(last) if last else -signal.SIGKILL
        return self.returncode

    def close(self) -> None:
        """Close all descriptors."""
        self._control.close()
        for stream in (self.stdin, self.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.returncode is None:
            self.kill()
            self.wait()
        self.close()


class WorkerServer:
    """A running server. Closing it ends it; running workers die with it."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Start a server that imports these modules. The start takes a second of processor time, in the background."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process: Process = spawn(_command(modules), stdin=theirs.fileno(), own_session=True)

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    def start(self, request: Request, log: int) -> ForkedProcess:
        """Fork a guardian, which then waits. Raises OSError if the server is gone."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stdin, to_worker = os.pipe()
        from_worker, stdout = os.pipe()
        streams = os.fdopen(to_worker, "wb"), os.fdopen(from_worker, "rb")
        try:
            message = json.dumps(asdict(request)).encode()
            socket.send_fds(self._socket, [message], [stdin, stdout, log, theirs.fileno()])
            theirs.close()
            return ForkedProcess(ours, *streams)
        except BaseException:
            for one in (ours, *streams):
                one.close()
            raise
        finally:
            theirs.close()
            os.close(stdin)
            os.close(stdout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        with self._process, contextlib.suppress(TimeoutExpired):
            self._process.wait(_GRACE if error is None else 0)


def _command(modules: Sequence[str]) -> list[str]:
    entered = ids.enter()
    guard = ["setpriv", "--pdeathsig", "KILL", *(["--no-new-privs"] if entered else []), "--"]
    return [*entered, *guard, *ids.marked(), *python(__name__, package_path(), str(os.getpid()), *modules)]


def _received(control: socket.socket) -> tuple[bytes, int]:
    """Return a message with one descriptor. Raises OSError if there is none."""
    message, descriptors, _, _ = socket.recv_fds(control, _MESSAGE, 1)
    if not message or not descriptors:
        raise ConnectionResetError("the server of workers is gone")
    return message, descriptors[0]


# the server


def serve(connection: socket.socket, modules: Sequence[str], run: Callable[[Sequence[str]], int]) -> int:
    """Fork a guardian for each request until the engine closes the connection."""
    for module in modules:
        importlib.import_module(module)
    _import_for_builds()
    _finish_models()
    with contextlib.suppress(StagewrightError):  # the worker that needs the filter reports it
        compiled()
    gc.collect()
    gc.freeze()  # else the collector of a worker would copy the memory that it looks at
    server = os.getpid()
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, _MESSAGE, 4)
        _reap(0 if not message else os.WNOHANG)
        if not message:
            return 0
        if fork() == 0:
            _guard(Request(**json.loads(message)), descriptors, connection, server, run)
        for descriptor in descriptors:
            os.close(descriptor)


def _reap(options: int) -> None:
    """Reap guardians that have ended. Their processor time then counts as that of the server."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def _import_for_builds() -> None:
    """Import what the kinds import when they build: each worker would do it again."""
    from stagewright.kinds.common.base import Stage

    models = [model for models in Stage.registry.values() for model in models.values()]
    for module in {name: None for model in models for name in model.build_modules}:
        importlib.import_module(module)


def _finish_models() -> None:
    """Make now what would be made when a model or a dataclass is first used: each worker would do it again."""
    from stagewright.engine.job import Job
    from stagewright.kinds.common.base import Stage

    Job.model_rebuild()
    for models in Stage.registry.values():
        for model in models.values():
            for part in (model, model.context_model, model.facts_model):
                part.model_rebuild()
    complete_all()


def _guard(
    request: Request,
    descriptors: Sequence[int],
    connection: socket.socket,
    server: int,
    run: Callable[[Sequence[str]], int],
) -> NoReturn:
    """Be the guardian of a worker: make its namespaces, fork process 1, and end with it."""
    code = 1
    try:
        _die_with_parent()
        if os.getppid() != server:
            os._exit(1)
        os.setsid()
        connection.detach()
        *streams, control_fd = descriptors
        for number, descriptor in enumerate(streams):  # the first one replaces the connection
            os.dup2(descriptor, number)
            os.close(descriptor)
        control = socket.socket(fileno=control_fd)
        _limit(request)
        socket.send_fds(control, [str(os.getpid()).encode()], [os.pidfd_open(os.getpid())])
        if control.recv(_MESSAGE):
            code = _with_process_one(request, control, run)
            control.send(str(code).encode())
    except BaseException:  # noqa: BLE001  a forked process must not return into the loop of the server
        traceback.print_exc()
    finally:
        os._exit(code if code >= 0 else 128 - code)


def _limit(request: Request) -> None:
    Path("/proc/self/oom_score_adj").write_text(str(request.score), encoding="ascii")
    for number, limit in request.limits.items():
        resource.setrlimit(int(number), (limit, limit))


def _with_process_one(request: Request, control: socket.socket, run: Callable[[Sequence[str]], int]) -> int:
    """Run the worker as process 1 of new namespaces, and return its exit code."""
    _call("unshare", _NEW_MOUNTS | _NEW_HOST_NAME | _NEW_IPC | _NEW_PROCESSES | _NEW_NETWORK * request.own_network)
    reader, writer = os.pipe()
    first = fork()
    if first == 0:
        _be_worker(request, control, (reader, writer), run)
    os.close(reader)
    socket.send_fds(control, [b"1"], [os.pidfd_open(first)])
    os.write(writer, b"1")
    os.close(writer)
    return os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])


def _be_worker(
    request: Request, control: socket.socket, pipe: tuple[int, int], run: Callable[[Sequence[str]], int]
) -> NoReturn:
    code = 1
    try:
        _die_with_parent()
        control.close()
        os.close(pipe[1])
        if not os.read(pipe[0], 1):  # the guardian died before the kernel knew to kill this process
            os._exit(1)
        os.close(pipe[0])
        _call("mount", b"none", b"/", None, _RECURSIVE | _PRIVATE, None)
        _call("mount", b"proc", b"/proc", b"proc", _NO_SETUID | _NO_DEVICES | _NO_PROGRAMS, None)
        os.environ.clear()
        os.environ.update(request.environment)
        code = run(request.arguments)
    except StagewrightError as failure:
        sys.stderr.write(f"{failure}\n")
    except BaseException:  # noqa: BLE001  a forked process must not return into the loop of the server
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


_library = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library. Raises OSError."""
    if getattr(_library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _die_with_parent() -> None:
    _call("prctl", _DEATH_SIGNAL, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)


def _main(package: str, engine: str, modules: Sequence[str]) -> int:
    from stagewright.engine import worker

    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    if os.getppid() != int(engine):  # it ended before the kernel knew to kill this process
        return 1

    def run(arguments: Sequence[str]) -> int:
        os.environ.update(kept)
        mode, folder = arguments
        return worker.main(package, mode, Path(folder), [])

    return serve(socket.socket(fileno=0), modules, run)


_KEPT = (ids.MARK, NO_BYTECODE, "PYTHONPATH")
"""Variables that the command of the server sets, for the workers and the programs that they start."""


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.argv[2], sys.argv[3:]))
