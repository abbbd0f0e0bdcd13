"""``matrix``: one entry that stands for many variants, each with values of its own for some variables.

::

    [stages."stage3-{init}-{libc}"]
    matrix = { init = ["openrc", "systemd"], libc = ["glibc", "musl"], exclude = [{ init = "systemd", libc = "musl" }] }

    [stages."stage1-{variant}"]
    matrix = [
        { variant = "openrc", profile = "default/linux/amd64/23.0" },
        { variant = "hardened", profile = "default/linux/amd64/23.0/hardened" },
    ]

A table of lists gives every combination but those that ``exclude`` names; a list of tables gives its rows. Variables
stand in braces in the entry's name and texts, and go before the project's. A name without any gets the values at its
end.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.project.source import KeyPath
from stagewright.project.tables import Problems, Table, fill

EXCLUDE = "exclude"

Row = dict[str, str]

_AXIS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HINT = 'write matrix = { init = ["openrc", "systemd"] }, or a list of tables: [{ init = "openrc" }]'


def expand(tables: dict[str, Table], label: str, problems: Problems) -> dict[str, Table]:
    """The entries of a table (``label`` is its name), each with a ``matrix`` replaced by its variants."""
    found: dict[str, Table] = {}
    for name, table in tables.items():
        if "matrix" not in table.data:
            variants = [(name, table)]
        else:
            data = {key: value for key, value in table.data.items() if key != "matrix"}
            rows = list(_rows(table, problems))
            variants = [(_name(name, row, table, problems), Table(data, table.places, table.keys, row)) for row in rows]
        for variant, own in variants:
            if variant in found:
                message = f"{label}.{variant} is made twice, first at {found[variant].place((), of_key=True)}"
                hint = "the name must hold a variable of the matrix that tells the variants apart"
                place = own.place((), of_key=True)
                problems.append(StagewrightError(Reason.DUPLICATE_NAME, message, place=place, hint=hint))
            found.setdefault(variant, own)
    return found


def _name(pattern: str, row: Row, table: Table, problems: Problems) -> str:
    """The name of a variant."""
    if "{" not in pattern:
        return "-".join([pattern, *row.values()])
    head = Table({}, {(): table.place((), of_key=True)})
    return str(fill(pattern, row, head, (), problems))


def _rows(table: Table, problems: Problems) -> Iterator[Row]:
    matrix = table.data["matrix"]
    if isinstance(matrix, dict):
        yield from _product(matrix, table, problems)
    elif isinstance(matrix, list) and matrix and all(isinstance(row, dict) for row in matrix):
        yield from _listed(matrix, table, problems)
    else:
        _wrong("this is no matrix", ("matrix",), table, problems)


def _wrong(message: str, path: KeyPath, table: Table, problems: Problems, hint: str = _HINT) -> None:
    error = StagewrightError(Reason.INVALID_VALUE, f"matrix: {message}", place=table.place(path), hint=hint)
    problems.append(error)


def _product(matrix: Mapping[str, Any], table: Table, problems: Problems) -> Iterator[Row]:
    """All combinations of the axes, in their order, without those that are excluded."""
    axes = {name: values for name, values in matrix.items() if name != EXCLUDE}
    before = len(problems)
    for name, values in axes.items():
        _check_axis(name, ("matrix", name), table, problems)
        if not isinstance(values, list) or not values:
            _wrong(f"{name} must be a list of texts", ("matrix", name), table, problems)
            continue
        for number, value in enumerate(values):
            _check_value(value, ("matrix", name, number), table, problems)
    excluded = matrix.get(EXCLUDE, [])
    if not isinstance(excluded, list) or not all(isinstance(row, dict) and row for row in excluded):
        _wrong("exclude must be a list of tables", ("matrix", EXCLUDE), table, problems)
    if not axes:
        _wrong("it has no variables", ("matrix",), table, problems)
    if len(problems) > before:
        return
    rows = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    for number, pattern in enumerate(excluded):
        _check_exclusion(pattern, axes, ("matrix", EXCLUDE, number), table, problems)
    kept = [row for row in rows if not any(pattern.items() <= row.items() for pattern in excluded)]
    if not kept:
        _wrong("exclude leaves nothing", ("matrix", EXCLUDE), table, problems, "remove one of its tables")
    yield from kept


def _check_exclusion(
    pattern: Mapping[str, Any], axes: Mapping[str, list[str]], path: KeyPath, table: Table, problems: Problems
) -> None:
    """An exclusion must name values that there are."""
    for name, value in pattern.items():
        if name in axes and value in axes[name]:
            continue
        what = f"the matrix has no {name}" if name not in axes else f"{name} is never {value!r}"
        hint = nearest(name, axes) if name not in axes else nearest(str(value), axes[name])
        place = table.place((*path, name))
        problems.append(StagewrightError(Reason.UNKNOWN_NAME, f"matrix.exclude: {what}", place=place, hint=hint))


def _listed(matrix: list[dict[str, Any]], table: Table, problems: Problems) -> Iterator[Row]:
    """The rows of a list, which must have the same variables."""
    before = len(problems)
    for number, row in enumerate(matrix):
        for name, value in row.items():
            _check_axis(name, ("matrix", number, name), table, problems)
            _check_value(value, ("matrix", number, name), table, problems)
        for name in sorted(matrix[0].keys() ^ row.keys()):
            lacking = "" if name in row else "no "
            _wrong(f"row {number + 1} has {lacking}{name!r}, unlike the first", ("matrix", number), table, problems)
    if not matrix[0]:
        _wrong("it has no variables", ("matrix", 0), table, problems)
    if len(problems) == before:
        yield from matrix


def _check_axis(name: str, path: KeyPath, table: Table, problems: Problems) -> None:
    if not _AXIS.fullmatch(name):
        hint = "names of variables are letters, digits and _"
        _wrong(f"{name!r} cannot be the name of a variable", path, table, problems, hint)


def _check_value(value: Any, path: KeyPath, table: Table, problems: Problems) -> None:
    if not isinstance(value, str):
        _wrong(f"{value!r} is no text", path, table, problems, 'write text in quotes: "text"')
