"""The only module that starts processes.

Commands get a minimal environment, a closed standard input and no shell. The error of a failing command shows a line
that can be pasted into a terminal, and the end of the command's output. Output is decoded as UTF-8, whatever the
locale; bytes that are not UTF-8 become U+FFFD.

Every process that starts here has one owner, which ends and reaps it on every way out: :class:`Process` is a context
manager.
"""

from __future__ import annotations

import contextlib
import fcntl
import locale
import os
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import termios
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass

Command = Sequence[str | os.PathLike[str]]

TAIL_LINES = 25
"""Number of the last output lines that the error of a failing command shows."""

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a command that has to end."""

KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""Exit codes of a command that was ended by SIGKILL: its own, and that of a program which passes it on (bwrap(1))."""

_NO_ROOM = ("No space left on device", "exceeds free space on media")
"""Messages about a full disk: that of ENOSPC (strerror(3)), and that of xorriso(1), which asks before it writes."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Search path of every command: the system's directories, independent of the caller's shell."""

UMASK = 0o022
"""Umask of the commands and the workers (umask(2)): modes in results do not depend on that of the caller."""

TERMINAL_ENCODING = "terminal"
"""Name of the option of the interpreter that :func:`restart_in_utf8_mode` adds."""

PIPE = subprocess.PIPE
STDOUT = subprocess.STDOUT
TimeoutExpired = subprocess.TimeoutExpired

Answer = Callable[[str], str | None]
"""Function that gets the end of an output without a newline, and returns what to type, or None for other text.

The command has a terminal as its standard input until it has read the answer."""

_inherited: set[int] = set()
_started: set[int] = set()  # ids of the processes of this module that have not left their context
_starting = threading.Lock()

PIPE_SIZE = 1 << 20
"""Bytes that a pipe for bulk data holds: the unprivileged maximum (pipe(7)). Fewer context switches."""


@dataclass(frozen=True)
class Result:
    """The exit code of a command and, if they were captured, its output and its error output."""

    code: int
    stdout: str = ""
    stderr: str = ""


class Process(subprocess.Popen[bytes]):
    """A running command. On leaving its context the command is ended and reaped, and its pipes are closed."""

    def end(self, grace: float = GRACE) -> int:
        """End the command if it runs, reap it, and return its exit code (negative: the number of the signal).

        SIGTERM lets the command clean up. SIGCONT wakes a stopped one, which would not see SIGTERM. SIGKILL follows
        after ``grace`` seconds, and at once if waiting is interrupted. unshare(1) ignores SIGTERM while its child runs.
        """
        assert not isinstance(self.args, str | bytes | os.PathLike)
        if "--kill-child" in self.args:
            self.kill()
        elif self.poll() is None:
            self.send_signal(signal.SIGCONT)
            self.terminate()
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return self.wait(grace)
            finally:
                self.kill()
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream:
                with contextlib.suppress(OSError):  # what was not written yet has no reader any more
                    stream.close()
        _started.discard(self.pid)
        _reap_sandboxes()


def _reap_sandboxes() -> None:
    """Reap what bwrap(1) leaves behind: it ends before its process 1, which becomes a child of a worker."""
    if os.getpid() != 1:
        return
    with _starting:
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                number = int(entry.name)
                name, _, rest = (entry / "stat").read_bytes().partition(b"(")[2].rpartition(b")")
                if (name, *rest.split()[:2]) == (b"bwrap", b"Z", b"1") and number not in _started:
                    os.waitpid(number, os.WNOHANG)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of commands: search path, UTC, C.UTF-8, a home; ``extra`` adds and replaces variables."""
    return {"PATH": PATH, "LANG": "C.UTF-8", "TZ": "UTC", "HOME": os.environ.get("HOME", "/root"), **(extra or {})}


def network() -> dict[str, str]:
    """Return this process's variables for proxies, certificates and logins, for commands that use the network."""
    names = {"http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir", "stagewright_stall"}
    names |= {"ssh_auth_sock", "registry_auth_file", "docker_config", "xdg_runtime_dir"}  # containers-auth.json(5)
    return {name: value for name, value in os.environ.items() if name.lower() in names}


