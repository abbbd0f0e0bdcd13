"""From files to plain tables: includes merged, ``extends`` resolved, variables filled in; every value has its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagewright.errors import Place, Reason, StagewrightError, nearest
from stagewright.graph.node import cycle_error
from stagewright.project.source import KeyPath, Source, read, written

NAMED = ("repos", "binhosts", "templates", "seeds", "stages", "tests")
"""Tables of named entries, which included files may add to."""

INHERITED = "..."
"""In a list of a stage that extends another: the other's items stand here."""

_VARIABLE = re.compile(r"\{\{|\}\}|(?<!\$)\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass
class Table:
    """The values of one entry and where each is written. Paths are relative to the entry."""

    data: dict[str, Any]
    places: dict[KeyPath, Place] = field(default_factory=dict)
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)  # its own, as a variant of a matrix has them

    def place(self, path: KeyPath, *, of_key: bool = False) -> Place:
        """The place of a value or its key, or of the nearest thing around it."""
        tables = (self.keys, self.places) if of_key else (self.places, self.keys)
        return written(path, *tables) or Place(Path())

    def below(self, key: str) -> Table:
        """The table under a key, which must be one."""
        places, keys = (
            {path[1:]: place for path, place in known.items() if path[:1] == (key,)}
            for known in (self.places, self.keys)
        )
        return Table(self.data.get(key, {}), places, keys)


Problems = list[StagewrightError]


def gather(main: Source, folder: Path, problems: Problems) -> tuple[Table, dict[str, dict[str, Table]]]:
    """All files of a project: the top of the main file, and the named tables of it and of the files it includes."""
    top = {key: value for key, value in main.data.items() if key not in NAMED}
    head = Table(top, {(): Place(main.file, 1, 1), **main.values}, dict(main.keys))
    named: dict[str, dict[str, Table]] = {name: {} for name in NAMED}
    for source in [main, *_included(main, folder, problems)]:
        for name in NAMED:
            for key, table in _entries(source, name, problems):
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
                    f"{key!r} cannot stand in an included file",
                    place=source.place((key,), of_key=True),
                    hint=f"move it to {main.file.name}; included files hold {', '.join(NAMED)}",
                )
                for key in source.data
                if key not in NAMED
            )
    return head, named


def _included(main: Source, folder: Path, problems: Problems) -> Iterator[Source]:
    """The files that the main one includes, each once, however many patterns match it."""
    patterns = main.data.get("include", [])
    seen = {main.file}
    for number, pattern in enumerate(patterns if isinstance(patterns, list) else [patterns]):
        place = main.place(("include", number))
        try:
            if not isinstance(patterns, list) or Path(pattern).is_absolute() or ".." in Path(pattern).parts:
                raise ValueError
            files = sorted(folder.glob(pattern))
        except (ValueError, TypeError, IndexError):  # what pathlib says to "", "**x" and "."
            hint = 'includes are a list of patterns relative to the project, such as ["stages/*.toml"]'
            problems.append(
                StagewrightError(Reason.INVALID_VALUE, f"{pattern!r}: no such include", place=place, hint=hint)
            )
            continue
        if not files:
            hint = f"patterns are relative to {folder}"
            problems.append(
                StagewrightError(Reason.MISSING_FILE, f"no file matches {pattern!r}", place=place, hint=hint)
            )
        for file in files:
            if file not in seen:
                seen.add(file)
                try:
                    yield read(file)
                except StagewrightError as problem:
                    problems.append(problem)


def _entries(source: Source, name: str, problems: Problems) -> Iterator[tuple[str, Table]]:
    tables = source.data.get(name, {})
    values, keys = _by_entry(source.values, name), _by_entry(source.keys, name)
    for key, data in (tables if isinstance(tables, dict) else {name: tables}).items():
        if not isinstance(tables, dict) or not isinstance(data, dict):
            place = source.place((name, key) if isinstance(tables, dict) else (name,), of_key=True)
            hint = f"write it as [{name}.NAME]"
            problems.append(StagewrightError(Reason.INVALID_VALUE, f"{key!r} must be a table", place=place, hint=hint))
            continue
        yield key, Table(data, values.get(key, {}), keys.get(key, {}))


