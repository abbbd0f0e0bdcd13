"""The only module that starts processes.

Commands get a minimal environment, a closed standard input and no shell. A failing command raises an error that shows a
line which can be pasted into a terminal and the end of what the command printed.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pickle
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

from stagewright.errors import Reason, StagewrightError

Command = Sequence[str | os.PathLike[str]]
P = ParamSpec("P")
T = TypeVar("T")

TAIL_LINES = 25
"""How many of its last lines an error shows of a failing command."""

NO_ROOM = "No space left on device"
"""What every program says on a full disk (strerror(3))."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Search path of every command: the system's directories, whatever the caller's shell has."""


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code and, where they were captured, its output and its error output."""

    code: int
    stdout: str = ""
    stderr: str = ""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that commands get: search path, UTC, C.UTF-8, a home; ``extra`` comes on top."""
    return {"PATH": PATH, "LANG": "C.UTF-8", "TZ": "UTC", "HOME": os.environ.get("HOME", "/root"), **(extra or {})}


def paste(command: Command, *, cwd: Path | None = None) -> str:
    """The command as one line for a shell."""
    line = shlex.join(os.fspath(word) for word in command)
    return f"cd {shlex.quote(str(cwd))} && {line}" if cwd else line


def network() -> dict[str, str]:
    """What this process was told of proxies, certificates and logins, for the few commands that use the network."""
    names = {"http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir", "stagewright_stall"}
    names |= {"ssh_auth_sock", "registry_auth_file", "docker_config", "xdg_runtime_dir"}  # containers-auth.json(5)
    return {name: value for name, value in os.environ.items() if name.lower() in names}


