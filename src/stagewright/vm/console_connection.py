"""Connect the user's terminal to the console of a running guest, and disconnect it again."""

from __future__ import annotations

import contextlib
import os
import select
import termios
import tty
from collections.abc import Iterator

from stagewright.errors import Reason, StagewrightError
from stagewright.vm.console import Console

LEAVE = b"\x1d"
"""The key that disconnects: Ctrl-], as for telnet(1) and virsh(1)."""

NOTICE = b"This is the console. Press Ctrl-] to return to Python.\r\n"

_TICK = 0.1  # seconds until the end of the guest is noticed


def connect(console: Console, keyboard: int = 0, screen: int = 1) -> None:
    """Pass on every key and all output until Ctrl-], or the end of the guest. The log of the console goes on.

    Later waits of the test start behind this output. Raises: USAGE if the keyboard is not a terminal.
    """
    if not os.isatty(keyboard):
        what = "console_interact: the standard input is not a terminal"
        raise StagewrightError(Reason.USAGE, what, hint="run: stagewright test NAME --interactive")
    with _raw(keyboard), console.observed(lambda data: _write(screen, data)):
        _write(screen, NOTICE)
        console.send("\n")  # the guest prints its prompt again
        while not console.ended:
            if not select.select([keyboard], [], [], _TICK)[0]:
                continue
            typed, leave, _ = (data := os.read(keyboard, 4096)).partition(LEAVE)
            console.send(typed)
            if leave or not data:
                break
    _write(screen, b"\n")
    console.skip()


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Let a terminal pass on every key. Its settings are restored afterwards."""
    saved = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, saved)


def _write(screen: int, data: bytes) -> None:
    with contextlib.suppress(OSError):  # the user's terminal is gone, and SIGHUP follows
        while data:
            data = data[os.write(screen, data) :]
