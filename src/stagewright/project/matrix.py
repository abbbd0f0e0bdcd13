"""``matrix``: one entry that is expanded into many variants, each with its own values of some variables.

::

    [stages."stage3-{init}-{libc}"]
    matrix = { init = ["openrc", "systemd"], libc = ["glibc", "musl"], exclude = [{ init = "systemd", libc = "musl" }] }

    [stages."stage1-{variant}"]
    matrix = [
        { variant = "openrc", profile = "default/linux/amd64/23.0" },
        { variant = "hardened", profile = "default/linux/amd64/23.0/hardened" },
    ]

    [templates.variants]
    matrix = [{ variant = "openrc" }, { variant = "systemd" }]

    [seeds."stage3-{variant}-seed"]
    matrix = "variants"

A table of lists is expanded into every combination except those in ``exclude``; a list of tables into its rows. A text
is the name of a template whose matrix several entries share. Variables are written in braces in the entry's name and
texts, and override those of the project. If the name contains no variable, the values are appended to it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.lazy_pattern import lazy_pattern
from stagewright.project.source import KeyPath
from stagewright.project.tables import Problems, Table, substitute

EXCLUDE = "exclude"

MOST_VARIANTS = 1000
"""The largest number of variants of one matrix, before exclusions."""

MOST_ENTRIES = 5000
"""The largest number of variants of all matrices of a table."""

Row = dict[str, str]

_AXIS = lazy_pattern(r"[A-Za-z_][A-Za-z0-9_]*")
_FEWER = "remove values or variables of the matrices, or split the project"
_HINT = 'write matrix = { init = ["openrc", "systemd"] }, or a list of tables: [{ init = "openrc" }]'


def expand(
    tables: dict[str, Table], label: str, templates: Mapping[str, Table], problems: Problems
) -> dict[str, Table]:
    """Return the entries of a table (``label`` is its name), with each matrix replaced by its variants."""
    found: dict[str, Table] = {}
    made = 0
    for name, given in tables.items():
        table = _with_shared(given, templates, problems)
        if "matrix" not in table.data:
            variants = [(name, table)]
        else:
            data = {key: value for key, value in table.data.items() if key != "matrix"}
            rows = list(_rows(table, problems))
            variants = [(_name(name, row, table, problems), replace(table, data=data, variables=row)) for row in rows]
            made += len(rows)
        for variant, own in variants:
            if variant in found:
                message = f"{label}.{variant}: the name is used twice, first at {found[variant].place((), of_key=True)}"
                hint = "add a variable of the matrix to the name, so that each variant has its own"
                place = own.place((), of_key=True)
                problems.append(StagewrightError(Reason.DUPLICATE_NAME, message, place=place, hint=hint))
            found.setdefault(variant, own)
        if made > MOST_ENTRIES:
            _report(f"too many variants in {label} (more than {MOST_ENTRIES})", ("matrix",), table, problems, _FEWER)
            break
    return found


def _with_shared(table: Table, templates: Mapping[str, Table], problems: Problems) -> Table:
    """Return an entry with the matrix of the template that its ``matrix`` names, at the places in the template."""
    wanted = table.data.get("matrix")
    if not isinstance(wanted, str):
        return table
    shared = {name: known for name, known in templates.items() if "matrix" in known.data}
    data = {key: value for key, value in table.data.items() if key != "matrix"}
    if wanted not in shared or isinstance(shared[wanted].data["matrix"], str):
        hint = nearest(wanted, shared) if shared else f"write [templates.{wanted}] with matrix = [...]"
        message = f"matrix: template {wanted!r} with a matrix not found"
        problems.append(StagewrightError(Reason.UNKNOWN_NAME, message, place=table.place(("matrix",)), hint=hint))
        return replace(table, data=data)
    other = shared[wanted]
    places, keys = (
        {
            **{path: place for path, place in own.items() if path[:1] != ("matrix",)},
            **{path: place for path, place in theirs.items() if path[:1] == ("matrix",)},
        }
        for own, theirs in ((table.places, other.places), (table.keys, other.keys))
    )
    return Table({**data, "matrix": other.data["matrix"]}, places, keys)


def _name(pattern: str, row: Row, table: Table, problems: Problems) -> str:
    """Return the name of a variant."""
    if "{" not in pattern:
        return "-".join([pattern, *row.values()])
    head = Table({}, {(): table.place((), of_key=True)})
    return str(substitute(pattern, row, head, (), problems))


def _rows(table: Table, problems: Problems) -> Iterator[Row]:
    matrix = table.data["matrix"]
    if isinstance(matrix, dict):
        yield from _product(matrix, table, problems)
    elif isinstance(matrix, list) and matrix and all(isinstance(row, dict) for row in matrix):
        yield from _listed(matrix, table, problems)
    else:
        _report("must be a table of lists, or a list of tables", ("matrix",), table, problems)


def _report(message: str, path: KeyPath, table: Table, problems: Problems, hint: str = _HINT) -> None:
    error = StagewrightError(Reason.INVALID_VALUE, f"matrix: {message}", place=table.place(path), hint=hint)
    problems.append(error)


def _product(matrix: Mapping[str, Any], table: Table, problems: Problems) -> Iterator[Row]:
    """Yield all combinations of the axes in their order, without the excluded ones."""
    axes = {name: values for name, values in matrix.items() if name != EXCLUDE}
    before = len(problems)
    for name, values in axes.items():
        _check_axis(name, ("matrix", name), table, problems)
        if not isinstance(values, list) or not values:
            _report(f"{name} must be a list of texts", ("matrix", name), table, problems)
            continue
        for number, value in enumerate(values):
            _check_value(value, ("matrix", name, number), table, problems)
    excluded = matrix.get(EXCLUDE, [])
    if not isinstance(excluded, list) or not all(isinstance(row, dict) and row for row in excluded):
        _report("exclude must be a list of tables", ("matrix", EXCLUDE), table, problems)
    if not axes:
        _report("variables are missing", ("matrix",), table, problems)
    if len(problems) > before:
        return
    count = math.prod(len(values) for values in axes.values())
    if count > MOST_VARIANTS:
        hint = "remove values or variables, or write the wanted variants as a list of tables"
        _report(f"too many variants ({count}, at most {MOST_VARIANTS})", ("matrix",), table, problems, hint)
        return
    rows = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    for number, pattern in enumerate(excluded):
        _check_exclusion(pattern, axes, ("matrix", EXCLUDE, number), table, problems)
    kept = [row for row in rows if not any(pattern.items() <= row.items() for pattern in excluded)]
    if not kept:
        _report("exclude removes all variants", ("matrix", EXCLUDE), table, problems, "remove one of its tables")
    yield from kept


def _check_exclusion(
    pattern: Mapping[str, Any], axes: Mapping[str, list[str]], path: KeyPath, table: Table, problems: Problems
) -> None:
    """Check that an exclusion names existing variables and values."""
    for name, value in pattern.items():
        if name in axes and value in axes[name]:
            continue
        what = f"variable {name!r} not found" if name not in axes else f"{name} has no value {value!r}"
        hint = nearest(name, axes) if name not in axes else nearest(str(value), axes[name])
        place = table.place((*path, name))
        problems.append(StagewrightError(Reason.UNKNOWN_NAME, f"matrix.exclude: {what}", place=place, hint=hint))


def _listed(matrix: list[dict[str, Any]], table: Table, problems: Problems) -> Iterator[Row]:
    """Yield the rows of a list, which must have the same variables."""
    before = len(problems)
    for number, row in enumerate(matrix):
        for name, value in row.items():
            _check_axis(name, ("matrix", number, name), table, problems)
            _check_value(value, ("matrix", number, name), table, problems)
        for name in sorted(matrix[0].keys() ^ row.keys()):
            verb = "has" if name in row else "lacks"
            _report(f"row {number + 1} {verb} {name!r}, unlike the first row", ("matrix", number), table, problems)
    if not matrix[0]:
        _report("variables are missing", ("matrix", 0), table, problems)
    if len(problems) == before:
        yield from matrix


def _check_axis(name: str, path: KeyPath, table: Table, problems: Problems) -> None:
    if not _AXIS.fullmatch(name):
        hint = "use letters, digits and _, starting with a letter or _"
        _report(f"invalid name of a variable {name!r}", path, table, problems, hint)


def _check_value(value: Any, path: KeyPath, table: Table, problems: Problems) -> None:
    if not isinstance(value, str):
        _report(f"values must be texts (found {value!r})", path, table, problems, 'write a text in quotes: "text"')