def _by_entry(places: Mapping[KeyPath, Place], table: str) -> dict[str | int, dict[KeyPath, Place]]:
    """The places of each entry of a table, by its name, with paths relative to the entry."""
    entries: dict[str | int, dict[KeyPath, Place]] = {}
    for path, place in places.items():
        if len(path) > 1 and path[0] == table:
            entries.setdefault(path[1], {})[path[2:]] = place
    return entries


def extend(stages: dict[str, Table], templates: Mapping[str, Table], problems: Problems) -> dict[str, Table]:
    """Resolve ``extends`` of stages and of the templates that they extend.

    Tables merge, values replace, and ``"..."`` in a list stands for the inherited items.
    """
    done: dict[str, Table] = {}
    tables = {**templates, **stages}
    for name in sorted(templates.keys() & stages.keys()):
        message = f"there is also templates.{name}, at {templates[name].place((), of_key=True)}"
        place = stages[name].place((), of_key=True)
        hint = "rename one of the two: `extends` could mean either"
        problems.append(StagewrightError(Reason.DUPLICATE_NAME, message, place=place, hint=hint))

    def resolve(name: str, way: list[str]) -> Table:
        if name in done:
            return done[name]
        table = tables[name]
        parent = table.data.get("extends")
        own = Table({key: value for key, value in table.data.items() if key != "extends"}, table.places, table.keys)
        if parent is None:
            result = own
        elif not isinstance(parent, str) or parent not in tables:
            problems.append(
                StagewrightError(
                    Reason.UNKNOWN_NAME,
                    f"{name} extends {parent!r}, which is neither a stage nor a template",
                    place=table.place(("extends",)),
                    hint=nearest(str(parent), tables),
                )
            )
            result = own
        elif parent in way:
            problems.append(cycle_error([*way[way.index(parent) :], parent], table.place(("extends",))))
            result = own
        else:
            result = _merge(resolve(parent, [*way, parent]), own)
        done[name] = result
        return result

    for name in tables:
        resolve(name, [name])
    return {name: done[name] for name in stages}


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

    merged = Table(merge(parent.data, child.data, ()), places, keys)
    places[()], keys[()] = child.place(()), child.place((), of_key=True)
    return merged


def _take(into: dict[KeyPath, Place], source: Mapping[KeyPath, Place], prefix: KeyPath) -> None:
    for path in [path for path in into if path[: len(prefix)] == prefix]:
        del into[path]
    into.update({path: place for path, place in source.items() if path[: len(prefix)] == prefix})


def _splice(
    old: list[Any], new: list[Any], here: KeyPath, places: dict[KeyPath, Place], child: Mapping[KeyPath, Place]
) -> list[Any]:
    """A list with the inherited items in it; each item keeps the place where it is written."""
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
    """Take over the places of a value and of what is in it, under another path."""
    into.update({(*new, *path[len(old) :]): place for path, place in source.items() if path[: len(old)] == old})


def fill(value: Any, variables: Mapping[str, str], table: Table, path: KeyPath, problems: Problems) -> Any:
    """The value with ``{name}`` replaced in every string; ``{{`` and ``}}`` are braces, ``${name}`` is the shell's."""
    if isinstance(value, dict):
        return {key: fill(item, variables, table, (*path, key), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, variables, table, (*path, number), problems) for number, item in enumerate(value)]
    if not isinstance(value, str) or ("{" not in value and "}" not in value):
        return value

    def one(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        if match[1] not in variables:
            hint = f"{nearest(match[1], variables)}; a brace itself is written {{{{"
            problems.append(
                StagewrightError(Reason.UNKNOWN_NAME, f"no variable {match[1]!r}", place=table.place(path), hint=hint)
            )
        return variables.get(match[1], match[0])

    return _VARIABLE.sub(one, value)
