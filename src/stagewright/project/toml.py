"""Format values as TOML 1.0, for the files that Stagewright writes."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTH = 100
"""Longest list in characters that is written in one line."""


def key(name: str) -> str:
    """Return a key, quoted only if necessary."""
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else string(name)


def string(text: str) -> str:
    """Return a basic string of TOML. Unlike JSON, TOML requires an escape for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def value(item: Any, width: int = WIDTH) -> str:
    """Return a value in one line, or a list in several lines if one would be longer than ``width``."""
    if isinstance(item, datetime.datetime):
        return item.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(item, Mapping):
        inner = ", ".join(f"{key(name)} = {value(one)}" for name, one in item.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(item, list):
        items = [value(one) for one in item]
        line = f"[{', '.join(items)}]"
        return line if len(line) <= width or not items else "[\n" + "".join(_filled(item, items, width)) + "]"
    return string(item) if isinstance(item, str) else json.dumps(item)


def _filled(item: list[Any], items: list[str], width: int) -> Iterator[str]:
    """Yield the lines of a list: many short texts in one line, everything else in a separate line."""
    if not all(isinstance(one, str) for one in item):
        yield from (f"    {one},\n" for one in items)
        return
    line = ""
    for one in items:
        if line and len(f"    {line} {one},") > width:
            yield f"    {line}\n"
            line = ""
        line = f"{line} {one}," if line else f"{one},"
    yield f"    {line}\n"


def table(name: Sequence[str], data: Mapping[str, Any], width: int = WIDTH) -> str:
    """Return a table with its header. Non-empty tables in it get their own headers."""
    head = ".".join(map(key, name))
    inner = {one: item for one, item in data.items() if isinstance(item, Mapping) and item}
    lines = [f"{key(one)} = {value(item, width)}" for one, item in data.items() if one not in inner]
    parts = ["\n".join([f"[{head}]", *lines]) + "\n"] if lines or not inner else []
    return "\n".join([*parts, *(table((*name, one), item, width) for one, item in inner.items())])
