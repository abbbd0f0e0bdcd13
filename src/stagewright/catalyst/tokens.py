"""Tokens: words like ``@TIMESTAMP@`` that catalyst-auto replaces before Catalyst reads a spec."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from stagewright.catalyst.spec import Spec
from stagewright.errors import Reason, StagewrightError

TOKEN = re.compile(r"@([A-Z][A-Z0-9_]*)@")

STAMP = re.compile(r"(?:@(?:TIMESTAMP|DATESTAMP)@|20\d\d[0-9.]*(?:T\d+Z?)?)")
"""What tells builds of one thing apart: a token that is left standing, or a date."""


def parse_settings(words: Iterable[str]) -> dict[str, str]:
    """The values of ``NAME=VALUE`` words. Raises :class:`StagewrightError` for anything else."""
    found: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            hint = "write --set NAME=VALUE, for example --set TIMESTAMP=20260628T164555Z"
            raise StagewrightError(Reason.USAGE, f"--set {word}: this is no NAME=VALUE", hint=hint)
        if not value or re.search(r'[\s#:%"]', value):
            hint = 'a spec could not hold it: write no blank, #, :, % or "'
            raise StagewrightError(Reason.USAGE, f"--set {name}: {value!r} cannot be a value", hint=hint)
        found[name] = value
    return found


def fill(text: str, values: Mapping[str, str]) -> str:
    """A text with its tokens replaced; those without a value are left standing."""
    return TOKEN.sub(lambda found: values.get(found[1], found[0]), text) if "@" in text else text


def replace_spec_tokens(spec: Spec, values: Mapping[str, str]) -> None:
    """Replace the tokens in all words of a spec, in place. No value holds what would make other words of them."""
    for entry in spec.entries.values() if values else ():
        entry.words = [fill(word, values) for word in entry.words]
