"""Text forms of numbers, names and errors, for all listeners and commands."""

from __future__ import annotations

from stagewright.errors import ProblemsError, StagewrightError
from stagewright.lazy_pattern import lazy_pattern
from stagewright.ui.paths import with_short_paths


def duration(seconds: float) -> str:
    """Return seconds in readable form: ``0.3s``, ``12s``, ``3m05s``, ``1h02m``."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def plural(count: int, word: str) -> str:
    """Return a number with its noun: ``1 spec``, ``2 specs``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def size(count: float) -> str:
    """Return bytes in readable form: ``12 KiB``, ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def shown(name: str) -> str:
    """Return a file name in printable form; unprintable characters and bytes are escaped."""
    plain = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in plain)


_CONTROL = lazy_pattern(r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that a terminal obeys: control characters but tab and newline (ECMA-48), and changes of direction."""


def printable(text: str) -> str:
    """Return a text of several lines in which characters that a terminal would obey are escaped."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def error_text(error: StagewrightError) -> str:
    """Return the printed form of an error: every problem, with its place and hint."""
    problems = error.problems if isinstance(error, ProblemsError) else [error]
    lines = printable("\n".join(f"error: {with_short_paths(problem)}" for problem in problems))
    return f"{lines}\n{len(problems)} errors" if len(problems) > 1 else lines
