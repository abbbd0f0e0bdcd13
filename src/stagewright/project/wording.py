"""Messages for values of a project file that a model rejects. They have the words of TOML, and none of Python.

Pydantic describes each error by its type and context. Its own prose is not used, except the messages of checks that
Stagewright defines (``PydanticCustomError``).
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stagewright.errors import nearest
from stagewright.lazy_pattern import lazy_pattern
from stagewright.project import toml
from stagewright.project.names import NAME, NAME_HINT

_LONGEST = 60
"""Longest value in a message, in characters."""

_MOST_ITEMS = 8
"""Most items of a list in a hint."""

_EXPECTED = {
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a table",
    "model": "a table",
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a number",
    "bool": "true or false",
    "date": "a date",
    "datetime": "a date",
}
"""Nouns for the required type of a value, by the type that pydantic expected."""

_TYPE = lazy_pattern(r"(_type|_parsing(_size)?|_attributes_type|_from_float|_object_type|_from_datetime\w*|_inexact)$")

_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}

_SWITCHES = dict.fromkeys(("false", "no", "off", "0"), "false")

_SYNONYMS = (
    ("amd64", "x86_64", "x86-64", "x64"),
    ("arm64", "aarch64", "armv8"),
    ("arm", "armhf", "armv7", "armv7a", "armv6j"),
    ("x86", "i386", "i486", "i686"),
    ("ppc64", "ppc64le", "powerpc64"),
    ("uefi", "efi", "ovmf"),
    ("uefi-secure", "secureboot", "secure-boot", "secure"),
    ("bios", "legacy", "seabios", "pcbios"),
    ("zstd", "zst", "zstandard"),
    ("gzip", "gz"),
    ("bzip2", "bz2"),
    ("xz", "lzma2", "txz"),
    ("none", "no", "off", "plain", "store"),
    ("grub", "grub2"),
    ("systemd-boot", "gummiboot", "sd-boot"),
    ("isolinux", "syslinux"),
    ("cd", "cdrom", "dvd", "iso"),
    ("disk", "hdd", "hd"),
    ("vhd", "vpc", "azure"),
    ("raw", "img"),
    ("file", "tarball", "archive", "folder", "path"),
    ("oci", "image", "docker", "container"),
    ("mirror", "stage3", "gentoo"),
    ("bootstrap", "debian", "debootstrap"),
    ("boots", "boot", "vm", "qemu"),
)
"""Words of different programs for the same thing."""


def nearest_word(word: str, known: Sequence[str]) -> str:
    """Return a hint: the known word that means the same, or else the closest one, or else a list of known words."""
    group = next((group for group in _SYNONYMS if word.lower() in group), ())
    same = next((other for other in group if other in known), None)
    return f"did you mean {same!r}?" if same else nearest(word, known)


def expected_type(error_type: str) -> str:
    """Return what a value must be, from the type of pydantic's error; "" if the type of the value is right."""
    return _EXPECTED.get(_TYPE.sub("", error_type), "") if _TYPE.search(error_type) else ""


def wrong_type(name: str, value: Any, expected: Sequence[str], table: Sequence[str] = ()) -> tuple[str, str]:
    """Return message and hint for a value of another type. ``table`` are the keys of the table that is expected."""
    wanted = " or ".join(dict.fromkeys(expected))
    return f"{name}: must be {wanted} (found {describe_value(value)})", _remedy(name, value, expected, table)


def _remedy(name: str, value: Any, expected: Sequence[str], table: Sequence[str]) -> str:
    """Return the edit that corrects the type of a value."""
    key = name.rpartition(".")[2]
    start = "" if key.isdigit() else f"{key} = "
    text = value.strip() if isinstance(value, str) else ""
    if "true or false" in expected:
        return f"write {start}{_SWITCHES.get(text.lower(), 'true')}, without quotes"
    if "a table" in expected:
        return f"write {start}{{ {_inner(value, table)} }}"
    if "a list" in expected:
        items = ", ".join(map(_quoted, value)) if isinstance(value, dict) else _shown(value)
        return f"write {start}[{items}]" if isinstance(value, (str, dict)) else f'write {start}["..."]'
    if "a whole number" in expected or "a number" in expected:
        number = re.fullmatch(r"-?\d+(\.\d+)?", text)
        return f"write {start}{text}, without quotes" if number else f"write {start}1, without quotes"
    if "a date" in expected:
        return f"write {start}2026-11-20, without quotes"
    if isinstance(value, list):
        return f"write one text, without brackets: {start}{_shown(value[0]) if len(value) == 1 else chr(34) * 2}"
    if isinstance(value, dict):
        return f'write {start}"..."'
    if isinstance(value, float):  # 1.10 is the number 1.1
        return "write it in quotes"
    return f'write it in quotes: {start}"{_shown(value)}"'