def run(
    command: Command,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    log: IO[str] | None = None,
    on_line: Callable[[str], None] | None = None,
    check: bool = True,
    pass_fds: Sequence[int] = (),
    timeout: float | None = None,
) -> Result:
    """Run a command to its end.

    Without ``log`` and ``on_line`` the output is captured and returned. With either, output and error output are one
    stream whose lines go to the log file and to the callback as they come. ``check`` turns a code other than 0 into
    :class:`StagewrightError` (``COMMAND_FAILED``); a program that does not exist is ``MISSING_TOOL`` always.
    ``timeout`` is in seconds and works only for captured commands.
    """
    streamed = log is not None or on_line is not None
    if streamed:
        assert stdin is None and timeout is None
        return _stream(command, cwd=cwd, env=env, log=log, on_line=on_line, check=check, pass_fds=pass_fds)
    words = [os.fspath(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env=environment(env),
            check=False,
            capture_output=True,
            pass_fds=pass_fds,
            timeout=timeout,
            input=stdin or b"",
        )
    except OSError as error:
        raise _unstarted(words, error) from error
    except subprocess.TimeoutExpired as error:
        raise _failed(command, cwd, f"took more than {timeout:g} seconds", "") from error
    result = Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    if check and result.code:
        raise _failed(command, cwd, _describe(result.code), result.stdout + result.stderr)
    return result


def _stream(
    command: Command,
    *,
    cwd: Path | None,
    env: Mapping[str, str] | None,
    log: IO[str] | None,
    on_line: Callable[[str], None] | None,
    check: bool,
    pass_fds: Sequence[int],
) -> Result:
    if log:
        log.write(f"+ {paste(command, cwd=cwd)}\n")
        log.flush()
    tail: list[str] = []
    no_room = False
    process = spawn(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=pass_fds)
    assert process.stdout
    with process.stdout as stream:
        for raw in stream:
            line = raw.decode(errors="replace").rstrip("\n")
            tail = [*tail[-TAIL_LINES + 1 :], line]
            no_room = no_room or NO_ROOM in line
            if log:
                log.write(line + "\n")
                log.flush()
            if on_line:
                on_line(line)
    code = process.wait()
    if check and code:
        raise _failed(command, cwd, _describe(code), "\n".join(tail), no_room=no_room)
    return Result(code, stdout="\n".join(tail))


def spawn(
    command: Command,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[Any] = subprocess.DEVNULL,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    own_session: bool = False,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a command and return at once. ``own_session`` keeps a terminal's Ctrl-C away from it."""
    words = [os.fspath(word) for word in command]
    try:
        return subprocess.Popen(
            words,
            cwd=cwd,
            env=environment(env),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=own_session,
            pass_fds=pass_fds,
        )
    except OSError as error:
        raise _unstarted(words, error) from error


PIPE_SIZE = 1 << 20
"""Bytes that a pipe for bulk data holds: the most that the kernel gives anyone (pipe(7)); fewer turns of processes."""


def widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold more, if the kernel grants it."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)


def pipeline(
    commands: Sequence[Command],
    sink: Callable[[bytes], object],
    *,
    log: IO[str] | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> None:
    """Run commands side by side, each reading what the one before it prints; ``sink`` gets what the last one prints.

    It is called with a mebibyte at a time; an exception from it ends all commands and is passed on. A command that
    fails, fails the whole (``COMMAND_FAILED``): the error names the first one that did so by itself, not for lack of a
    reader. What they say to their error output goes to the log. ``pass_fds`` stay open for the first one.
    """
    with tempfile.TemporaryFile() as said, contextlib.ExitStack() as ends:
        parts: list[Process] = []
        source: IO[bytes] | None = None
        for command in commands:
            fds = () if parts else pass_fds
            stdin = source or subprocess.DEVNULL
            part = spawn(command, env=env, stdin=stdin, stdout=PIPE, stderr=said, pass_fds=fds)
            parts.append(ends.enter_context(part))
            ends.callback(part.kill)
            if source:
                source.close()  # or who writes there would never see its reader go
            source = part.stdout
            assert source
            widen(source)
        assert source
        while chunk := source.read(1 << 20):
            sink(chunk)
        codes = [part.wait() for part in parts]
        said.seek(0)
        text = said.read().decode(errors="replace")
    if log:
        log.write("+ " + " | ".join(paste(command) for command in commands) + f"\n{text}")
    failed = [(command, code) for command, code in zip(commands, codes, strict=True) if code]
    for command, code in sorted(failed, key=lambda one: one[1] == -signal.SIGPIPE):
        raise _failed(command, None, _describe(code), text)


PIPE = subprocess.PIPE
STDOUT = subprocess.STDOUT
Process = subprocess.Popen[bytes]


def interactive(command: Command, *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> int:
    """Run a command that owns the terminal (a shell, a machine's console) and return its exit code."""
    words = [os.fspath(word) for word in command]
    terminal = {name: os.environ[name] for name in ("TERM", "COLORTERM") if name in os.environ}
    try:
        return subprocess.run(words, cwd=cwd, env=environment({**terminal, **(env or {})}), check=False).returncode
    except OSError as error:
        raise _unstarted(words, error) from error


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our own modules with the interpreter and the import path of this process."""
    return [sys.executable, "-m", module, *arguments]


def inside(root: Path, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a child process whose root directory is ``root``, and return what it returned.

    Links inside a root point wherever its builders liked; from within, none of them can lead outside. The function and
    what it needs must be imported already, since the interpreter's files are out of reach there; arguments pass
    by fork, the result by pickle. Open file descriptors stay usable.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            _answer(writer, root, functools.partial(function, *args, **kwargs))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    if not data:
        raise RuntimeError(f"{function.__name__} died inside {root}")
    fine, value = pickle.loads(data)  # noqa: S301  our own child wrote it
    if fine:
        return value  # type: ignore[no-any-return]
    raise StagewrightError.from_dict(value) if isinstance(value, dict) else value


def _answer(writer: int, root: Path, function: Callable[[], Any]) -> None:
    try:
        os.chroot(root)
        os.chdir("/")
        data = pickle.dumps((True, function()))
    except BaseException as error:  # noqa: BLE001  crosses the process boundary
        data = pickle.dumps((False, _portable(error)))
    with os.fdopen(writer, "wb") as stream:
        stream.write(data)


def _portable(error: BaseException) -> Any:
    if isinstance(error, StagewrightError):
        return error.to_dict()
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    return RuntimeError("".join(traceback.format_exception(error)))


def lifeline() -> None:
    """End this process when whoever holds the other end of its standard input is gone, however that happened."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _describe(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"exit code {code}"


def _unstarted(words: Sequence[str], error: OSError) -> StagewrightError:
    if error.filename not in (None, words[0]):  # the working directory is what is missing
        return StagewrightError(
            Reason.MISSING_FILE, f"no such folder: {error.filename}", hint="make it, or see why not"
        )
    if not isinstance(error, FileNotFoundError):
        what = f"{words[0]} cannot be started: {error.strerror}"
        return StagewrightError(Reason.COMMAND_FAILED, what, detail=f"  $ {paste(words)}")
    return StagewrightError(
        Reason.MISSING_TOOL, f"{words[0]} is not installed", hint="stagewright doctor names the package that brings it"
    )


def _failed(command: Command, cwd: Path | None, why: str, output: str, *, no_room: bool = False) -> StagewrightError:
    tail = "\n".join(output.rstrip().splitlines()[-TAIL_LINES:])
    name = Path(os.fspath(command[0])).name
    reason = Reason.DISK_FULL if no_room or NO_ROOM in tail else Reason.COMMAND_FAILED
    shown = f"  $ {paste(command, cwd=cwd)}" + (f"\n{tail}" if tail else "")
    return StagewrightError(reason, f"{name}: {why}", detail=shown)
