"""Descriptions of a model's settings, read from the docstrings below its fields, for help, schema and docs."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import json
import sys
from collections.abc import Iterator
from typing import Any, get_origin

from pydantic import BaseModel

from stagewright.lazy_dataclass import dataclass
from stagewright.project.fields import Section, section_of


@dataclass(frozen=True)
class Setting:
    """A setting: its name (dotted inside a section), its default as TOML, and its description."""

    name: str
    default: str
    text: str


def settings(
    model: type[BaseModel], prefix: str = "", within: frozenset[type[BaseModel]] = frozenset()
) -> Iterator[Setting]:
    """Yield the settings of a model, required ones first. The settings of a section follow the section.

    A section inside of itself is not described again. ``within`` are the models around this one.
    """
    texts = docstrings(model)
    for name, info in sorted(model.model_fields.items(), key=lambda item: not item[1].is_required()):
        section = section_of(info.annotation)
        value = info.get_default(call_default_factory=True) if not info.is_required() else None
        shown = "required" if info.is_required() else ("" if isinstance(value, BaseModel) else plain(value))
        yield Setting(prefix + name, shown, texts.get(name, ""))
        if section and section not in within | {model}:
            by_name = "NAME." if get_origin(info.annotation) is dict else ""
            yield from settings(section, f"{prefix}{name}.{by_name}", within | {model})


def plain(value: Any) -> str:
    """Return a default value as text; ``none`` for None."""
    return "none" if value is None else json.dumps(value)


@functools.cache
def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstring of each field of a model and of its base models."""
    found: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if issubclass(part, Section) and part is not Section:
            found.update(_texts(_classes(part.__module__).get(part.__qualname__, [])))
    return found


@functools.cache
def _classes(module: str) -> dict[str, list[ast.stmt]]:
    """Return the bodies of the classes of an imported module. Classes inside of functions and classes are missing."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {part.name: part.body for part in tree.body if isinstance(part, ast.ClassDef)}


def _texts(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, subtable in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(subtable, ast.Expr):
            text = ast.literal_eval(subtable.value)
            yield field.target.id, " ".join(str(text).split())
