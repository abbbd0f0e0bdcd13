"""Notes about package.use in confdirs: flags that the named packages do not have. Portage ignores them silently."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stagewright.errors import nearest
from stagewright.portage.atom_check import AtomCheck
from stagewright.portage.atoms import parse_atom
from stagewright.portage.config_files import lines_of

_MOST_NOTES = 20


def package_use_notes(shown: str, confdir: Path, check: AtomCheck) -> Iterator[str]:
    """Yield a note for each flag in package.use of a confdir that no matching ebuild has.

    ``shown`` is the path of the confdir in the project. Packages without metadata are left out.
    """
    found = list(_unknown_flags(confdir, check))
    for place, atom, flag, hint in found[:_MOST_NOTES]:
        yield f"{shown}/{place}: {atom} has no USE flag {flag!r}{f'; {hint}' if hint else ''}"
    if len(found) > _MOST_NOTES:
        yield f"{shown}/package.use: {len(found) - _MOST_NOTES} more flags that packages do not have"


def _unknown_flags(confdir: Path, check: AtomCheck) -> Iterator[tuple[str, str, str, str]]:
    """Yield the place of each unknown flag in the confdir, its atom, the flag, and the nearest flag as a hint."""
    for line in lines_of(confdir / "package.use"):
        atom = parse_atom(line.words[0])
        if atom is None or atom.has_wildcard:
            continue
        fitting = [ebuild for ebuild in check.ebuilds(atom.package) if atom.matches(atom.package, ebuild)]
        if not fitting or any(ebuild.flags is None for ebuild in fitting):
            continue
        known = frozenset[str]().union(*(ebuild.flags or () for ebuild in fitting))
        for flag in _flags(line.words[1:]):
            if flag not in known and not check.is_implicit(flag):
                place = f"{line.place.file.relative_to(confdir)}:{line.place.line}"
                yield place, atom.text, flag, nearest(flag, known) if known else ""


def _flags(words: tuple[str, ...]) -> Iterator[str]:
    """Yield the flags that words name. ``NAME:`` is a USE_EXPAND variable, for the words after it (portage(5))."""
    prefix = ""
    for word in words:
        if word.endswith(":"):
            prefix = f"{word[:-1].lower()}_"
        elif not word.endswith("*"):
            yield prefix + word.lstrip("+-")
