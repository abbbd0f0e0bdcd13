"""TOML with positions: values from the standard library, the place of each key and value from tree-sitter.

``tomllib`` gives no positions, but every error must name ``file:line:column``. Columns count characters, as editors
do, and not bytes. A byte order mark is not counted.
"""

from __future__ import annotations

import bisect
import codecs
import errno
import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagewright.errors import Place, Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.permissions import REFUSALS, remedy
from stagewright.untrusted import read_regular

if TYPE_CHECKING:
    from tree_sitter import Node as Syntax
    from tree_sitter import Parser

KeyPath = tuple[str | int, ...]
"""Path of keys and list numbers to a value: ``("stages", "base", "packages", 0)``."""


def setting_name(path: KeyPath) -> str:
    """Return the name of a setting for messages. An item has the name of its list: the place says which item it is."""
    steps = path[:-1] if len(path) > 1 and isinstance(path[-1], int) else path
    return ".".join(map(str, steps))


_LARGEST = 32 << 20  # size of a file in bytes
_DEEPEST = 50
_DEEP = lazy_pattern(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{_DEEPEST}}}""")
"""A key with more parts: tomllib needs memory for the square of their number."""


def nearest_place(path: KeyPath, *tables: Mapping[KeyPath, Place]) -> Place | None:
    """Return the place of a value or of its nearest enclosing value, from the first table that has it, or None."""
    for length in range(len(path), -1, -1):
        for table in tables:
            if path[:length] in table:
                return table[path[:length]]
    return None


@dataclass(frozen=True)
class Source:
    """A TOML file: its values, and the places of keys and values by path."""

    file: Path
    data: dict[str, Any]
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)

    def place(self, path: KeyPath, *, of_key: bool = False) -> Place:
        """Return the place of a value (or of its key), or of the nearest enclosing value in the file."""
        tables = (self.keys, self.values) if of_key else (self.values, self.keys)
        return nearest_place(path, *tables) or Place(self.file, 1, 1)


def read(file: Path) -> Source:
    """Read a TOML 1.0 file. Raises ``SYNTAX``, ``DUPLICATE_NAME`` or ``MISSING_FILE`` with the place."""
    return source_of(file, read_text(file))


def source_of(file: Path, text: str) -> Source:
    """Return the values and places of a text in a file. Raises ``SYNTAX`` or ``DUPLICATE_NAME`` with the place."""
    content = text.encode()
    if found := _DEEP.search(text):
        place = Place(file, text.count("\n", 0, found.start()) + 1)
        message, hint = f"a key has too many parts (more than {_DEEPEST})", "remove levels of nesting"
        raise StagewrightError(Reason.SYNTAX, message, place=place, hint=hint)
    try:
        source = Source(file, tomllib.loads(text))
        columns = _Columns(content)
        for path, key, value in _positions(content):
            if path not in source.keys:
                source.keys[path] = columns.place(file, key)
                source.values[path] = source.keys[path] if value is key else columns.place(file, value)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(file, text, str(error)) from error
    except RecursionError as error:
        raise StagewrightError(
            Reason.SYNTAX, "values are nested too deeply", place=Place(file, 1), hint="remove levels of nesting"
        ) from error
    except ValueError as error:  # a number with thousands of digits
        message, hint = "a number has too many digits", "write a shorter value"
        raise StagewrightError(Reason.SYNTAX, message, place=Place(file, 1), hint=hint) from error
    return source


def read_text(file: Path) -> str:
    """Return the text of a UTF-8 file without a byte order mark.

    Raises ``MISSING_FILE`` if the file cannot be read, ``SYNTAX`` if it is not a regular file of UTF-8 text.
    """
    try:
        if not file.is_file() and file.exists():
            found = "a folder" if file.is_dir() else "a device, pipe or socket"
            message = f"not a regular file (found {found})"
            raise StagewrightError(Reason.SYNTAX, message, place=Place(file), hint="replace it with a text file")
        content = read_regular(file, _LARGEST).removeprefix(codecs.BOM_UTF8)
        return content.decode()
    except OSError as error:
        if error.errno == errno.EFBIG:
            message, hint = f"too large (more than {_LARGEST >> 20} MiB)", "replace it with a text file"
            raise StagewrightError(Reason.SYNTAX, message, place=Place(file), hint=hint) from error
        hint = "check that the file exists"
        if error.errno in REFUSALS:
            hint = remedy(file, error)
        raise StagewrightError(
            Reason.MISSING_FILE, f"cannot be read: {error.strerror}", place=Place(file), hint=hint
        ) from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        column = len(content[: error.start].rpartition(b"\n")[2].decode()) + 1
        raise StagewrightError(
            Reason.SYNTAX, "not UTF-8 text", place=Place(file, line, column), hint="save the file as UTF-8"
        ) from error


def _syntax_error(file: Path, text: str, message: str) -> StagewrightError:
    from stagewright.project.syntax import explain  # noqa: PLC0415  only errors need it

    found = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    lines = text.split("\n")
    line, column = (int(found[1]), int(found[2])) if found and found[1] else (len(lines), len(lines[-1]) + 1)
    prose = message[: found.start()] if found else message
    reason, what, hint = explain(prose, lines[line - 1], column, _first(file, text, line))
    return StagewrightError(reason, what, place=Place(file, line, column), hint=hint)


def _first(file: Path, text: str, line: int) -> str:
    """Return where the last key or table of a line is defined first, as " (first at PLACE)", or ""."""
    content = "\n".join(text.split("\n")[:line]).encode()  # the parser has accepted it: more lines can be anything
    columns = _Columns(content)
    first: dict[KeyPath, Place] = {}
    again = ""
    for path, key, _ in _positions(content):
        place = columns.place(file, key)
        if place.line == line and path in first:
            again = f" (first at {first[path]})"
        first.setdefault(path, place)
    return again


class _Columns:
    """Columns of positions in a text, in characters. Each line is scanned once, however many positions it has."""

    def __init__(self, content: bytes) -> None:
        self._lines = content.split(b"\n")
        self._continued: dict[int, list[int]] = {}  # by row: offsets of bytes that continue a character

    def place(self, file: Path, syntax: Syntax) -> Place:
        """Return the start of a syntax node."""
        row, offset = syntax.start_point
        if row not in self._continued:
            line = self._lines[row]
            self._continued[row] = [] if line.isascii() else [at for at, byte in enumerate(line) if byte & 0xC0 == 0x80]
        return Place(file, row + 1, offset - bisect.bisect_left(self._continued[row], offset) + 1)


@functools.cache
def _parser() -> Parser:
    import tree_sitter_toml  # noqa: PLC0415  slow to import, and only project files need it
    from tree_sitter import Language, Parser  # noqa: PLC0415

    return Parser(Language(tree_sitter_toml.language()))


def _positions(content: bytes) -> Iterator[tuple[KeyPath, Syntax, Syntax]]:
    """Yield every path with the syntax nodes of its key and value. A path may occur several times."""
    counts: dict[KeyPath, int] = {}
    for item in _parser().parse(content).root_node.named_children:
        if item.type == "pair":
            yield from _pair(item, ())
        elif item.type in ("table", "table_array_element"):
            head = next((child for child in item.named_children if child.type != "comment"), None)
            if head is None:  # in a file that is not TOML
                continue
            path = _resolve(_names(head), counts)
            for length in range(1, len(path) + 1):
                yield path[:length], head, head
            if item.type == "table_array_element":
                counts[path] = counts.get(path, -1) + 1
                path = (*path, counts[path])
                yield path, head, head
            for child in item.named_children:
                if child.type == "pair":
                    yield from _pair(child, path)


def _resolve(names: list[str], counts: dict[KeyPath, int]) -> KeyPath:
    """Return the path of a table's name, with the index of the current element in each array of tables."""
    path: KeyPath = ()
    for number, name in enumerate(names):
        path = (*path, name)
        if path in counts and number < len(names) - 1:
            path = (*path, counts[path])
    return path


def _pair(pair: Syntax, prefix: KeyPath) -> Iterator[tuple[KeyPath, Syntax, Syntax]]:
    children = [child for child in pair.named_children if child.type != "comment"]
    if len(children) < 2:  # in a file that is not TOML
        return
    key, value = children[:2]
    path = (*prefix, *_names(key))
    for length in range(len(prefix) + 1, len(path) + 1):
        yield path[:length], key, value
    yield from _inside(value, path)


def _inside(value: Syntax, path: KeyPath) -> Iterator[tuple[KeyPath, Syntax, Syntax]]:
    children = [child for child in value.named_children if child.type != "comment"]
    if value.type == "inline_table":
        for child in children:
            yield from _pair(child, path)
    elif value.type == "array":
        for number, child in enumerate(children):
            yield (*path, number), child, child
            yield from _inside(child, (*path, number))


def _names(key: Syntax) -> list[str]:
    if key.type == "dotted_key":
        return [name for child in key.named_children for name in _names(child)]
    text = (key.text or b"").decode()
    if key.type == "quoted_key":
        return [next(iter(tomllib.loads(f"{text} = 0")))]
    return [text]
