"""Validate the tables of a project by models, and report every error in the words of TOML.

A table with errors is validated a second time without its wrong values, so that its other errors are reported at the
same time: checks of the whole table, references to other entries, and checks across the project.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.given import markers
from stagewright.lazy_dataclass import dataclass
from stagewright.project import toml
from stagewright.project.describe import docstrings
from stagewright.project.fields import UNKNOWN, Matching, Ref, Section, complete, section_of, text_lists
from stagewright.project.misread import misread
from stagewright.project.other_words import OfKind, hint_for_key, meant_key
from stagewright.project.source import KeyPath, setting_name
from stagewright.project.tables import Problems, Table
from stagewright.project.wording import article, expected_type, other_error, wrong_type

Model = TypeVar("Model", bound=Section)

_REASONS = {"bad_atom": Reason.BAD_ATOM, "no_origin": Reason.MISSING_KEY}
"""Reasons of errors from our own checks, by their error type."""


@dataclass(frozen=True)
class Validated(Generic[Model]):
    """A validated table. ``model`` is without the values of ``left_out``, or None if too much is wrong.

    ``rest`` is the table without the values of ``left_out``: the paths of wrong values, and of missing ones.
    """

    model: Model | None
    rest: Table
    left_out: frozenset[KeyPath] = frozenset()

    @property
    def unchecked(self) -> frozenset[str]:
        """Names of the settings that are left out as a whole, and of those around them, for checks of the project.

        A list without some of its items is still checked: that finds mistakes in the others.
        """
        whole = (path for path in self.left_out if not isinstance(path[-1], int))
        return frozenset(str(step) for path in whole for step in path if isinstance(step, str))

    @property
    def doubtful(self) -> frozenset[str]:
        """Names of the settings that are left out. An error that mentions one of them can be a consequence."""
        return frozenset(str(step) for path in self.left_out for step in path if isinstance(step, str))


def validate(
    model: type[Model], table: Table, label: str, problems: Problems, of_kind: OfKind | None = None
) -> Validated[Model]:
    """Return the section that a table describes, and append its errors to ``problems``.

    ``label`` is the noun for the table in messages. ``of_kind`` describes the kind of an entry, for hints.
    """
    elsewhere = frozenset((key,) for key in _keys(model) if key not in table.data) if table.is_partial else frozenset()
    errors = _misread(model, table)
    complete(model)
    try:
        validated = model.model_validate(table.data)
        if not errors:
            return Validated(validated, table, elsewhere)
    except ValidationError as error:
        known = {one.path for one in errors}
        more = _errors(model, table, label, error, of_kind)
        errors += [one for one in more if known.isdisjoint((one.path, one.path[:-1]))]
    not_missing = _meant(errors) | elsewhere
    names = frozenset(str(path[-1]) for path in not_missing)
    errors = [one for one in errors if one.error.reason is not Reason.MISSING_KEY or not mentions(one.error, names)]
    problems.extend(one.error for one in errors)
    left_out = frozenset(one.path for one in errors) | not_missing
    rest = without(table, left_out)
    _fill(model, rest, left_out)
    try:
        return Validated(model.model_validate(rest.data), rest, left_out)
    except ValidationError as error:
        more = [one for one in _errors(model, rest, label, error, of_kind) if one.path not in left_out]
    found = Validated[Model](None, rest, left_out)
    problems.extend(one.error for one in more if not mentions(one.error, found.doubtful))
    return found


def _misread(model: type[Section], table: Table) -> list[_Found]:
    """Return the errors of values that fit their type and cannot be meant."""
    found = misread(model, table.data, _section)
    return [
        _Found(path, StagewrightError(Reason.INVALID_VALUE, message, place=table.place(at), hint=hint))
        for path, at, message, hint in found
    ]


def _meant(errors: Iterable[_Found]) -> frozenset[KeyPath]:
    """Return the paths of the settings that the hints for unknown keys suggest. They are not missing, but misspelt."""
    unknown = [one for one in errors if one.error.reason is Reason.UNKNOWN_KEY]
    return frozenset((*one.path[:-1], key) for one in unknown if (key := meant_key(one.error.hint)))


def mentions(error: StagewrightError, names: Collection[str]) -> bool:
    """Return True if the texts of an error contain one of the names as a word."""
    words = re.findall(r"[A-Za-z0-9_-]+", f"{error.message} {error.hint}")
    return any(word in names for word in words)


def without(table: Table, paths: Collection[KeyPath]) -> Table:
    """Return a table without the values at these paths. All other values keep their places."""
    found = Table({}, variables=table.variables)

    def copy(value: Any, old: KeyPath, new: KeyPath) -> Any:
        for known, into in ((table.places, found.places), (table.keys, found.keys)):
            if old in known:
                into[new] = known[old]
        if isinstance(value, dict):
            kept = {key: item for key, item in value.items() if (*old, key) not in paths}
            return {key: copy(item, (*old, key), (*new, key)) for key, item in kept.items()}
        if isinstance(value, list):
            items = [(number, item) for number, item in enumerate(value) if (*old, number) not in paths]
            return [copy(item, (*old, number), (*new, index)) for index, (number, item) in enumerate(items)]
        return value

    found.data = copy(table.data, (), ())
    return found


def _fill(model: type[Section], table: Table, left_out: Collection[KeyPath]) -> None:
    """Add a stand-in for each required reference that is left out."""
    for name, info in model.model_fields.items():
        key = info.alias or name
        if info.is_required() and (key,) in left_out and name in markers(model, Ref):
            table.data[key] = [UNKNOWN] if _is_list(info) else UNKNOWN


def _is_list(info: FieldInfo) -> bool:
    return getattr(info.annotation, "__origin__", None) is list


@dataclass(frozen=True)
class _Found:
    """An error, and the path of the value that it concerns."""

    path: KeyPath
    error: StagewrightError


@dataclass(frozen=True)
class _Detail:
    """One error of pydantic, with the path of its value in the table."""

    path: KeyPath
    kind: str
    data: Mapping[str, Any]

    @property
    def expected(self) -> str:
        """The required type of the value, if its type is wrong."""
        return expected_type(self.kind)


def _errors(
    model: type[Section],
    table: Table,
    label: str,
    error: ValidationError,
    of_kind: OfKind | None,
) -> list[_Found]:
    """Return the errors of a table, one for each value and cause."""
    details = [_Detail(_path(one["loc"], one["type"], table.data), one["type"], dict(one)) for one in error.errors()]
    by_path: dict[KeyPath, list[_Detail]] = {}
    for detail in details:
        by_path.setdefault(detail.path, []).append(detail)
    found: list[_Found] = []
    for path, here in by_path.items():
        if types := [detail for detail in here if detail.expected]:
            deeper = any(other[: len(path)] == path and len(other) > len(path) for other in by_path)
            if len(types) == len(here) and not deeper:
                found.append(_wrong_type(model, table, path, types))
        rest = [detail for detail in here if not detail.expected]
        found += [_found(model, table, label, detail, of_kind) for detail in rest]
    return list({(one.path, one.error.message): one for one in found}.values())


def _path(loc: Iterable[str | int], kind: str, data: Any) -> KeyPath:
    """Return the path of a value: the location of pydantic without its names of types and of members of unions."""
    steps, path, value = list(loc), [], data
    for number, step in enumerate(steps):
        inside = (isinstance(value, dict) and step in value) or (
            isinstance(value, list) and isinstance(step, int) and step < len(value)
        )
        if inside:
            path.append(step)
            value = value[step]
        elif kind == "missing" and number == len(steps) - 1:
            path.append(step)
    return tuple(path)


def _wrong_type(model: type[Section], table: Table, path: KeyPath, details: list[_Detail]) -> _Found:
    expected = [detail.expected for detail in details]
    section = _section(model, path)
    value = details[0].data["input"]
    keys = (_text_keys(section, isinstance(value, list)) or _keys(section)) if section else []
    inner = value
    if section and {"console", "extra"} <= set(text_lists(section)):  # words of a command line
        keys, inner = ["extra"], value.split() if isinstance(value, str) else value
    names = [value] if isinstance(value, str) else value
    if (
        section
        and details[0].kind == "dict_type"
        and isinstance(names, list)
        and all(isinstance(n, str) for n in names)
    ):
        hint = f"write {path[-1]} = {{ {', '.join(f'{toml.key(name)} = {{}}' for name in names)} }}"
        message, _ = wrong_type(setting_name(path), value, expected)
    else:
        message, hint = wrong_type(setting_name(path), value, expected, keys)
        if inner is not value:
            _, hint = wrong_type(setting_name(path), inner, expected, keys)
        if isinstance(path[-1], int) and hint.startswith(f"write {path[-2]} = {{"):
            hint = f"write it as a table: {hint.partition(' = ')[2]}"
        form = _matching(model, path)
        if form and isinstance(value, (int, float)) and not re.fullmatch(form.pattern, str(value)):
            hint = f"write {form.what}"
    return _Found(path, StagewrightError(Reason.INVALID_VALUE, message, place=table.place(path), hint=hint))


def _matching(model: type[Section], path: KeyPath) -> Matching | None:
    """Return the form that the text at a path must have, if its type says it."""
    section = _section(model, path[:-1])
    if section is None:
        return None
    names = {info.alias or name: name for name, info in section.model_fields.items()}
    return next(iter(markers(section, Matching).get(names.get(str(path[-1]), ""), [])), None)


def _found(
    model: type[Section],
    table: Table,
    label: str,
    detail: _Detail,
    of_kind: OfKind | None,
) -> _Found:
    path, name = detail.path, setting_name(detail.path)
    if detail.kind == "extra_forbidden":
        section = _section(model, path[:-1]) or model
        hint = hint_for_key(str(path[-1]), _keys(section), of_kind if len(path) == 1 else None)
        if len(path) > 1 and path[-1] in _keys(model):
            hint = f"write it above the table {path[0]}: it is a setting of {article(label)}"
        place = table.place(path, of_key=True)
        message = f"unknown key {name!r} for {article(label)}"
        return _Found(path, StagewrightError(Reason.UNKNOWN_KEY, message, place=place, hint=hint))
    if detail.kind == "missing":
        place = table.place(path[:-1], of_key=True)
        message, hint = f"{article(label)} needs {name!r}", f"add {path[-1]} = ...{_meaning(model, path)}"
        return _Found(path, StagewrightError(Reason.MISSING_KEY, message, place=place, hint=hint))
    context = detail.data.get("ctx") or {}
    at = [int(step) if step.isdigit() else step for step in str(context.get("at") or "").split(".") if step]
    if detail.kind in _BUILT_IN or detail.kind.startswith("date"):
        message, hint = other_error(name, detail.data["input"], detail.data)
    else:
        text, hint = str(detail.data["msg"]).removeprefix("Value error, "), str(context.get("hint", ""))
        text = text[:1].lower() + text[1:]
        message = f"{name}: {text}" if name and not at else text
    reason, whole = _REASONS.get(detail.kind, Reason.INVALID_VALUE), (*path, *at)
    return _Found(whole, StagewrightError(reason, message, place=table.place(whole), hint=hint))


def _meaning(model: type[Section], path: KeyPath) -> str:
    """Return what a setting means, for a hint: the first sentence of its description; empty if it has none."""
    section = _section(model, path[:-1])
    fields = {info.alias or name: name for name, info in section.model_fields.items()} if section else {}
    text = docstrings(section).get(fields.get(str(path[-1]), ""), "") if section else ""
    sentence = re.split(r"[.;:](?:\s|$)", " ".join(text.split()), maxsplit=1)[0]
    return f" ({sentence[:1].lower()}{sentence[1:]})" if sentence else ""


_BUILT_IN = {
    *("literal_error", "enum", "greater_than", "greater_than_equal", "less_than", "less_than_equal"),
    *("too_short", "too_long", "string_too_short", "string_too_long", "string_pattern_mismatch"),
    *("finite_number", "is_instance_of", "none_required", "string_unicode", "multiple_of"),
}
"""Types of pydantic's errors for values of the right type."""


def _section(model: type[Section], path: KeyPath) -> type[Section] | None:
    """Return the model of the section at a path, or None if the value at the path is not a section."""
    current: type[Section] | None = model
    for step in path:
        if isinstance(step, int) or current is None:
            continue
        fields = {info.alias or name: info for name, info in current.model_fields.items()}
        if step not in fields:
            continue  # the name in a table of sections
        current = section_of(fields[step].annotation)
    return current


def _keys(section: type[Section]) -> list[str]:
    return [info.alias or name for name, info in section.model_fields.items()]


def _text_keys(section: type[Section], lists: bool) -> list[str]:
    """Return the keys of a section whose values are texts, or lists of texts, required ones first."""
    fields = sorted(section.model_fields.items(), key=lambda item: not item[1].is_required())
    if lists:
        return [info.alias or name for name, info in fields if (info.alias or name) in text_lists(section)]
    return [info.alias or name for name, info in fields if _is_text(info.annotation)]


def _is_text(annotation: Any) -> bool:
    return annotation is str or any(map(_is_text, getattr(annotation, "__args__", ())[:2]))
