"""TOML with positions: values from the standard library, the place of each key and value from tree-sitter.

``tomllib`` gives no positions of what it read, and an error without a place is half an error (R: every mistake as
``file:line:column``).
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagewright.errors import Place, Reason, StagewrightError

if TYPE_CHECKING:
    from tree_sitter import Node as Syntax
    from tree_sitter import Parser

Path_ = tuple[str | int, ...]
"""The way to a value: ``("stages", "base", "packages", 0)``."""


@dataclass(frozen=True)
class Source:
    """One file: its values, and the places of keys and values by their path."""

    file: Path
    data: dict[str, Any]
    keys: dict[Path_, Place] = field(default_factory=dict)
    values: dict[Path_, Place] = field(default_factory=dict)

    def place(self, path: Path_, *, of_key: bool = False) -> Place:
        """The place of a value (or of its key), or of the nearest thing around it that is written in the file."""
        tables = (self.keys, self.values) if of_key else (self.values, self.keys)
        for length in range(len(path), 0, -1):
            for table in tables:
                if path[:length] in table:
                    return table[path[:length]]
        return Place(self.file, 1, 1)


def read(file: Path) -> Source:
    """Read one TOML file. Raises :class:`StagewrightError` with the place for anything that is no TOML 1.0."""
    try:
        content = file.read_bytes()
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise StagewrightError(
            Reason.SYNTAX, "this is no UTF-8 text", place=Place(file, line), hint="TOML files are UTF-8"
        ) from error
    except IsADirectoryError as error:
        raise StagewrightError(Reason.SYNTAX, "this is a folder, not a file", place=Place(file)) from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(file, text, str(error)) from error
    source = Source(file, data)
    for path, key, value in _positions(content):
        source.keys.setdefault(path, Place(file, key[0] + 1, key[1] + 1))
        source.values.setdefault(path, Place(file, value[0] + 1, value[1] + 1))
    return source


def _syntax_error(file: Path, text: str, message: str) -> StagewrightError:
    found = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    lines = text.splitlines()
    line, column = (int(found[1]), int(found[2])) if found and found[1] else (len(lines), len((lines or [""])[-1]) + 1)
    prose = message[: found.start()] if found else message
    prose = prose[:1].lower() + prose[1:]
    if "overwrite" in prose or "declare" in prose:
        hint, reason = "a name may be defined once; rename or remove one of the two", Reason.DUPLICATE_NAME
    else:
        hint, reason = "see toml.io/en/v1.0.0 for the syntax", Reason.SYNTAX
    return StagewrightError(reason, prose, place=Place(file, max(line, 1), column), hint=hint)


Point = tuple[int, int]


@functools.cache
def _parser() -> Parser:
    import tree_sitter_toml  # noqa: PLC0415  slow to import, and only project files need it
    from tree_sitter import Language, Parser  # noqa: PLC0415

    return Parser(Language(tree_sitter_toml.language()))


def _positions(content: bytes) -> Iterator[tuple[Path_, Point, Point]]:
    counts: dict[Path_, int] = {}
    for item in _parser().parse(content).root_node.named_children:
        if item.type == "pair":
            yield from _pair(item, ())
        elif item.type in ("table", "table_array_element"):
            head = next(child for child in item.named_children if child.type != "comment")
            path = _resolve(_names(head), counts)
            if item.type == "table_array_element":
                counts[path] = counts.get(path, -1) + 1
                path = (*path, counts[path])
            yield path, _point(head), _point(head)
            for child in item.named_children:
                if child.type == "pair":
                    yield from _pair(child, path)


def _resolve(names: list[str], counts: dict[Path_, int]) -> Path_:
    """The path of a table's name, with the index of the newest element for each array of tables on the way."""
    path: Path_ = ()
    for number, name in enumerate(names):
        path = (*path, name)
        if path in counts and number < len(names) - 1:
            path = (*path, counts[path])
    return path


def _pair(pair: Syntax, prefix: Path_) -> Iterator[tuple[Path_, Point, Point]]:
    key, value = [child for child in pair.named_children if child.type != "comment"][:2]
    path = (*prefix, *_names(key))
    for length in range(len(prefix) + 1, len(path) + 1):
        yield path[:length], _point(key), _point(value)
    yield from _inside(value, path)


def _inside(value: Syntax, path: Path_) -> Iterator[tuple[Path_, Point, Point]]:
    children = [child for child in value.named_children if child.type != "comment"]
    if value.type == "inline_table":
        for child in children:
            yield from _pair(child, path)
    elif value.type == "array":
        for number, child in enumerate(children):
            yield (*path, number), _point(child), _point(child)
            yield from _inside(child, (*path, number))


def _names(key: Syntax) -> list[str]:
    if key.type == "dotted_key":
        return [name for child in key.named_children for name in _names(child)]
    text = (key.text or b"").decode()
    if key.type == "quoted_key":
        return [next(iter(tomllib.loads(f"{text} = 0")))]
    return [text]


def _point(syntax: Syntax) -> Point:
    return syntax.start_point.row, syntax.start_point.column
