"""Tokens like ``@TIMESTAMP@``, which catalyst-auto replaces before Catalyst reads a spec."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from stagewright.catalyst.spec import Spec
from stagewright.errors import Reason, StagewrightError

TOKEN = re.compile(r"@([A-Z][A-Z0-9_]*)@")

STAMP = re.compile(r"(?:@(?:TIMESTAMP|DATESTAMP)@|20\d\d[0-9.]*(?:T\d+Z?)?)")
"""The part of a name that distinguishes builds: a token that was not replaced, or a date."""


def parse_settings(words: Iterable[str]) -> dict[str, str]:
    """Return the values of ``NAME=VALUE`` words. Raises ``USAGE`` for any other word."""
    found: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            hint = "write --set NAME=VALUE, for example --set TIMESTAMP=20260628T164555Z"
            raise StagewrightError(Reason.USAGE, f"--set: must be NAME=VALUE (found {word!r})", hint=hint)
        if not value or re.search(r'[\s#:%"]', value):
            hint = 'write a value without spaces, #, :, % and "'
            raise StagewrightError(Reason.USAGE, f"--set {name}: {value!r} is not valid in specs", hint=hint)
        found[name] = value
    return found


def replace_tokens(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its tokens replaced. Tokens without a value are kept."""
    return TOKEN.sub(lambda found: values.get(found[1], found[0]), text) if "@" in text else text


def replace_spec_tokens(spec: Spec, values: Mapping[str, str]) -> None:
    """Replace the tokens in all words of a spec, in place. Values contain no white space, so words stay words."""
    for entry in spec.entries.values() if values else ():
        entry.words = [replace_tokens(word, values) for word in entry.words]
