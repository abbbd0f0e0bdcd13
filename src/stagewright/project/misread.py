"""Values that fit their type and cannot be meant: several names in one text, a file of /dev for a console's name,
a processor for a triple.

A model accepts them, or answers with an error about something else. They are found before it, by the names and types of
settings, and not by the code of kinds, whose keys these checks must not change (graph/code_digest.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stagewright.lazy_pattern import lazy_pattern
from stagewright.project import toml
from stagewright.project.fields import Section, text_lists
from stagewright.project.source import KeyPath, setting_name

_DEVICES = "/dev/"

_TRIPLE = "write a triple such as x86_64-pc-linux-gnu, or remove it: the profile has the usual one"

_SEPARATORS = lazy_pattern(r"[,;]\s+|[,;]$")
"""Separates items in a text of someone who meant a list."""

_NAMES = lazy_pattern(r"[,;\s]+")
"""Separates names, which contain neither commas nor spaces."""

_OF_NAMES = frozenset({"modules", "omit", "drivers"})
"""Lists of names of dracut's modules and the kernel's."""


def misread(
    model: type[Section], data: Mapping[str, Any], section_at: Callable[[type[Section], KeyPath], type[Section] | None]
) -> Iterator[tuple[KeyPath, KeyPath, str, str]]:
    """Yield the path of each setting with a value that cannot be meant, the path of the value, message and hint.

    ``section_at`` returns the model of the section at a path.
    """
    for path, value in _settings((), data):
        section = section_at(model, path[:-1])
        if section is None:
            continue
        if path == ("chost",) and path[-1] in section.model_fields and isinstance(value, str) and "-" not in value:
            yield path, path, f"chost: not a triple of a toolchain (found {toml.string(value)})", _TRIPLE
        if path[-1] not in text_lists(section):
            continue
        items = value if isinstance(value, list) else [value]
        for number, item in enumerate(items):
            at = (*path, number) if isinstance(value, list) else path
            if isinstance(item, str) and (answer := _answer(str(path[-1]), item, section)):
                yield path, at, f"{setting_name(path)}: {answer[0]}", answer[1]


def _settings(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    """Yield each setting with a text or a list of texts, in this table and those inside of it."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for step, inner in items:
        if isinstance(inner, dict) or (isinstance(inner, list) and any(isinstance(one, dict) for one in inner)):
            yield from _settings((*path, step), inner)
        elif isinstance(step, str) and isinstance(inner, (str, list)):
            yield (*path, step), inner


def _answer(key: str, text: str, section: type[Section]) -> tuple[str, str] | None:
    """Return what is wrong with a text of a list, and the remedy; None if nothing is."""
    of_console = key in ("console", "consoles")
    prefix = _DEVICES if of_console else f"console={_DEVICES}"
    if text.startswith(prefix) and (of_console or key == "extra"):
        name = toml.string(text.removeprefix(prefix))
        what = f"a console is named without {_DEVICES} (found {toml.string(text)})"
        return what, f"write {name}" if of_console else f"write console = [{name}] in place of it"
    of_names = key in _OF_NAMES and text_lists(section) >= _OF_NAMES
    names = [name for name in (_NAMES if of_names else _SEPARATORS).split(text.strip()) if name]
    if len(names) > 1 and _is_free(section, key):
        what = f"several items in one text (found {toml.string(text)})"
        return what, f"write each as one text: [{', '.join(map(toml.string, names))}]"
    return None


def _is_free(section: type[Section], key: str) -> bool:
    """Return True if the texts of a list can be any text. Other lists check their texts."""
    return any(
        info.annotation == list[str] for name, info in section.model_fields.items() if key == (info.alias or name)
    )
