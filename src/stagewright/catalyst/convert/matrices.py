"""Merge entries that differ in a few texts only into one entry with a ``matrix``, which several entries can share."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from stagewright.catalyst.convert.entry_draft import EntryDraft
from stagewright.catalyst.convert.groups import ends, groups_of
from stagewright.project.source import KeyPath

VARIANT = "variant"

_PLACE = "\0"  # stands for the name of the variable until all entries are known
_NAME = ("",)  # path of an entry's name among its leaves


@dataclass
class Matrix:
    """The rows that entries with the same variants need: values of each variable by variant."""

    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    entries: list[FileEntry] = field(default_factory=list)
    variable: str = VARIANT
    name: str = ""  # of its template; empty for a matrix of one entry

    @property
    def rows(self) -> list[dict[str, str]]:
        """The rows, in the order of the variants."""
        variants = list(next(iter(self.columns.values())))
        names = {name: self.variable if name == _PLACE else name for name in self.columns}
        return [{names[name]: column[variant] for name, column in self.columns.items()} for variant in variants]

    @property
    def value(self) -> Any:
        """The matrix as it is written. With one variable it is a list of values."""
        if len(self.columns) == 1:
            return {self.variable: list(self.columns[_PLACE])}
        return self.rows


@dataclass
class FileEntry:
    """An entry of the file: name and data with variables in braces, its matrix, and comments."""

    table: str
    name: str
    data: dict[str, Any]
    comments: list[str]
    shared: Matrix | None = None

    @property
    def matrix(self) -> Any:
        """The matrix of the entry as it is written, or the name of the template that has it; None without one."""
        return None if self.shared is None else self.shared.name or self.shared.value


def single_entries(drafts: Sequence[EntryDraft]) -> list[FileEntry]:
    """Return the entries of a file without any matrix."""
    return [_single(draft) for draft in drafts]


def merge_entries(drafts: Sequence[EntryDraft]) -> list[FileEntry]:
    """Return the entries of a file, in the order of their first member. Templates are before the first user."""
    matrices: dict[frozenset[str], Matrix] = {}
    first: dict[int, FileEntry] = {}
    inside: set[int] = set()
    for members in groups_of(drafts):
        if entry := _merged(members, matrices):
            first[id(members[0])] = entry
            inside |= {id(draft) for draft in members}
    found = [
        first[id(draft)] if id(draft) in first else _single(draft)
        for draft in drafts
        if id(draft) in first or id(draft) not in inside
    ]
    _name_variables([matrix for matrix in matrices.values() if matrix.entries], found)
    templates = [
        FileEntry("templates", one.name, {}, [], Matrix(one.columns, [], one.variable)) for one in _named(matrices)
    ]
    return [*templates, *found]


def _named(matrices: dict[frozenset[str], Matrix]) -> list[Matrix]:
    return [matrix for matrix in matrices.values() if matrix.name]


def _single(draft: EntryDraft) -> FileEntry:
    return FileEntry(draft.table, draft.name, draft.data, [draft.comment] if draft.comment else [])


def _merged(members: Sequence[EntryDraft], matrices: dict[frozenset[str], Matrix]) -> FileEntry | None:
    """Return one entry for all members, or None if separate entries are shorter."""
    if len(members) < 2 or members[0].table == "repos":
        return None
    prefix, suffix = ends([draft.name for draft in members])
    variants = [draft.name[len(prefix) : len(draft.name) - len(suffix)] for draft in members]
    known = matrices.get(frozenset(variants)) or Matrix({_PLACE: {variant: variant for variant in variants}})
    matrix = Matrix(dict(known.columns), known.entries)
    leaves = [dict(_leaves({**draft.data, "": draft.name})) for draft in members]
    texts: dict[KeyPath, str] = {}
    for path in leaves[0]:
        values = {variant: column[path] for variant, column in zip(variants, leaves, strict=True)}
        if len(set(values.values())) > 1:
            texts[path] = _template(values, matrix.columns) or _new_variable(path, values, matrix.columns)
    more = len(matrix.columns) - (len(known.columns) if known.entries else 0)
    if (len(members) - 1) * len(leaves[0]) <= len(members) * more:
        return None
    comments = [draft.comment for draft in members if draft.comment]
    entry = FileEntry(members[0].table, texts[_NAME], _with(members[0].data, (), texts), comments, known)
    known.columns = matrix.columns
    known.entries.append(entry)
    matrices[frozenset(variants)] = known
    return entry


def _leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path and text of each text in a value."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, (*path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, (*path, number))
    elif isinstance(value, str):
        yield path, value


def _template(values: dict[str, str], columns: dict[str, dict[str, str]]) -> str | None:
    """Return a text with a variable in it that yields each of these values, or None if no variable does."""
    variant, text = next(iter(values.items()))
    for name, column in columns.items():
        first = text.find(column[variant])
        while first >= 0:
            prefix, suffix = text[:first], text[first + len(column[variant]) :]
            if all(values[one] == f"{prefix}{column[one]}{suffix}" for one in values):
                return f"{prefix}{{{name}}}{suffix}"
            first = text.find(column[variant], first + 1)
    return None


def _new_variable(path: KeyPath, values: dict[str, str], columns: dict[str, dict[str, str]]) -> str:
    """Add a variable for a setting, and return the text with it. For files it is the folder, if that is enough."""
    if path[-1] == "file" and (text := _with_folder(values, columns)):
        return text
    name = _variable(path, columns)
    columns[name] = values
    return f"{{{name}}}"


def _with_folder(values: dict[str, str], columns: dict[str, dict[str, str]]) -> str | None:
    """Return the path of files that differ in one folder and in the variant, with a variable for that folder."""
    rows = {}
    for variant, text in values.items():
        head, found, tail = text.rpartition(variant)
        rows[variant] = (f"{head}{{{_PLACE}}}{tail}" if found else text).split("/")
    if len({len(row) for row in rows.values()}) > 1:
        return None
    steps = next(iter(rows.values()))
    varying = [number for number in range(len(steps)) if len({row[number] for row in rows.values()}) > 1]
    if len(varying) != 1 or any(_PLACE in row[varying[0]] for row in rows.values()):
        return None
    folders = {variant: row[varying[0]] for variant, row in rows.items()}
    name = next((name for name, column in columns.items() if column == folders), None)
    if name is None:
        name = _variable(("folder",), columns)
        columns[name] = folders
    return "/".join([*steps[: varying[0]], f"{{{name}}}", *steps[varying[0] + 1 :]])


def _variable(path: KeyPath, columns: dict[str, dict[str, str]]) -> str:
    """Return an unused name for the variable of a setting."""
    words = [str(step) for step in path if isinstance(step, str)]
    name = re.sub(r"\W", "_", words[-1] if words else "value").lower()
    number = 2
    while name in columns or name == VARIANT or name[:1].isdigit():
        name = f"{re.sub(r'_[0-9]+$', '', name).lstrip('0123456789') or 'value'}_{number}"
        number += 1
    return name


def _with(value: Any, path: KeyPath, texts: dict[KeyPath, str]) -> Any:
    """Return a value with the texts at some paths replaced."""
    if isinstance(value, dict):
        return {name: _with(item, (*path, name), texts) for name, item in value.items()}
    if isinstance(value, list):
        return [_with(item, (*path, number), texts) for number, item in enumerate(value)]
    return texts.get(path, value)


def _name_variables(matrices: Sequence[Matrix], entries: Sequence[FileEntry]) -> None:
    """Name the variables of variants, so that no two entries have the same name, and the templates of shared ones."""
    taken = {(entry.table, entry.name) for entry in entries}
    variables: set[str] = set()
    plain = sorted(matrices, key=lambda one: (bool(_own_words(one, matrices)), -len(one.columns[_PLACE])))
    for matrix in plain:
        for name in _names(matrix, matrices):
            patterns = {(entry.table, entry.name.replace(_PLACE, name)) for entry in matrix.entries}
            if name not in matrix.columns and name not in variables - {VARIANT} and not patterns & taken:
                break
        matrix.variable = name
        variables.add(name)
        taken |= patterns
        for entry in matrix.entries:
            entry.name = entry.name.replace(_PLACE, name)
            entry.data = _renamed(entry.data, name)
        if len(matrix.entries) > 1:
            matrix.name = _template_name(matrix, matrices, taken)


def _names(matrix: Matrix, others: Sequence[Matrix]) -> Iterator[str]:
    """Yield names for the variable of a matrix: with a word that all of its variants and not all others have."""
    yield VARIANT
    yield from (f"{word}_{VARIANT}" for word in _own_words(matrix, others))
    yield from (f"{VARIANT}_{number}" for number in itertools.count(2))


def _own_words(matrix: Matrix, others: Sequence[Matrix]) -> list[str]:
    """Return the words that all variants of a matrix have, and not all variants of the others."""
    words = [set(re.split(r"[^A-Za-z0-9]+", variant)) for variant in matrix.columns[_PLACE]]
    usual = [set(re.split(r"[^A-Za-z0-9]+", variant)) for other in others for variant in other.columns[_PLACE]]
    found = (word for word in sorted(set.intersection(*words)) if re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", word))
    return [word for word in found if not all(word in parts for parts in usual)]


def _template_name(matrix: Matrix, others: Sequence[Matrix], taken: set[tuple[str, str]]) -> str:
    used = {other.name for other in others} | {name for table, name in taken if table == "stages"}
    names = (f"{matrix.variable}s{'' if number == 1 else f'-{number}'}" for number in itertools.count(1))
    return next(name for name in names if name not in used)


def _renamed(value: Any, name: str) -> Any:
    """Return a value with the name of the variable in its texts."""
    if isinstance(value, dict):
        return {key: _renamed(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, name) for item in value]
    return value.replace(_PLACE, name) if isinstance(value, str) else value