def paste(command: Command, *, cwd: Path | None = None) -> str:
    """Return the command as one line for a shell."""
    line = shlex.join(os.fspath(word) for word in command)
    return f"cd {shlex.quote(str(cwd))} && {line}" if cwd else line


def run(
    command: Command,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    log: IO[str] | None = None,
    on_line: Callable[[str], object] | None = None,
    check: bool = True,
    pass_fds: Sequence[int] = (),
    timeout: float | None = None,
) -> Result:
    """Run a command to its end.

    Without ``log`` and ``on_line`` the output is captured and returned. With either, output and error output are one
    stream, and each line goes to the log file and to the callback as it is printed. If the callback or the log raises,
    the command is ended and the exception is passed on. ``timeout`` is in seconds; only captured commands can have one.

    Raises: COMMAND_FAILED if the exit code is not 0 (only with ``check``) or the time is over, DISK_FULL if the command
    reported a full disk, MISSING_TOOL if the program is not installed, MISSING_FILE if ``cwd`` is not a folder.
    """
    if log is not None or on_line is not None:
        assert stdin is None and timeout is None
        return _stream(command, cwd=cwd, env=env, log=log, on_line=on_line, check=check, pass_fds=pass_fds)
    source = subprocess.DEVNULL if stdin is None else PIPE
    with spawn(command, cwd=cwd, env=env, stdin=source, stdout=PIPE, stderr=PIPE, pass_fds=pass_fds) as process:
        try:
            output, errors = map(_text, process.communicate(stdin, timeout))
        except subprocess.TimeoutExpired as error:
            raise failure(command, f"took more than {timeout:g} seconds", cwd=cwd) from error
    code = process.returncode
    if check and code:
        raise failure(command, code, output + errors, cwd=cwd)
    return Result(code, output, errors)


def converse(
    command: Command,
    answer: Answer,
    *,
    log: IO[str] | None = None,
    on_line: Callable[[str], object] | None = None,
    check: bool = True,
    pass_fds: Sequence[int] = (),
) -> Result:
    """Run a command that asks one question, as :func:`run` does. ``answer`` may take its time."""
    return _stream(command, cwd=None, env=None, log=log, on_line=on_line, check=check, pass_fds=pass_fds, answer=answer)


def _stream(
    command: Command,
    *,
    cwd: Path | None,
    env: Mapping[str, str] | None,
    log: IO[str] | None,
    on_line: Callable[[str], object] | None,
    check: bool,
    pass_fds: Sequence[int],
    answer: Answer | None = None,
) -> Result:
    """Run a command and hand on its lines, see :func:`run`."""
    if log:
        log.write(f"+ {paste(command, cwd=cwd)}\n")
        log.flush()
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    no_room = False
    with contextlib.ExitStack() as ends:
        keyboard, stdin = ends.enter_context(_keyboard()) if answer else (None, subprocess.DEVNULL)
        started = spawn(command, cwd=cwd, env=env, stdin=stdin, stdout=PIPE, stderr=STDOUT, pass_fds=pass_fds)
        process = ends.enter_context(started)
        assert process.stdout
        for raw in _answered(process.stdout, keyboard, answer) if keyboard and answer else process.stdout:
            line = _text(raw).rstrip("\n")
            tail.append(line)
            no_room = no_room or says_no_room(line)
            if log:
                log.write(line + "\n")
                log.flush()
            if on_line:
                on_line(line)
        code = process.wait()
    if check and code:
        raise failure(command, code, "\n".join(tail), cwd=cwd, no_room=no_room)
    return Result(code, stdout="\n".join(tail))


