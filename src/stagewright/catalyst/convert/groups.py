"""Groups of entries that become one entry with a matrix: those of one shape, with references of one form."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stagewright.catalyst.convert.entry_draft import EntryDraft

REFERENCES = ("root", "live", "boot")
"""Settings that name other entries."""


def groups_of(drafts: Sequence[EntryDraft]) -> list[list[EntryDraft]]:
    """Return the groups, in the order of their first members. A group can have one member.

    Groups of stages that are built on each other have the same variants where possible, and so do their seeds: these
    groups share a matrix.
    """
    shapes = {(draft.table, draft.name): (draft.table, _role(draft.name), _shape(draft.data)) for draft in drafts}
    sources = {name: shape for (table, name), shape in shapes.items() if table in ("seeds", "stages")}
    users = _users(drafts, shapes)
    found: dict[object, list[EntryDraft]] = {}
    for draft in drafts:
        root = draft.data.get("root")
        other = (
            users.get(draft.name) if draft.table == "seeds" else sources.get(root) if isinstance(root, str) else None
        )
        found.setdefault((shapes[draft.table, draft.name], other), []).append(draft)
    apart = _joined(found, shapes)
    return [part for group in apart for part in _by_references(group)]


def _joined(
    found: Mapping[object, list[EntryDraft]], shapes: Mapping[tuple[str, str], object]
) -> list[list[EntryDraft]]:
    """Return groups, where groups of one member with the same shape are one group."""
    result: dict[object, list[EntryDraft]] = {}
    for key, group in found.items():
        alone = shapes[group[0].table, group[0].name] if len(group) == 1 else key
        result.setdefault(alone, []).extend(group)
    return list(result.values())


def _users(drafts: Iterable[EntryDraft], shapes: Mapping[tuple[str, str], object]) -> dict[str, object]:
    """Return the shape of the first stage that starts from each entry, by name."""
    users: dict[str, object] = {}
    for draft in drafts:
        root = draft.data.get("root")
        if draft.table == "stages" and isinstance(root, str):
            users.setdefault(root, shapes[draft.table, draft.name])
    return users


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


def _by_references(group: list[EntryDraft]) -> list[list[EntryDraft]]:
    """Split a group so that each reference of its entries has the same form: the variant in it, or equal texts."""
    if len(group) < 2:
        return [group]
    names = [draft.name for draft in group]
    prefix, suffix = ends(names)
    for setting in REFERENCES:
        texts = [draft.data.get(setting) for draft in group]
        forms = [
            _form(text, name[len(prefix) : len(name) - len(suffix)]) for text, name in zip(texts, names, strict=True)
        ]
        counts = Counter(form for form in forms if form and "{}" in form)
        best, count = counts.most_common(1)[0] if counts else ("", 0)
        if 2 <= count < len(group):
            fit = [draft for draft, form in zip(group, forms, strict=True) if form == best]
            rest = [draft for draft, form in zip(group, forms, strict=True) if form != best]
            return [*_by_references(fit), *_by_references(rest)]
    return [group]


def _form(text: object, variant: str) -> str | None:
    """Return a text with ``{}`` in place of the variant, if it is at an end of a word."""
    if not isinstance(text, str) or not variant:
        return None
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(variant)}(?![A-Za-z0-9])", "{}", text)


def ends(texts: Sequence[str]) -> tuple[str, str]:
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
