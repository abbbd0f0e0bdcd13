"""A separate terminal for a command that is not trusted.

A program on the user's terminal can type into it (TIOCSTI of ioctl_tty(2)), read what the user types, also later, and
change its settings. So the command gets a new pseudo terminal (pty(7)) in a new session. This process passes on what is
typed and what is printed, as ssh(1) does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from stagewright.run import Command, Process, spawn

_CHUNK = 1 << 16
_GRACE = 1.0


def run_on_new_terminal(command: Command) -> int:
    """Run a command and return its exit code. Standard streams that are terminals are replaced by a new one.

    SIGTERM and SIGHUP end the command and raise SystemExit. The user's terminal gets its settings back in any case.
    """
    variables = {name: os.environ[name] for name in ("TERM", "COLORTERM") if name in os.environ}
    terminals = [stream for stream in (0, 1, 2) if os.isatty(stream)]
    if not terminals:
        with spawn(command, env=variables, stdin=0, own_session=True) as process:
            return process.wait()
    master, slave = os.openpty()
    with contextlib.ExitStack() as ends:
        ends.callback(os.close, master)
        with os.fdopen(slave, "rb", buffering=0) as end:
            _copy_settings(terminals[0], slave, plain=0 not in terminals)
            streams = [slave if stream in terminals else stream for stream in (0, 1, 2)]
            own = ["setsid", "--ctty", "--"] if 0 in terminals else []
            process = ends.enter_context(_child([*own, *command], variables, streams, own_session=not own))
            end.close()  # else the end of the command would not close the terminal
        with _woken() as signals, _user_terminal(terminals, master):
            screen = next(stream for stream in (1, 2, 0) if stream in terminals)
            _Relay(process, master, signals, keyboard=0 if 0 in terminals else None, screen=screen).run()
        return process.wait()


@contextlib.contextmanager
def _child(words: Command, env: dict[str, str], streams: list[int], *, own_session: bool) -> Iterator[Process]:
    """Start the command. On the way out it ends within seconds."""
    stdin, stdout, stderr = streams
    with spawn(words, env=env, stdin=stdin, stdout=stdout, stderr=stderr, own_session=own_session) as process:
        try:
            yield process
        finally:
            process.end(_GRACE)


def _copy_settings(source: int, target: int, *, plain: bool) -> None:
    """Give a terminal the settings and the size of another one. ``plain``: it does not change what is printed."""
    settings = termios.tcgetattr(source)
    if plain:
        settings[1] &= ~termios.OPOST
    termios.tcsetattr(target, termios.TCSANOW, settings)
    _copy_size(source, target)


def _copy_size(source: int, target: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8)))


@contextlib.contextmanager
def _woken() -> Iterator[int | None]:
    """Yield a descriptor that becomes readable with each signal; None in a thread that gets no signals.

    A signal just before poll(2) does not interrupt it, so Python would call the handler when something else happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    old = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(old)
        os.close(reader)
        os.close(writer)


@contextlib.contextmanager
def _user_terminal(terminals: list[int], master: int) -> Iterator[None]:
    """Let the user's terminal pass on every key, and follow its size; restore its settings afterwards."""
    saved = termios.tcgetattr(0) if 0 in terminals else None

    def begin(_number: int = 0, _frame: FrameType | None = None) -> None:
        _copy_size(terminals[0], master)
        if saved:
            tty.setraw(0, termios.TCSANOW)

    def stop(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    handlers: dict[int, Callable[[int, FrameType | None], None]] = {
        signal.SIGWINCH: begin,
        signal.SIGCONT: begin,
        signal.SIGTERM: stop,
        signal.SIGHUP: stop,
    }
    own = threading.current_thread() is threading.main_thread()  # other threads cannot set handlers
    old = {number: signal.signal(number, handler) for number, handler in handlers.items()} if own else {}
    try:
        begin()
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        if saved:
            with contextlib.suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(0, termios.TCSAFLUSH, saved)  # answers of the terminal are not for the user's shell


class _Relay:
    """Passes on what is typed and printed until the command ends."""

    def __init__(self, process: Process, master: int, signals: int | None, keyboard: int | None, screen: int) -> None:
        self._process = process
        self._master = master
        self._signals = signals
        self._keyboard = keyboard
        self._screen = screen
        self._typed = b""  # not yet read by the command's terminal
        os.set_blocking(master, False)

    def run(self) -> None:
        """Return when the command has ended and its output is printed."""
        ended = os.pidfd_open(self._process.pid)
        try:
            while self._step(ended):
                pass
        finally:
            os.close(ended)

    def _step(self, ended: int) -> bool:
        """Wait for something to do, and do it. Return False at the end."""
        readers = [ended, self._master, *([] if self._signals is None else [self._signals])]
        if self._keyboard is not None and len(self._typed) < _CHUNK:
            readers.append(self._keyboard)
        ready, writable = _wait(readers, [self._master] if self._typed else [])
        if self._signals in ready:
            os.read(self._signals, _CHUNK)
        if self._keyboard in ready:
            self._type()
        if writable:
            with contextlib.suppress(BlockingIOError):
                self._typed = self._typed[os.write(self._master, self._typed) :]
        if self._master in ready:
            return self._print()
        return ended not in ready

    def _type(self) -> None:
        assert self._keyboard is not None
        try:
            data = os.read(self._keyboard, _CHUNK)
        except OSError as error:  # of a terminal that is gone, or of an orphaned background process
            if error.errno != errno.EIO:
                raise
            data = b""
        self._typed += data
        if not data:
            self._keyboard = None
            self._process.end(_GRACE)

    def _print(self) -> bool:
        """Print what the command has printed. Return False if its terminal is closed."""
        try:
            data = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return False
        try:
            while data:
                data = data[os.write(self._screen, data) :]
        except OSError as error:  # the user's terminal is gone, and SIGHUP follows
            if error.errno != errno.EIO:
                raise
            self._process.end(_GRACE)
            return False
        return True


def _wait(readers: Sequence[int], writers: Sequence[int]) -> tuple[set[int], set[int]]:
    """Wait until descriptors can be read or written, or have failed. Return both. select(2) has no large numbers."""
    poll = select.poll()
    for descriptor in {*readers, *writers}:
        poll.register(descriptor, select.POLLIN * (descriptor in readers) | select.POLLOUT * (descriptor in writers))
    ended = select.POLLHUP | select.POLLERR
    found = poll.poll()
    ready = {one for one, events in found if one in readers and events & (select.POLLIN | ended)}
    return ready, {one for one, events in found if one in writers and events & (select.POLLOUT | ended)}