@contextlib.contextmanager
def _keyboard() -> Iterator[tuple[IO[bytes], int]]:
    """Yield both ends of a terminal without echo (pty(7)): a file to type into, and a descriptor for the command."""
    master, slave = os.openpty()
    with os.fdopen(master, "wb", buffering=0) as keyboard:
        try:
            mode = termios.tcgetattr(slave)
            mode[3] &= ~termios.ECHO
            termios.tcsetattr(slave, termios.TCSANOW, mode)
            yield keyboard, slave
        finally:
            os.close(slave)


def _answered(output: IO[bytes], keyboard: IO[bytes], answer: Answer) -> Iterator[bytes]:
    """Yield the lines of an output, and answer the question in it. After that the command has no terminal any more."""
    rest, answered = b"", False
    while chunk := os.read(output.fileno(), PIPE_SIZE):
        if answered:
            keyboard.close()  # the command has gone on, so it has read the answer
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if rest and not answered and (said := answer(_text(rest))):
            answered = True
            keyboard.write(f"{said}\n".encode())
    if rest:
        yield rest


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
) -> Process:
    """Start a command and return at once. With ``own_session`` the terminal's Ctrl-C does not reach it.

    Raises: MISSING_TOOL, MISSING_FILE or COMMAND_FAILED if the command cannot be started.
    """
    words = [os.fspath(word) for word in command]
    try:
        with _starting:
            process = Process(
                words,
                cwd=cwd,
                env=environment(env),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=own_session,
                pass_fds=(*pass_fds, *_inherited),
            )
            _started.add(process.pid)
    except OSError as error:
        raise _unstarted(words, error) from error
    return process


def fork() -> int:
    """Return 0 in a copy of this process, and the id of the copy here (fork(2)). Only for processes of one thread."""
    return os.fork()


def inherit(descriptor: int) -> None:
    """Have every command inherit a descriptor from now on."""
    _inherited.add(descriptor)


def widen(pipe: IO[bytes]) -> None:
    """Enlarge the buffer of a pipe to ``PIPE_SIZE``, if the kernel permits it."""
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
    """Run commands at the same time, each reading the output of the one before it; ``sink`` gets the last output.

    ``sink`` is called with up to a mebibyte at a time. An exception from it ends all commands and is passed on. The
    error output of all commands goes to the log. ``pass_fds`` stay open for the first command.

    Raises: COMMAND_FAILED if a command fails. The error names the first one that failed for another reason than a
    missing reader (SIGPIPE).
    """
    with tempfile.TemporaryFile() as errors, contextlib.ExitStack() as ends:
        parts: list[Process] = []
        source: IO[bytes] | None = None
        for command in commands:
            fds = () if parts else pass_fds
            stdin = source or subprocess.DEVNULL
            part = spawn(command, env=env, stdin=stdin, stdout=PIPE, stderr=errors, pass_fds=fds)
            parts.append(ends.enter_context(part))
            ends.callback(part.kill)  # filters have nothing to clean up
            if source:
                source.close()  # else the writer would not get SIGPIPE when its reader ends
            source = part.stdout
            assert source
            widen(source)
        assert source
        while chunk := source.read(1 << 20):
            sink(chunk)
        codes = [part.wait() for part in parts]
        errors.seek(0)
        text = _text(errors.read())
    if log:
        log.write("+ " + " | ".join(paste(command) for command in commands) + f"\n{text}")
    failed = [(command, code) for command, code in zip(commands, codes, strict=True) if code]
    if failed:
        # A sandbox has 128 and the signal of its command as the exit code.
        command, code = min(failed, key=lambda one: one[1] in (-signal.SIGPIPE, 128 + signal.SIGPIPE))
        raise failure(command, code, text)


