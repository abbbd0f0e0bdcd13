"""Sizes and durations as users write them: a number and a unit, such as ``16G`` and ``90m``."""

from __future__ import annotations

import re

SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
"""Bytes of each unit of a size. Units are powers of 1024."""

DURATIONS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
"""Seconds of each unit of a duration."""

DURATION = r"[0-9]{1,9}(\.[0-9]{1,9})?[smhd]?"
"""Pattern of a duration."""

SIZE = r"[0-9]{1,15}(\.[0-9]{1,15})?[KMGT]?"
"""Pattern of a size."""


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``700M`` or ``1.5G``. Raises ValueError for other texts."""
    return int(_parse(text, SIZE, SIZES))


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as ``90s`` or ``1.5h``. Raises ValueError for other texts."""
    return _parse(text, DURATION, DURATIONS)


def _parse(text: str, pattern: str, units: dict[str, int]) -> float:
    if not re.fullmatch(pattern, text, re.ASCII):
        raise ValueError(text)
    number = text.rstrip("".join(units))
    factor = units[text[len(number) :]]
    return float(number) * factor if "." in number else int(number) * factor


def duration_hint(text: str) -> str:
    """Return the spelling of a duration for a text with a word as unit, such as ``5 minutes``, or ""."""
    found = re.fullmatch(r"\s*([0-9]+)\s*(s|m|h|d)(ec|in|r|ay|econd|inute|our)?s?\s*", text.lower(), re.ASCII)
    return f"{found[1]}{found[2]}" if found else ""


def size_hint(text: str) -> str:
    """Return the spelling of a size for a text that has another unit, such as ``4GB`` or ``4 GiB``, or ""."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGTkmgt])(i?[Bb])?\s*", text, re.ASCII)
    return f"{found[1]}{found[2].upper()}" if found else ""
