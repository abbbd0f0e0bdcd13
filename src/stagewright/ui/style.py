"""Styled text: words with colours for terminals, and without them for everything else.

Colours are used on a terminal, unless ``NO_COLOR`` is set (no-color.org) or ``TERM`` is ``dumb``.
"""

from __future__ import annotations

import contextlib
import enum
import os
import sys
from collections.abc import Iterable
from typing import NamedTuple, TextIO

from stagewright.ui.streams import Terminal
from stagewright.ui.text import printable


class Style(enum.StrEnum):
    """Styles by their parameters of SGR (ECMA-48)."""

    PLAIN = "0"
    BOLD = "1"
    DIM = "2"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    CYAN = "36"
    ERROR = "1;31"


class Styled(NamedTuple):
    """A text and its style."""

    text: str
    style: Style = Style.PLAIN


Line = Iterable[str | Styled]
"""A line in parts."""


def text_of(line: Line) -> str:
    """Return the text of a line without styles."""
    return "".join(part if isinstance(part, str) else part.text for part in line)


def is_plain(stream: TextIO) -> bool:
    """Return True if nothing can be drawn on a stream: a file, a pipe, or a terminal with ``TERM=dumb``."""
    return not stream.isatty() or os.environ.get("TERM", "dumb") == "dumb"


def is_coloured(stream: TextIO) -> bool:
    """Return True if a stream gets colours."""
    return not is_plain(stream) and not os.environ.get("NO_COLOR")


def write_line(line: Line, stream: TextIO | None = None) -> None:
    """Write a line to a stream, by default standard output."""
    stream = stream or sys.stdout
    parts = list(line)
    if not is_coloured(stream):
        print(text_of(parts), file=stream)
        return
    text = "".join(_sequence(part) for part in parts) + "\n"
    if isinstance(stream, Terminal):
        stream.write_unescaped(text)
    else:
        stream.write(text)


def note_line(line: Line) -> None:
    """Write a line to standard error, if that still has a reader."""
    with contextlib.suppress(OSError):
        write_line(line, sys.stderr)


def error_lines(text: str) -> list[Line]:
    """Return the lines of the text of an error, with the words "error:" and "hint:" styled."""
    return [_error_line(line) for line in text.splitlines()]


def _error_line(line: str) -> Line:
    for word, style in (("error:", Style.ERROR), ("hint:", Style.CYAN)):
        before, found, rest = line.partition(word)
        if found and not before.strip():
            return [before, Styled(word, style), rest]
    return [line]


def _sequence(part: str | Styled) -> str:
    if isinstance(part, str) or part.style is Style.PLAIN:
        return printable(part if isinstance(part, str) else part.text)
    return f"\x1b[{part.style.value}m{printable(part.text)}\x1b[0m"