def interactive(
    command: Command,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> int:
    """Run a command that owns the terminal (a shell, a machine's console) and return its exit code.

    Signals from the keyboard are for the command: this process ignores them meanwhile, as system(3) does.
    """
    terminal = {name: os.environ[name] for name in ("TERM", "COLORTERM") if name in os.environ}
    variables = {**terminal, **(env or {})}
    with _keyboard_ignored(), spawn(command, cwd=cwd, env=variables, stdin=0, pass_fds=pass_fds) as process:
        return process.wait()


@contextlib.contextmanager
def _keyboard_ignored() -> Iterator[None]:
    """Ignore SIGINT and SIGQUIT by a handler, which a new program does not inherit, unlike SIG_IGN."""
    old: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # only the main thread can set handlers
        for number in (int(signal.SIGINT), int(signal.SIGQUIT)):
            old[number] = signal.signal(number, lambda _number, _frame: None)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def restart_in_utf8_mode() -> None:
    """Start this program again in Python's UTF-8 mode, unless file names are UTF-8 already.

    In another locale, such as ISO-8859-1, Python would decode file names by the locale: keys would differ between
    locales, and workers, which use UTF-8, would not find the files. The option ``-X terminal=ENCODING`` hands on the
    encoding of the terminal.
    """
    if sys.getfilesystemencoding() != "utf-8":
        encoding = sys.stdout.encoding if sys.stdout else locale.getencoding()
        options = ["-X", "utf8", "-X", f"{TERMINAL_ENCODING}={encoding}"]
        os.execv(sys.executable, [sys.executable, *options, *sys.orig_argv[1:]])  # noqa: S606


def exit_if_orphaned() -> None:
    """Exit if the process at the other end of standard input, a pipe, is gone.

    For children started by ``setpriv --pdeathsig``: the kernel ends them when their parent ends, but not if it ended
    before setpriv(1) made the request. This check comes after the request, so one of the two always works.
    """
    poll = select.poll()
    poll.register(0, select.POLLIN)
    if any(events & select.POLLHUP for _, events in poll.poll(0)):
        os._exit(1)


def describe(code: int) -> str:
    """Return how a process ended, in words: ``exit code 2``, or ``ended by SIGKILL (signal 9)``."""
    if code >= 0:
        return f"ended by SIGKILL (exit code {code})" if code in KILLED else f"exit code {code}"
    with contextlib.suppress(ValueError):  # real-time signals have no name
        return f"ended by {signal.Signals(-code).name} (signal {-code})"
    return f"ended by signal {-code}"


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _unstarted(words: Sequence[str], error: OSError) -> StagewrightError:
    """Return the error for a command that could not be started."""
    if error.filename not in (None, words[0]):
        return StagewrightError(
            Reason.MISSING_FILE, f"working directory not found: {error.filename}", hint=f"mkdir -p {error.filename}"
        )
    if not isinstance(error, FileNotFoundError):
        what = f"{words[0]} cannot be started: {error.strerror}"
        return StagewrightError(Reason.COMMAND_FAILED, what, detail=f"  $ {paste(words)}")
    return StagewrightError(
        Reason.MISSING_TOOL, f"{words[0]} is not installed", hint="stagewright doctor names its package"
    )


def says_no_room(text: str) -> bool:
    """Return True if the output of a program says that a disk is full."""
    return any(message in text for message in _NO_ROOM)


def full_disk_lines(text: str) -> list[str]:
    """Return the lines of the output of a program that say that a disk is full, each once."""
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if says_no_room(line)))


def failure(
    command: Command, why: int | str, output: str = "", *, cwd: Path | None = None, no_room: bool = False
) -> StagewrightError:
    """Return the error for a command that failed. ``why`` is its exit code, or another reason in words."""
    tail = "\n".join(output.rstrip().splitlines()[-TAIL_LINES:])
    name = Path(os.fspath(command[0])).name
    reason = Reason.DISK_FULL if no_room or says_no_room(tail) else Reason.COMMAND_FAILED
    shown = f"  $ {paste(command, cwd=cwd)}" + (f"\n{tail}" if tail else "")
    hint = "dmesg says so if the memory was full; run the same command again to continue" if why in KILLED else ""
    return StagewrightError(
        reason, f"{name}: {describe(why) if isinstance(why, int) else why}", detail=shown, hint=hint
    )
