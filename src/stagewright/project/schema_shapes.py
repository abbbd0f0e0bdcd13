"""Change JSON schemas of models into those of TOML files: variables, ``"..."``, no null, patterns of ECMA-262."""

from __future__ import annotations

import re
from typing import Any

Shape = dict[str, Any]

VARIABLE = r"\{[A-Za-z_][A-Za-z0-9_]*\}"
"""Pattern of a variable in a text, as ECMA-262 has it."""

WITH_VARIABLES: Shape = {"type": "string", "pattern": VARIABLE}
"""A text with a variable, which is checked after the variable is replaced."""

_INHERITED: Shape = {"const": "..."}
_ANNOTATIONS = ("description",)


def first_sentence(text: str) -> str:
    """Return the first paragraph of a docstring, without markup."""
    return " ".join(text.partition("\n\n")[0].split()).replace("``", "`")


def as_files_have_it(shapes: Shape) -> Shape:
    """Return the shapes of a schema as project files have their values."""
    return {name: _changed(shape) for name, shape in shapes.items()}


def _changed(shape: Any) -> Any:
    if isinstance(shape, list):
        return [_changed(item) for item in shape]
    if not isinstance(shape, dict):
        return shape
    one_text = shape.pop("x-one-text", False)
    kept = {key: value for key, value in shape.items() if key not in ("title", "default") or isinstance(value, dict)}
    result = {key: _names(value) if key == "properties" else _changed(value) for key, value in kept.items()}
    if "pattern" in result and isinstance(result["pattern"], str):
        result["pattern"] = ecma_pattern(result["pattern"])
    if "propertyNames" in kept:
        result["propertyNames"] = _ecma(kept["propertyNames"])
    return _one_text(_without_null(_with_variables(_with_inherited(result))), one_text)


def _names(properties: Shape) -> Shape:
    """Return changed properties. Their names are keys of project files, whatever they are called."""
    return {name: _changed(value) for name, value in properties.items()}


def _ecma(shape: Any) -> Any:
    if isinstance(shape, dict) and isinstance(shape.get("pattern"), str):
        return {key: value for key, value in shape.items() if key != "title"} | {
            "pattern": ecma_pattern(shape["pattern"])
        }
    return shape


def _with_inherited(shape: Shape) -> Shape:
    """Return an array that can have ``"..."`` as an item."""
    if shape.get("type") == "array" and isinstance(shape.get("items"), dict):
        return {**shape, "items": {"anyOf": [shape["items"], _INHERITED]}}
    return shape


def _with_variables(shape: Shape) -> Shape:
    """Return a text with restrictions as one that can have variables instead. A file can have any text then."""
    limited = {"enum", "const", "pattern", "minLength", "maxLength", "format"} & shape.keys()
    if not limited or shape.get("type", "string") != "string" or shape == _INHERITED:
        return shape
    notes = {key: shape[key] for key in _ANNOTATIONS if key in shape}
    return {**notes, "anyOf": [{key: value for key, value in shape.items() if key not in notes}, WITH_VARIABLES]}


def _without_null(shape: Shape) -> Shape:
    """Return a shape without null, which TOML does not have."""
    if "anyOf" not in shape:
        return shape
    options = [option for option in shape["anyOf"] if option != {"type": "null"}]
    rest = {key: value for key, value in shape.items() if key != "anyOf"}
    return {**options[0], **rest} if len(options) == 1 else {**rest, "anyOf": options}


def _one_text(shape: Shape, wanted: bool) -> Shape:
    """Return a list of texts that can be one text."""
    if not wanted:
        return shape
    notes = {key: shape[key] for key in _ANNOTATIONS if key in shape}
    array = {key: value for key, value in shape.items() if key not in notes}
    items = array.get("items", {"type": "string"})
    return {**notes, "anyOf": [array, items]}


def ecma_pattern(pattern: str) -> str:
    """Return a regular expression of Python as ECMA-262 has it, with the flag ``u``.

    Names of groups and possessive quantifiers are removed, and characters that need no escape have none.
    """
    plain = re.sub(r"\(\?P<\w+>", "(", pattern)
    plain = re.sub(r"(?<!\\)([*+?}])\+", r"\1", plain)
    plain = re.sub(r"\\(\\|.)", lambda found: found[0] if found[1] in _ESCAPED else found[1], plain)
    if "(?s:" in plain:  # a dot that matches line ends, too
        plain = re.sub(r"(?<!\\)\.", r"[\\s\\S]", plain).replace("(?s:", "(?:")
    return plain.replace(r"\Z", "$").replace(r"\A", "^")


_ESCAPED = frozenset("^$\\.*+?()[]{}|/-dDwWsSbBnrtfvuxcAZ0123456789")
"""Characters after a backslash that ECMA-262 permits there with the flag ``u`` (``-`` only in classes)."""
