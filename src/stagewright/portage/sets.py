"""Names of package sets that emerge knows: Portage's own, those of confdirs, and those of repositories (portage(5))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stagewright.portage.config_files import ConfigLine, files_of, lines_of, stacked
from stagewright.portage.repositories import Repository
from stagewright.untrusted import is_file, read_text

BUILT_IN = frozenset(
    [
        *("changed-deps", "changed-subslot", "deprecated-live-rebuild", "downgrade", "golang-rebuild", "installed"),
        *("live-rebuild", "module-rebuild", "preserved-rebuild", "profile", "rebuilt-binaries", "rust-rebuild"),
        *("security", "selected", "selected-packages", "selected-sets", "system", "unavailable"),
        *("unavailable-binaries", "world", "x11-module-rebuild"),
    ]
)
"""The sets of Portage's own sets.conf."""


def set_lines(name: str, confdirs: Iterable[Path]) -> list[ConfigLine] | None:
    """Return the lines of a set in the folder ``sets`` of a confdir, or None if no confdir has it."""
    files = [confdir / "sets" / name for confdir in confdirs]
    found = [file for file in files if is_file(file)]
    return list(lines_of(found[-1])) if found else None


def set_names(confdirs: Sequence[Path], repos: Iterable[Repository]) -> frozenset[str] | None:
    """Return the names of all sets. None if a sets.conf makes sets whose names only Portage can find out."""
    names = set(BUILT_IN)
    for confdir in confdirs:
        names |= {str(file.relative_to(confdir / "sets")) for file in files_of(confdir / "sets")}
    import configparser  # noqa: PLC0415  few projects name sets

    configs = [confdir / "sets.conf" for confdir in confdirs] + [repo.path / "sets.conf" for repo in repos]
    for file in (file for path in configs for file in files_of(path)):
        parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
        try:
            parser.read_string(read_text(file, errors="replace"))
        except configparser.Error:
            return None
        if any(parser.has_option(section, "multiset") for section in parser.sections()):
            return None
        names |= set(parser.sections())
    return frozenset(names)


def atoms_of(text: str, confdirs: Sequence[Path], chain: Iterable[Path]) -> Iterator[str]:
    """Yield an atom, or the atoms of a @set of a confdir or of @system. ``chain`` are the folders of the profile."""
    waiting, seen = [text], set[str]()
    while waiting:
        word = waiting.pop()
        if not word.startswith("@"):
            yield word
        elif word == "@system":
            words = stacked([[line.words[0] for line in lines_of(folder / "packages")] for folder in chain])
            yield from (one[1:] for one in words if one.startswith("*"))
        elif word not in seen:
            seen.add(word)
            waiting += [line.words[0] for line in set_lines(word[1:], confdirs) or ()]
