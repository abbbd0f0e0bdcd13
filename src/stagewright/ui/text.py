"""How numbers and errors look, the same in every face."""

from __future__ import annotations

from stagewright.errors import ProblemsError, StagewrightError


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``0.3s``, ``12s``, ``3m05s``, ``1h02m``."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def plural(count: int, word: str) -> str:
    """A number of things: ``1 spec``, ``2 specs``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def size(count: float) -> str:
    """Bytes as a person says them."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def shown(name: str) -> str:
    """A file name on one line of a terminal, whatever bytes are in it."""
    plain = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in plain)


def error_text(error: StagewrightError) -> str:
    """An error as it is printed: all of several, each with its place and remedy."""
    if not isinstance(error, ProblemsError):
        return f"error: {error}"
    lines = "\n".join(f"error: {problem}" for problem in error.problems)
    return f"{lines}\n{len(error.problems)} errors" if len(error.problems) > 1 else lines
