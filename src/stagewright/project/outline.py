"""The entries of a TOML file as pieces of its text, so that one of thousands can be read without the others.

A piece begins with the header of a table and ends before the next header. An expression finds both: it follows strings,
comments, and the brackets of lists and inline tables, so a line in them that looks like a header is not one. The values
themselves are not parsed. For a valid file of TOML 1.0 the pieces are exactly its tables, or there is no outline. A
piece of an invalid file can have errors that nothing reports before the piece is parsed.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import field

from stagewright.lazy_dataclass import dataclass

Key = tuple[str, str]
"""A table and the name of an entry: ``("stages", "base")``."""

ENTRIES = frozenset({"seeds", "stages", "tests", "templates"})
"""The tables whose entries are pieces. Everything else stays in each part of a file."""

_BASIC, _LITERAL = r'"(?!"")(?:[^"\\\n]++|\\[^\n])*+"', r"'(?!'')[^'\n]*+'"
_STRING = rf"""(?:\"\"\"(?:[^"\\]++|\\.|"(?!""))*+"{{3,5}}+|'''(?:[^']++|'(?!''))*+'{{3,5}}+|{_BASIC}|{_LITERAL})"""
_PLAIN, _COMMENT, _SPACE = r"""[^"'#\[\]{}\n]++""", r"#[^\n]*+", r"[ \t]*+"


def _brackets(depth: int) -> str:
    """Return the expression for a list or an inline table with at most this number of levels."""
    inner = f"|{_brackets(depth - 1)}" if depth > 1 else ""
    return rf"[\[{{](?:{_PLAIN}|\n|{_COMMENT}|{_STRING}{inner})*+[\]}}]"


_DEEPEST = 5
_LINES = rf"(?:{_SPACE}(?!\[)(?:{_PLAIN}|{_STRING}|{_brackets(_DEEPEST)})*+(?:{_COMMENT})?\n)*+"
_NAME = rf"(?:[A-Za-z0-9_-]++|{_BASIC}|{_LITERAL})"
_HEADER = rf"{_SPACE}\[\[?+{_SPACE}({_NAME}(?:{_SPACE}\.{_SPACE}{_NAME})*+){_SPACE}\]\]?+{_SPACE}\r?(?:{_COMMENT})?\n"
_TEXT = re.compile(rf"{_BASIC}|{_LITERAL}")


@functools.cache
def _expressions() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the expressions for the text above the first table, and for a table. They take 4 ms to compile."""
    return re.compile(_LINES, re.DOTALL), re.compile(_HEADER + _LINES, re.DOTALL)


@dataclass(frozen=True)
class Outline:
    """A text, and the places of its pieces in it: start and end, with the entry, or None for what every part has."""

    text: str
    pieces: tuple[tuple[int, int, Key | None], ...]
    entries: dict[Key, list[tuple[int, int]]] = field(default_factory=dict)

    def part(self, entries: Collection[Key]) -> str:
        """Return the text with these entries only. Empty lines stand for the others, so all lines keep their number."""
        kept = [
            self.text[start:end] if entry is None or entry in entries else "\n" * self.text.count("\n", start, end)
            for start, end, entry in self.pieces
        ]
        return "".join(kept)

    def texts(self, entry: Key) -> Iterator[str]:
        """Yield what stands in quotes in an entry, on one line and without escapes. Comments can have quotes, too."""
        for start, end in self.entries[entry]:
            for found in _TEXT.finditer(self.text, start, end):
                yield found[0][1:-1]


def outline(text: str) -> Outline | None:
    """Return the outline of a file; None if its tables are not certain."""
    text = text if text.endswith("\n") else f"{text}\n"
    top_lines, table_lines = _expressions()
    top = top_lines.match(text)
    assert top
    pieces: list[tuple[int, int, Key | None]] = [(0, top.end(), None)]
    entries: dict[Key, list[tuple[int, int]]] = {}
    while pieces[-1][1] < len(text):
        found = table_lines.match(text, pieces[-1][1])
        names = re.findall(_NAME, found[1]) if found else []
        table = _decoded(names[0]) if names else None
        if found is None or table is None:
            return None
        key: Key | None = None
        if table in ENTRIES and len(names) > 1:
            name = _decoded(names[1])
            if name is None:
                return None
            key = table, name
            entries.setdefault(key, []).append(found.span())
        pieces.append((*found.span(), key))
    return Outline(text, tuple(pieces), entries)


def _decoded(name: str) -> str | None:
    """Return a part of a key without quotes and escapes, or None if it is invalid."""
    if name[0] not in "\"'":
        return name
    try:
        return next(iter(tomllib.loads(f"{name} = 0")))
    except tomllib.TOMLDecodeError:
        return None
