"""Read files into plain tables: merge includes, resolve ``extends``, replace variables. Each value keeps its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from stagewright.errors import Place, Reason, StagewrightError, misspelt, nearest
from stagewright.graph.node import cycle_error
from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.project.source import KeyPath, Source, nearest_place, read

NAMED = (
    "repos",
    "binhosts",
    "channels",
    "unreproducible",
    "remotes",
    "templates",
    "seeds",
    "stages",
    "tests",
    "releases",
)
"""Tables of named entries. Included files may add entries to them."""

PLAIN = ("format", "project", "include", "variables", "distfiles", "fetch", "limits")
"""Other keys of the main file (``TopLevelTables``)."""

INHERITED = "..."
"""In a list of a stage that extends another: replaced by the items of the other's list."""

NO_VARIABLE = "variable "
"""Start of the message for a variable that does not exist. Other errors of the same value are its consequences."""

_MOST_KEYS = 8
"""Most keys that a message lists."""

_VARIABLE = lazy_pattern(r"\{\{|\}\}|(?<!\$)\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass
class Table:
    """Values of an entry and their places. Paths are relative to the entry."""

    data: dict[str, Any]
    places: dict[KeyPath, Place] = field(default_factory=dict)
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)  # those of a matrix, in its variants
    is_partial: bool = False  # an entry that it extends is missing

    def place(self, path: KeyPath, *, of_key: bool = False) -> Place:
        """Return the place of a value (or of its key), or of the nearest enclosing value."""
        tables = (self.keys, self.places) if of_key else (self.places, self.keys)
        return nearest_place(path, *tables) or Place(Path())

    def subtable(self, key: str) -> Table:
        """Return the table at a key."""
        places, keys = (
            {path[1:]: place for path, place in known.items() if path[:1] == (key,)}
            for known in (self.places, self.keys)
        )
        return Table(self.data.get(key, {}), places, keys)


Problems = list[StagewrightError]

Reader = Callable[[Path], Source]
"""Reads a file of a project, as :func:`stagewright.project.source.read`."""


def read_tables(
    main: Source, folder: Path, problems: Problems, plain: Collection[str] = (), reader: Reader = read
) -> tuple[Table, dict[str, dict[str, Table]]]:
    """Read all files of a project. Return the top of the main file, and the named tables of all files.

    ``plain`` are the other keys of the main file. ``reader`` reads the files that it includes. A table with a name that
    is almost right is read as the right one, so that its name is the only error.
    """
    main = _with_right_names(main, [*NAMED, *plain], problems)
    top = {key: value for key, value in main.data.items() if key not in NAMED}
    head = Table(top, {(): Place(main.file, 1, 1), **main.values}, dict(main.keys))
    named: dict[str, dict[str, Table]] = {name: {} for name in NAMED}
    for source in [main, *included(main, folder, problems, reader)]:
        values, keys = _by_entry(source.values), _by_entry(source.keys)
        for name in NAMED:
            for key, table in _entries(source, name, values, keys, problems):
                if key in named[name]:
                    first = named[name][key].place((), of_key=True)
                    problems.append(
                        StagewrightError(
                            Reason.DUPLICATE_NAME,
                            f"{name}.{key} is defined twice, first at {first}",
                            place=table.place((), of_key=True),
                            hint="rename one of the two",
                        )
                    )
                else:
                    named[name][key] = table
        if source is not main:
            problems.extend(
                StagewrightError(
                    Reason.UNKNOWN_KEY,
                    f"{key!r} is not allowed in an included file",
                    place=source.place((key,), of_key=True),
                    hint=f"move it to {main.file.name}",
                )
                for key in source.data
                if key not in NAMED
            )
    return head, named


def included(main: Source, folder: Path, problems: Problems, reader: Reader) -> Iterator[Source]:
    """Yield the files that the main file includes, each once."""
    patterns = main.data.get("include", [])
    seen = {main.file}
    for number, pattern in enumerate(patterns if isinstance(patterns, list) else [patterns]):
        place = main.place(("include", number) if isinstance(patterns, list) else ("include",))
        try:
            if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
                raise ValueError
            files = sorted(folder.glob(pattern))
        except (ValueError, TypeError, IndexError):  # pathlib raises these for "", "**x" and "."
            message = f"include: invalid pattern {pattern!r}"
            hint = 'write patterns relative to the project: include = ["stages/*.toml"]'
            problems.append(StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=hint))
            continue
        if not files:
            message = f"include: no file of the project matches {pattern!r}"
            hint = "correct the pattern, or create the file"
            problems.append(StagewrightError(Reason.MISSING_FILE, message, place=place, hint=hint))
        for file in files:
            if file not in seen:
                seen.add(file)
                try:
                    yield _with_right_names(reader(file), NAMED, problems)
                except StagewrightError as problem:
                    problems.append(problem)


