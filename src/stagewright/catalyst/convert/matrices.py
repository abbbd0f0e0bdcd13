"""Merge entries that differ in a few texts only into one entry with a ``matrix``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from stagewright.catalyst.convert.entry_draft import EntryDraft
from stagewright.project.source import KeyPath

_VARIANT = "variant"
_NAME = ("",)  # path of an entry's name among its leaves


@dataclass
class FileEntry:
    """An entry of the file: name and data with variables in braces, the rows of its matrix, and comments."""

    table: str
    name: str
    data: dict[str, Any]
    comments: list[str]
    rows: list[dict[str, str]] = field(default_factory=list)

    @property
    def matrix(self) -> Any:
        """The matrix as it is written. With one variable it is a list of values."""
        if self.rows and len(self.rows[0]) == 1:
            variable = next(iter(self.rows[0]))
            return {variable: [row[variable] for row in self.rows]}
        return self.rows


def merge_entries(drafts: Sequence[EntryDraft]) -> list[FileEntry]:
    """Return the entries of a file, in the order of their first member."""
    shapes: dict[object, list[EntryDraft]] = {}
    for draft in drafts:
        shapes.setdefault((draft.table, _role(draft.name), _shape(draft.data)), []).append(draft)
    merged = {id(members[0]): entry for members in shapes.values() if (entry := _merged(members))}
    inside = {id(draft) for members in shapes.values() if id(members[0]) in merged for draft in members}
    found = []
    for draft in drafts:
        if id(draft) in merged:
            found.append(merged[id(draft)])
        elif id(draft) not in inside:
            found.append(FileEntry(draft.table, draft.name, draft.data, [draft.comment] if draft.comment else []))
    return found


def _role(name: str) -> str:
    """Return the role of an entry, from its name. Empty for main entries."""
    return name.rpartition(".")[2] if re.search(r"\.[a-z]+$", name) else ""


def _shape(value: Any) -> object:
    """Return the shape of a value: everything except its texts, but with the kind of stage.

    Entries with the same shape can be merged.
    """
    if isinstance(value, dict):
        fixed = [(name, item if name == "kind" else _shape(item)) for name, item in sorted(value.items())]
        return ("table", tuple(fixed))
    if isinstance(value, list):
        return ("list", tuple(_shape(item) for item in value))
    return "text" if isinstance(value, str) else (type(value).__name__, value)


def _merged(members: Sequence[EntryDraft]) -> FileEntry | None:
    """Return one entry for all members, or None if separate entries are shorter."""
    if len(members) < 2 or members[0].table == "repos":
        return None
    columns = [dict(_leaves({**draft.data, "": draft.name})) for draft in members]
    paths = list(columns[0])
    vectors = {path: [column[path] for column in columns] for path in paths}
    varying = {path: vector for path, vector in vectors.items() if len(set(vector)) > 1}
    names = vectors[_NAME]
    prefix, suffix = _ends(names)
    variables = {_VARIANT: [name[len(prefix) : len(name) - len(suffix)] for name in names]}
    texts: dict[KeyPath, str] = {}
    for path, vector in varying.items():
        text = _template(vector, variables)
        if text is None:
            variable = _variable(path, variables)
            variables[variable] = vector
            text = f"{{{variable}}}"
        texts[path] = text
    if (len(members) - 1) * len(paths) <= len(members) * len(variables):
        return None
    rows = [{name: vector[number] for name, vector in variables.items()} for number in range(len(members))]
    comments = [draft.comment for draft in members if draft.comment]
    data = _with(members[0].data, (), texts)
    return FileEntry(members[0].table, texts[_NAME], data, comments, rows)


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


def _ends(texts: Sequence[str]) -> tuple[str, str]:
    """Return the common prefix and suffix of texts, cut at dashes and dots."""
    prefix = os.path.commonprefix(list(texts))  # noqa: RUF071  these are not paths
    prefix = prefix[: prefix.rfind("-") + 1]
    rest = [text[len(prefix) :] for text in texts]
    suffix = os.path.commonprefix([text[::-1] for text in rest])[::-1]  # noqa: RUF071
    cut = min((suffix.find(mark) for mark in "-." if mark in suffix), default=-1)
    suffix = suffix[cut:] if cut >= 0 else ""
    while suffix and any(len(text) <= len(suffix) for text in rest):
        suffix = ""
    return prefix, suffix


def _template(vector: Sequence[str], variables: dict[str, list[str]]) -> str | None:
    """Return a text with a variable in it that yields each of these values, or None if no variable does."""
    for name, values in variables.items():
        first = vector[0].find(values[0])
        while first >= 0:
            prefix, suffix = vector[0][:first], vector[0][first + len(values[0]) :]
            if all(text == f"{prefix}{part}{suffix}" for text, part in zip(vector, values, strict=True)):
                return f"{prefix}{{{name}}}{suffix}"
            first = vector[0].find(values[0], first + 1)
    return None


def _variable(path: KeyPath, variables: dict[str, list[str]]) -> str:
    """Return an unused name for the variable of a setting."""
    words = [str(step) for step in path if isinstance(step, str)]
    name = re.sub(r"\W", "_", words[-1] if words else "value").lower()
    number = 2
    while name in variables or name[:1].isdigit():
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
