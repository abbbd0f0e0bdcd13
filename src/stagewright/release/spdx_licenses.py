"""SPDX expressions of licences: names of Gentoo and of Debian by ``data/spdx_licenses.toml``, LicenseRef for others."""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from dataclasses import dataclass, field
from importlib import resources

from stagewright.portage.dependency_text import AnyOf, Part, When, parse
from stagewright.release import documents
from stagewright.release.bill import Component

NOASSERTION = "NOASSERTION"

_NOT_IN_REF = re.compile(r"[^A-Za-z0-9.-]+")


@functools.cache
def _names() -> dict[str, str]:
    text = (resources.files(documents) / "data" / "spdx_licenses.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@functools.cache
def _known(name: str) -> str | None:
    """Return the SPDX id with this spelling, or None."""
    from cyclonedx.spdx import is_supported_id  # noqa: PLC0415  only bills need it

    return name if is_supported_id(name) else None


@dataclass
class Licenses:
    """Expressions for one document. ``refs`` are the names of the licences without an SPDX id, by LicenseRef."""

    refs: dict[str, str] = field(default_factory=dict)

    def of(self, component: Component) -> str:
        """Return the expression of a package, or NOASSERTION if its records do not name a licence.

        For a package of Debian, all licences of its copyright file hold; its part of the archive is not a licence.
        """
        if component.kind == "deb":
            found = dict.fromkeys(self._id(name) for name in component.copyrights)
            return _joined(list(found), "AND") or NOASSERTION
        try:
            return self._all(parse(component.license)) or NOASSERTION
        except ValueError:
            return NOASSERTION

    def _all(self, parts: tuple[Part, ...]) -> str:
        return _joined([text for part in parts if (text := self._part(part))], "AND")

    def _part(self, part: Part) -> str:
        if isinstance(part, str):
            return self._id(part)
        if isinstance(part, AnyOf):
            return _joined([text for one in part.parts if (text := self._part(one))], "OR")
        return self._all(part.parts if isinstance(part, When) else part)

    def _id(self, name: str) -> str:
        if found := _names().get(name) or _known(name):
            return found
        plain = _NOT_IN_REF.sub("-", name).strip("-")
        unique = "" if plain == name else f"{plain and '-'}{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        ref = f"LicenseRef-{plain}{unique}"
        self.refs.setdefault(ref, name)
        return ref


def _joined(texts: list[str], operator: str) -> str:
    """Join expressions; those with another operator get parentheses."""
    texts = list(dict.fromkeys(texts))
    if len(texts) == 1:
        return texts[0]
    other = "OR" if operator == "AND" else "AND"
    return f" {operator} ".join(f"({text})" if f" {other} " in text else text for text in texts)