def _with_right_names(source: Source, known: Collection[str], problems: Problems) -> Source:
    """Return the file with its misspelt tables under their right names, and append an error for each of them."""
    meant = {
        key: name
        for key, value in source.data.items()
        if key not in known and isinstance(value, dict) and (name := misspelt(key, known))
    }
    if not meant:
        return source
    data = {key: value for key, value in source.data.items() if key not in meant}
    for key, name in meant.items():
        place = source.place((key,), of_key=True)
        message, hint = f"unknown key {key!r}", f"did you mean {name!r}?"
        problems.append(StagewrightError(Reason.UNKNOWN_KEY, message, place=place, hint=hint))
        there = data.get(name, {})
        data[name] = {**source.data[key], **there} if isinstance(there, dict) else there
    keys, values = (
        {(meant.get(str(path[0]), path[0]), *path[1:]): place for path, place in known_places.items()}
        for known_places in (source.keys, source.values)
    )
    return Source(source.file, data, {**keys, **source.keys}, {**values, **source.values})


_ByEntry = dict[tuple[str | int, str | int], dict[KeyPath, Place]]
"""Places by table and entry. Paths are relative to the entry."""


def _entries(
    source: Source, name: str, values: _ByEntry, keys: _ByEntry, problems: Problems
) -> Iterator[tuple[str, Table]]:
    tables = source.data.get(name, {})
    example = f"write [{name}.NAME]"
    if not isinstance(tables, dict):
        place = source.place((name,), of_key=True)
        message = f"{name}: must be a table of entries"
        problems.append(StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=example))
        return
    plain = [key for key, data in tables.items() if not isinstance(data, dict)]
    if plain:
        place = source.place((name, plain[0]), of_key=True)
        message = f"{name}: must contain entries only (found {', '.join(plain[:_MOST_KEYS])})"
        hint = f"{example} above the settings of an entry"
        problems.append(StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=hint))
    for key, data in tables.items():
        if isinstance(data, dict):
            yield key, Table(data, values.get((name, key), {}), keys.get((name, key), {}))


def _by_entry(places: Mapping[KeyPath, Place]) -> _ByEntry:
    """Return the places of a file by table and entry."""
    entries: _ByEntry = {}
    for path, place in places.items():
        if len(path) > 1 and path[0] in NAMED:
            entries.setdefault((path[0], path[1]), {})[path[2:]] = place
    return entries


def resolve_extends(stages: dict[str, Table], templates: Mapping[str, Table], problems: Problems) -> dict[str, Table]:
    """Resolve ``extends`` of stages and of the templates that they extend.

    Tables are merged and values replaced. ``"..."`` in a list is replaced by the inherited items.
    """
    done: dict[str, Table] = {}
    tables = {**templates, **stages}
    for name in sorted(templates.keys() & stages.keys()):
        where = templates[name].place((), of_key=True)
        message = f"stages.{name}: the name is already used by templates.{name} at {where}"
        place = stages[name].place((), of_key=True)
        hint = "rename one of the two: `extends` needs a unique name"
        problems.append(StagewrightError(Reason.DUPLICATE_NAME, message, place=place, hint=hint))

    def resolve(name: str, way: list[str]) -> Table:
        if name in done:
            return done[name]
        table = tables[name]
        own = Table({key: value for key, value in table.data.items() if key != "extends"}, table.places, table.keys)
        parent = _parent(name, tables, way, problems)
        own.is_partial = parent is None and "extends" in table.data
        done[name] = own if parent is None else _merge(resolve(parent, [*way, parent]), own)
        return done[name]

    for name in tables:
        resolve(name, [name])
    return {name: done[name] for name in stages}


def _parent(name: str, tables: Mapping[str, Table], way: list[str], problems: Problems) -> str | None:
    """Return the name in ``extends`` of an entry, or None without a valid one. ``way`` is the chain so far."""
    table = tables[name]
    parent = table.data.get("extends")
    if parent is None:
        return None
    if not isinstance(parent, str) or parent not in tables:
        message = f"{name}.extends: stage or template {parent!r} not found"
        place, hint = table.place(("extends",)), nearest(str(parent), tables)
        problems.append(StagewrightError(Reason.UNKNOWN_NAME, message, place=place, hint=hint))
        return None
    if parent in way:
        problems.append(cycle_error([*way[way.index(parent) :], parent], table.place(("extends",))))
        return None
    return parent


