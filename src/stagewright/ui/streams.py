"""Standard output and standard error: characters that a terminal cannot show, and readers that go away."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import sys
from typing import TextIO

from stagewright.run import TERMINAL_ENCODING
from stagewright.ui.text import printable

_ERRORS = "stagewright"


def prepare_streams() -> None:
    """Make standard output and standard error accept every text.

    They have the encoding of the locale. What the encoding lacks is written as a backslash escape, and bytes of file
    names that are not UTF-8 are written as they are. On a terminal, control characters are escaped, too.
    """
    _reopen_closed()
    codecs.register_error(_ERRORS, _encoded)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=sys._xoptions.get(TERMINAL_ENCODING), errors=_ERRORS)
            if stream.isatty() and not isinstance(stream, Terminal):
                setattr(sys, name, Terminal(stream))


class Terminal(io.TextIOWrapper):
    """A terminal that texts of others cannot control: logs, titles and names may hold escape sequences."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(stream.buffer, stream.encoding, stream.errors, line_buffering=True)
        self.unfiltered = stream

    def write(self, text: str) -> int:
        """Write a text with its control characters escaped."""
        super().write(printable(text))
        return len(text)

    def write_unescaped(self, text: str) -> None:
        """Write a text that has sequences of Stagewright, and whose texts of others are escaped."""
        super().write(text)

    def close(self) -> None:
        """Write what is left. The terminal belongs to the other stream, which stays open."""
        self.flush()


def unfiltered(stream: TextIO) -> TextIO:
    """Return the stream for a writer that draws on a terminal and escapes texts itself."""
    return stream.unfiltered if isinstance(stream, Terminal) else stream


def _reopen_closed() -> None:
    """Open /dev/null as each standard stream that is closed (``2>&-``), so that no other file gets its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def note(text: str) -> None:
    """Write a line to standard error, if that still has a reader."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def document(text: str) -> None:
    """Write a text whose format is UTF-8 to standard output, whatever the locale."""
    sys.stdout.flush()
    if isinstance(sys.stdout, io.TextIOWrapper):
        plain = printable(text) if isinstance(sys.stdout, Terminal) else text
        sys.stdout.buffer.write(plain.encode())
    else:
        sys.stdout.write(text)


def is_abandoned(stream: TextIO) -> bool:
    """Return True if the stream is a pipe or socket that has no reader any more."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # captured in memory, or closed
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def flush_output() -> None:
    """Flush standard output. If its reader is gone, discard the rest, also when the interpreter exits."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _encoded(error: UnicodeError) -> tuple[bytes | str, int]:
    """Return the bytes for characters that an encoding lacks (an error handler of :mod:`codecs`)."""
    if isinstance(error, UnicodeDecodeError):  # of a program that reads the stream back, such as pytest
        return "\ufffd", error.end
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return b"".join(_byte(letter) for letter in error.object[error.start : error.end]), error.end


def _byte(letter: str) -> bytes:
    if "\udc80" <= letter <= "\udcff":  # a byte of a file name (PEP 383)
        return bytes([ord(letter) - 0xDC00])
    return letter.encode("ascii", "backslashreplace")
