"""Starts of the command that cost a hundredth of a second: forks of a process that has imported everything.

A start of Python and the imports take most of the time of a command that plans or checks. :func:`start` therefore asks
a server, which has one thread and nothing but imported modules, for a fork. The fork is a process like any other: it
has the environment, the folder and the streams that the test chooses, and it exits as Python does. Tests of what Python
does at its start (locales, ``PYTHON...`` variables, the order of sets) start the interpreter themselves.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

FRESH = ("PYTHON", "LC_", "LANG")
"""Variables that Python reads at its start begin with one of these, so a fork cannot have others than the server."""

PATH = "PYTHONPATH"
"""A variable that a fork can have: folders of packages."""

READY = b"!"
"""The first message of the server."""

_LIMIT = 1 << 20

_ENVIRONMENT = dict(os.environ)
"""The environment of the server: the one before the first test, not that of the test that starts a command first."""

_UMASK = os.umask(0o022)
os.umask(_UMASK)


@dataclass
class Started:
    """A command that runs. ``status`` is a pipe with its exit code, once it has ended."""

    pid: int
    status: int = field(repr=False)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code, which is negative after a signal. Raises TimeoutError."""
        if not self._ended(timeout):
            raise TimeoutError(f"process {self.pid} runs longer than {timeout} s")
        code = _received(self.status)
        os.close(self.status)
        return code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal. Raises ProcessLookupError if the command has ended: another process can have its number."""
        if self._ended(0):
            raise ProcessLookupError(f"process {self.pid} has ended")
        os.kill(self.pid, number)

    def _ended(self, timeout: float | None) -> bool:
        return bool(select.select([self.status], [], [], timeout)[0])


def start(
    *words: str | os.PathLike[str],
    cwd: Path,
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
    env: Mapping[str, str] | None = None,
    main: str = "stagewright.cli.main",
) -> Started:
    """Start the command with arguments, and with variables in addition to those of this process.

    ``main`` is the module with the function of this name. Packages in PYTHONPATH come first, as usual.
    """
    more = dict(env or {})
    path = more.pop(PATH, "")
    assert not fresh_variables(more), "only a new interpreter can use these variables"
    assert fresh_variables(os.environ) == fresh_variables(_ENVIRONMENT), "a fork has the variables of the server"
    request = {
        "main": main,
        "words": [os.fspath(word) for word in words],
        "cwd": os.fspath(cwd),
        "env": {**os.environ, **more},
        "path": [part for part in path.split(os.pathsep) if part],
    }
    reader, writer = os.pipe()
    streams = [stream if isinstance(stream, int) else stream.fileno() for stream in (stdout, stderr)]
    try:
        socket.send_fds(_server(), [json.dumps(request).encode()], [writer, *streams])
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return Started(_received(reader), reader)


def fresh_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that Python reads at its start."""
    return {name: text for name, text in environment.items() if name.startswith(FRESH) and name != PATH}


def run(
    *words: str | os.PathLike[str],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    main: str = "stagewright.cli.main",
    timeout: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command, and return its exit code and what it printed.

    With variables for a new interpreter, it gets one. After ``timeout`` seconds, it is killed. Raises TimeoutError.
    """
    if fresh_variables(env or {}):
        return _run_fresh([f"from {main} import main; main()", *words], cwd, {**os.environ, **(env or {})}, timeout)
    with memory() as out, memory() as err:
        started = start(*words, cwd=cwd, stdout=out, stderr=err, env=env, main=main)
        try:
            code = started.wait(timeout)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                started.kill()  # its workers end with it
            with contextlib.suppress(OSError):
                os.close(started.status)
            raise
        return subprocess.CompletedProcess(words, code, content(out), content(err))


def _run_fresh(
    words: list[str | os.PathLike[str]], cwd: Path, env: Mapping[str, str], timeout: float | None
) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-c", *words]
    try:
        return subprocess.run(
            line, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(str(error)) from None


@contextlib.contextmanager
def memory() -> Iterator[IO[bytes]]:
    """A file in memory."""
    with open(os.memfd_create("output"), "r+b") as file:
        yield file


def content(file: IO[bytes]) -> bytes:
    """Return what processes wrote into a file."""
    file.seek(0)
    return file.read()


_NUMBER = struct.Struct("i")


def _received(pipe: int) -> int:
    data = os.read(pipe, _NUMBER.size)
    if len(data) != _NUMBER.size:
        raise RuntimeError("the server of tests/starter.py, or the process that waits for the command, was killed")
    number: int = _NUMBER.unpack(data)[0]
    return number


@functools.cache
def _server() -> socket.socket:
    """Start the server, which ends when this process does, and return the connection to it.

    It is not a child of this process, since some tests check that none is left.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        words = [sys.executable, str(Path(__file__).resolve()), str(theirs.fileno())]
        server = subprocess.Popen(
            words,
            pass_fds=[theirs.fileno()],
            env=_ENVIRONMENT,
            umask=_UMASK,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # Python notes at its start that these streams cannot seek
            stderr=subprocess.PIPE,
        )
    with server:
        if ours.recv(1) != READY:
            raise RuntimeError(server.communicate()[1].decode())
    return ours


# the server


def _import_everything() -> None:
    """Import what commands import: their modules, the kinds, and the libraries that are imported when they are used."""
    import stagewright.kinds
    from stagewright.cli.main import COMMANDS

    kinds = pkgutil.walk_packages(stagewright.kinds.__path__, f"{stagewright.kinds.__name__}.")
    modules = [*COMMANDS.values(), *(module.name for module in kinds), "stagewright.dropin.main"]
    for name in (*modules, "httpx", "jinja2", "tree_sitter_toml"):
        importlib.import_module(name)
    _read_code()
    gc.freeze()


def _read_code() -> None:
    """Read the code that is part of keys, which takes a second. Each new store gets its digests from this memory."""
    import stagewright
    from stagewright.graph.code_digest import NEUTRAL, read_module

    for module in pkgutil.walk_packages(stagewright.__path__, "stagewright."):
        if module.name.split(".")[1] not in NEUTRAL and module.name in sys.modules:
            read_module(module.name)


def _serve(channel: socket.socket) -> dict[str, Any]:
    """Answer requests until there are no more. In a fork that is to run a command, return the request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the commands
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks leave no zombies
    channel.send(READY)
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, _LIMIT, 3)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            channel.close()
            _watched(*descriptors)
            return dict(json.loads(message))
        for descriptor in descriptors:
            os.close(descriptor)


def _watched(status: int, *streams: int) -> None:
    """Return in a child with these streams. This process writes the child's process id and exit code to ``status``."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        for descriptor in (1, 2, *streams):
            os.close(descriptor)
        with contextlib.suppress(BrokenPipeError):  # the test has ended
            os.write(status, _NUMBER.pack(child))
            os.write(status, _NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
        os._exit(0)
    os.close(status)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(streams, start=1):
        os.dup2(descriptor, number)
        os.close(descriptor)


def _run_command(request: dict[str, Any]) -> None:
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.path[:0] = request["path"]
    sys.argv[1:] = request["words"]
    try:
        importlib.import_module(request["main"]).main()
    except SystemExit as end:
        _exit(end.code)


def _exit(code: str | int | None) -> None:
    """End this process as Python does, except that it does not free the modules, which would take 0.05 s."""
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
    code = 0 if code is None else code if isinstance(code, int) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        traceback.print_exc()
        code = 120
    os._exit(code)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    _import_everything()
    if os.fork():
        os._exit(0)
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        asked = _serve(connection)
    _run_command(asked)