def _merge(parent: Table, child: Table) -> Table:
    places, keys = dict(parent.places), dict(parent.keys)

    def merge(old: dict[str, Any], new: dict[str, Any], path: KeyPath) -> dict[str, Any]:
        result = dict(old)
        for key, value in new.items():
            here = (*path, key)
            before = old.get(key)
            if isinstance(value, dict):
                if not isinstance(before, dict):
                    _take(places, child.places, here)
                    before = {}
                result[key] = merge(before, value, here)
                keys[here] = child.keys.get(here, child.place(here))
            elif isinstance(value, list) and INHERITED in value:
                result[key] = _splice(before if isinstance(before, list) else [], value, here, places, child.places)
                _take(keys, child.keys, here)
            else:
                _take(places, child.places, here)
                _take(keys, child.keys, here)
                result[key] = value
        return result

    merged = Table(merge(parent.data, child.data, ()), places, keys, is_partial=parent.is_partial)
    places[()], keys[()] = child.place(()), child.place((), of_key=True)
    return merged


def _take(into: dict[KeyPath, Place], source: Mapping[KeyPath, Place], prefix: KeyPath) -> None:
    for path in [path for path in into if path[: len(prefix)] == prefix]:
        del into[path]
    into.update({path: place for path, place in source.items() if path[: len(prefix)] == prefix})


def _splice(
    old: list[Any], new: list[Any], here: KeyPath, places: dict[KeyPath, Place], child: Mapping[KeyPath, Place]
) -> list[Any]:
    """Return a list with the inherited items in it. Each item keeps its place."""
    inherited = dict(places)
    _take(places, {here: child[here]} if here in child else {}, here)
    result: list[Any] = []
    for number, item in enumerate(new):
        source, numbers, items = (inherited, range(len(old)), old) if item == INHERITED else (child, [number], [item])
        for index in numbers:
            _move(source, (*here, index), places, (*here, len(result) + index - numbers[0]))
        result += items
    return result


def _move(source: Mapping[KeyPath, Place], old: KeyPath, into: dict[KeyPath, Place], new: KeyPath) -> None:
    """Copy the places of a value and of the values in it to another path."""
    into.update({(*new, *path[len(old) :]): place for path, place in source.items() if path[: len(old)] == old})


class TextBudget:
    """Remaining size of a project's values after variables and matrices are replaced.

    Variables that contain others, and matrices, multiply: a small file can describe more than fits into memory.
    """

    LIMIT = 32 << 20
    _VALUE = 64  # the cost of a value besides its characters

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = self._left = limit

    def spend(self, characters: int, place: Place) -> None:
        """Subtract one value or part of it. Raises ``INVALID_VALUE`` if nothing remains."""
        self._left -= characters + self._VALUE
        if self._left < 0:
            message = f"the project is too large after variables are replaced (more than {self._limit} characters)"
            hint = "shorten the variables, or remove values of a matrix"
            raise StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=hint)


def substitute(
    value: Any,
    variables: Mapping[str, str],
    table: Table,
    path: KeyPath,
    problems: Problems,
    budget: TextBudget | None = None,
) -> Any:
    """Return the value with ``{name}`` replaced in every string.

    ``{{`` and ``}}`` are literal braces. ``${name}`` stays as it is, for the shell. Raises ``INVALID_VALUE`` if the
    result is larger than the budget.
    """
    budget = budget or TextBudget()

    def inner(item: Any, key: str | int) -> Any:
        return substitute(item, variables, table, (*path, key), problems, budget)

    if isinstance(value, dict):
        return {key: inner(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [inner(item, number) for number, item in enumerate(value)]
    budget.spend(len(value) if isinstance(value, str) else 0, table.place(()))
    if not isinstance(value, str) or ("{" not in value and "}" not in value):
        return value

    def one(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        if match[1] not in variables:
            hint = f"{nearest(match[1], variables)}; write {{{{ for a literal brace"
            message = f"{NO_VARIABLE}{match[1]!r} not found"
            problems.append(StagewrightError(Reason.UNKNOWN_NAME, message, place=table.place(path), hint=hint))
        found = variables.get(match[1], match[0])
        budget.spend(len(found), table.place(path))
        return found

    return _VARIABLE.sub(one, value)
