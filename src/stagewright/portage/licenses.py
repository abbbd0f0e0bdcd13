"""Licences of packages: groups of the tree, ACCEPT_LICENSE, and what a LICENSE lacks to be accepted.

The rules are those of Portage (``portage.package.ebuild._config.LicenseManager``); a test compares both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.portage.dependency_text import EMPTY_ANY_OF, Part, When, parse, reduced, words_of

GROUPS = "profiles/license_groups"

DEBIAN = {
    "FREE": ("debian-main", "debian-contrib"),
    "BINARY-REDISTRIBUTABLE": ("debian-non-free-firmware",),
}
"""Licences of Debian's packages that count as members of Gentoo's groups, if the tree has these groups."""

NO_LICENSE = "no-license"
"""The licence of a package that names none."""


def license_groups(repositories: Iterable[Path]) -> dict[str, tuple[str, ...]]:
    """Return the members of the licence groups of repositories, by name. Groups of one name are joined."""
    found: dict[str, list[str]] = {}
    for repository in repositories:
        try:
            text = Tree(repository).text(GROUPS, errors="replace")
        except FileNotFoundError:
            continue
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if words:
                found.setdefault(words[0], []).extend(words[1:])
    for name, licenses in DEBIAN.items():
        if name in found:
            found[name].extend(licenses)
    return {name: tuple(dict.fromkeys(members)) for name, members in found.items()}


def expand(words: Sequence[str], groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the words of ACCEPT_LICENSE without groups. Raises: UNKNOWN_NAME if a group is not in ``groups``."""
    found: list[str] = []
    for word in words:
        sign, name = ("-", word[1:]) if word.startswith("-") else ("", word)
        if name.startswith("@"):
            members = dict.fromkeys(_members(name[1:], groups, set()))
            found.extend(f"{sign}{member}" for member in members)
        else:
            found.append(word)
    return tuple(found)


def _members(name: str, groups: Mapping[str, Sequence[str]], above: set[str]) -> Iterable[str]:
    if name not in groups:
        message = f"licence group @{name} not found in {GROUPS} of the repositories"
        hint = nearest(name, groups) if groups else "name the licences, or add a repository with this file"
        raise StagewrightError(Reason.UNKNOWN_NAME, message, hint=hint)
    for member in groups[name]:
        if not member.startswith("@"):
            yield from [member] if not member.startswith("-") else []
        elif member[1:] not in {*above, name}:
            yield from _members(member[1:], groups, {*above, name})


@dataclass(frozen=True)
class Accepted:
    """An ACCEPT_LICENSE without groups, see :func:`expand`. The last word that fits a licence decides."""

    words: Sequence[str]
    _known: dict[str, bool] = field(default_factory=dict, compare=False)

    def accepts(self, name: str) -> bool:
        """Return True if a licence is accepted."""
        if name not in self._known:
            fitting = [word for word in self.words if word.removeprefix("-") in (name, "*")]
            self._known[name] = name != EMPTY_ANY_OF and bool(fitting) and not fitting[-1].startswith("-")
        return self._known[name]

    def missing(self, text: str, use: Collection[str] | None = None) -> list[str]:
        """Return the licences that a LICENSE requires and that are not accepted; empty if it is accepted.

        If ``use`` is None, only what holds with all USE flags is required. Of alternatives, all are returned if none
        is accepted. A text that cannot be parsed is a licence that is not accepted.
        """
        try:
            parts = parse(text)
        except ValueError:
            return [] if self.accepts(text) else [text]
        if use is not None:
            parts = reduced(parts, use)
        if not any(True for _ in words_of(parts)):
            return [] if self.accepts(NO_LICENSE) else [NO_LICENSE]
        return list(dict.fromkeys(self._missing(parts)))

    def _missing(self, parts: Iterable[Part]) -> list[str]:
        return [name for part in parts for name in self._of_part(part)]

    def _of_part(self, part: Part) -> list[str]:
        if isinstance(part, When):
            return []
        if isinstance(part, str):
            return [] if self.accepts(part) else [part]
        if isinstance(part, tuple):
            return self._missing(part)
        ways = [self._of_part(way) for way in part.parts]
        return [] if not all(ways) else [name for way in ways for name in way]