def _inner(value: Any, table: Sequence[str]) -> str:
    """Return a table without its braces that holds a value, of which ``table`` are the keys."""
    pairs = [str(item).partition("=") for item in value] if isinstance(value, list) else []
    if pairs and all(separator for _, separator, _ in pairs):
        return ", ".join(f"{toml.key(name)} = {_quoted(text)}" for name, _, text in pairs)
    named = [item.get("name") for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    if named and all(isinstance(one, str) for one in named):
        return ", ".join(f"{toml.key(str(one))} = {{ ... }}" for one in named)
    if not table:
        return 'name = "value"'
    item = f"[{', '.join(map(_shown, value[:_MOST_ITEMS]))}]" if isinstance(value, list) and value else _shown(value)
    return f"{table[0]} = {item if isinstance(value, (str, list)) else '...'}"


def other_error(name: str, value: Any, detail: Mapping[str, Any]) -> tuple[str, str]:
    """Return message and hint for a value that has the right type."""
    kind, context = str(detail["type"]), detail.get("ctx") or {}
    if kind in ("literal_error", "enum"):
        return wrong_word(name, value, re.findall(r"'([^']*)'|\b(\d+)\b", str(context["expected"])))
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        bound = f"{context[key]:g}" if isinstance(context[key], float) else context[key]
        return f"{name}: must be {words} {bound} (found {describe_value(value)})", f"write a number of {words} {bound}"
    if kind == "too_short":
        least = context["min_length"]
        things = "one item" if least == 1 else f"{least} items"
        return f"{name}: must have at least {things} (found {len(value)})", "add to it"
    if kind == "too_long":
        most = context["max_length"]
        return f"{name}: must have at most {most} items (found {len(value)})", "remove items from it"
    if kind == "string_too_short":
        return f"{name}: must not be empty", "write a text"
    if kind == "string_too_long":
        return f"{name}: too long ({len(value)} characters)", f"write at most {context['max_length']} characters"
    if kind == "string_pattern_mismatch":
        return f"{name}: invalid value {_quoted(value)}", _PATTERNS.get(str(context["pattern"]), "")
    if kind.startswith("date"):
        return (
            f"{name}: must be a date (found {describe_value(value)})",
            "write a date such as 2026-11-20, without quotes",
        )
    return f"{name}: invalid value ({describe_value(value)})", ""


def wrong_word(name: str, value: Any, expected: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return message and hint for a value other than the expected words, which are texts or numbers."""
    words = ["".join(word) for word in expected]
    if len(words) == 1:
        return f"{name}: must be {_quoted(words[0])} (found {describe_value(value)})", f"write {_quoted(words[0])}"
    parts = re.split(r"[\s,;+]+", value.strip()) if isinstance(value, str) else []
    hint = nearest_word(parts[0].lower() if len(parts) > 1 else str(value).lower(), words)
    if isinstance(value, list) and len(value) == 1 and value[0] in words:
        hint = f"write it without brackets: {_quoted(value[0])}"
    if len(parts) > 1 and all(part in words for part in parts):
        hint = f"write one of them, or in a list each as one text: [{', '.join(map(_quoted, parts))}]"
    if not isinstance(value, str):
        return f"{name}: must be one of these words (found {describe_value(value)})", hint
    listed = f" (known: {', '.join(words)})" if hint.startswith("did") and len(words) <= _MOST_WORDS else ""
    return f"{name}: unknown value {_quoted(value)}{listed}", hint


_MOST_WORDS = 12
"""Most words of an enumeration that a message lists."""

_PATTERNS = {NAME: NAME_HINT}
"""Hints by the pattern that a text must match."""


def describe_value(value: Any) -> str:
    """Return the type of a value, and the value if it is short."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f"the text {_quoted(value)}"
        case int() | float():
            return f"the number {value}"
        case datetime.date() | datetime.time():
            return f"the date {value}"
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "a table"
    return "another value"


def article(noun: str) -> str:
    """Return a noun with its article."""
    return f"{'an' if noun[:1] in 'aeio' else 'a'} {noun}"


def _quoted(value: Any) -> str:
    text = str(value)
    return toml.string(text if len(text) <= _LONGEST else text[:_LONGEST] + "...")


def _shown(value: Any) -> str:
    """Return a value as it stands in a file, if it is short."""
    if isinstance(value, (str, bool, int, float)):
        return _quoted(value) if isinstance(value, str) else str(value).lower()
    return str(value) if isinstance(value, datetime.date) else "..."
