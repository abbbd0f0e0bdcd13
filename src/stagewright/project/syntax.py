"""Messages for errors of TOML's syntax: what is wrong in this line, and the edit that corrects it."""

from __future__ import annotations

import re

from stagewright.errors import Reason

_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_PAIR = re.compile(rf"\s*(?:{_KEY}\s*\.\s*)*(?P<key>{_KEY})\s*=\s*(?P<value>.*)")
_UNQUOTED = re.compile(r"[A-Za-z/~.@$*<>=][^\"'\[\]{},=#]*")
_SWITCHES = {"True": "true", "False": "false", "yes": "true", "no": "false", "Yes": "true", "No": "false"}


_NOTHING = ("null", "Null", "NULL", "None", "none", "nil", "undefined")
_CURLY = "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb`"


def explain(prose: str, line: str, column: int, first: str) -> tuple[Reason, str, str]:
    """Return reason, message and hint for the message of a parser. ``first`` says where a name is defined first."""
    lower = prose.lower()
    if re.search(r"overwrite|declare|duplicate|mutate", lower):
        header = re.match(r"\s*\[+([^\]]*)\]", line)
        name = f"[{header[1].strip()}]" if header else (_PAIR.match(line) or {"key": "the key"})["key"]
        message = f"{name} is defined twice{first}"
        return Reason.DUPLICATE_NAME, message, "rename or remove one of the two definitions"
    message, hint = _syntax(prose, lower, line, column)
    return Reason.SYNTAX, message, hint


_INLINE = ("a table in braces is not complete", "write it in one line: { key = value, key = value }")

_NOT_TOML = (
    (
        r"<<<<<<<|=======|>>>>>>>",
        "a merge conflict is not resolved",
        "keep one version, without the lines <<<, === and >>>",
    ),
    (r"\s*\{", "the file is not TOML (found JSON)", "write [NAME], and key = value below it"),
    (rf"\s*{_KEY}\s*:\s*$", "the file is not TOML (found YAML)", "write [NAME], and key = value below it"),
    (r"\s*//|\s*;|\s*--", "not a comment of TOML", "begin comments with #"),
)
"""Patterns for lines of other formats, with messages and hints."""

_MESSAGES = (
    (r"unterminated string|illegal character.*\\n", "a text has no closing quote", 'write " at the end of the text'),
    ("unclosed array", "a list is not complete", "write a comma between the items, and ] at the end"),
    ("inline table", *_INLINE),
    (
        "table declaration",
        "the name of a table is not complete",
        "write it in brackets, alone in its line: [stages.NAME]",
    ),
    (
        "escape|hex value",
        "a backslash in double quotes begins an escape",
        "use single quotes, as in 'a\\b', or write \\\\ for each backslash",
    ),
    ("initial character|invalid statement", "this is neither [table] nor key = value", "write # before a comment"),
    ("date", "not a date", "write a date such as 2026-11-20, or a text in quotes"),
)
"""Messages and hints by a pattern for the message of the parser."""


def _syntax(prose: str, lower: str, line: str, column: int) -> tuple[str, str]:
    """Return message and hint for every error except a name that is defined twice."""
    pair = _PAIR.match(line)
    if other := next(((text, hint) for pattern, text, hint in _NOT_TOML if re.match(pattern, line)), None):
        return other
    if pair and lower == "invalid value" and column <= pair.start("value"):
        return "a list is not complete", "write a comma between the items, and ] at the end"
    if pair and lower == "invalid value":
        return _invalid_value(pair["key"], pair["value"].strip(), line[column - 1 :])
    if "expected '='" in lower:
        return _no_equals(line)
    if "newline or end of document" in lower:
        rest = line[column - 1 :].strip()
        hint = "write each key in a separate line" if "=" in rest else f"remove it, or write # before it: # {rest}"
        return f"text after the end of the value (found {rest!r})", hint
    if "initial character for a key" in lower and re.search(r"\{[^}]*$", line[: column - 1]):
        return _INLINE
    found = next(((text, hint) for pattern, text, hint in _MESSAGES if re.search(pattern, lower)), None)
    return found or (prose[:1].lower() + prose[1:], "see toml.io/en/v1.0.0 for the syntax")


def _invalid_value(key: str, value: str, rest: str) -> tuple[str, str]:
    """Return message and hint for a value that TOML does not have, such as a text without quotes."""
    word = re.split(r"[,\]}#\s]", rest, maxsplit=1)[0]
    if not value:
        return f"{key} has no value", f'write {key} = "..."'
    if word in _NOTHING:
        return f"{key}: unknown value {word}", "remove the line: TOML has no word for nothing"
    if rest.startswith("="):
        return f"{key} is followed by two equals signs", "write one"
    if rest[:1] in _CURLY:
        text = rest.strip("".join(_CURLY) + " ")
        return f"{key}: a text in other quotes (found {rest.strip()})", f'write it in straight quotes: {key} = "{text}"'
    if word in _SWITCHES:
        return f"{key}: unknown value {word}", f"write {_SWITCHES[word]}"
    if re.match(r"[0-9.]+[A-Za-z%]", word) or _UNQUOTED.match(rest):
        whole = value == rest.strip() and _UNQUOTED.fullmatch(value)
        text = value if whole else word
        start = f"{key} = " if whole else ""
        return f"{key}: a text without quotes (found {text})", f'write it in quotes: {start}"{text}"'
    hint = "write a text in quotes, a number, true, false, or a list"
    return f"{key}: not a value of TOML (found {word or rest})", hint


def _no_equals(line: str) -> tuple[str, str]:
    found = re.match(rf"\s*({_KEY})\s*:\s*(.*)", line)
    if found:
        plain = re.fullmatch(r"\[.*\]|\{.*\}|\".*\"|'.*'|[0-9.]+|true|false", found[2].strip())
        value = found[2].strip() if plain else f'"{found[2].strip()}"'
        return "a key is followed by ':' instead of '='", f"write {found[1]} = {value}"
    words = line.split()
    if len(words) > 1:
        return f"no '=' after {words[0]!r}", f"write {words[0]} = ..., or # before a comment"
    return "no '=' after a key", "write key = value, or [table]"
