"""Which ebuilds Portage may install under a profile and a configuration: masks and keywords (portage(5), PMS 5.2).

What cannot be known outside of a root counts as visible: keywords without metadata, and all keywords if a make.conf
reads other files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from stagewright.errors import Place
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.atoms import PackageAtom, parse_atom
from stagewright.portage.config_files import ConfigLine, Variables, files_of, lines_of, read_variables, stacked
from stagewright.portage.ebuilds import Ebuild
from stagewright.portage.repositories import Repository
from stagewright.portage.settings import PortageSettings
from stagewright.untrusted import is_file, read_text

_KEYWORD_FILES = ("package.accept_keywords", "package.keywords")


class AtomLines:
    """Lines of files, each an atom with more words, found by the name of a package."""

    def __init__(self, lines: Iterable[ConfigLine]) -> None:
        """Index lines. A line ``-atom`` removes the earlier lines with this atom; lines without an atom are ignored."""
        kept: dict[str, list[ConfigLine]] = {}
        for line in lines:
            if line.words[0].startswith("-"):
                kept.pop(line.words[0][1:], None)
            else:
                kept.setdefault(line.words[0], []).append(line)
        self._named: dict[str, list[tuple[PackageAtom, ConfigLine]]] = {}
        self._wild: list[tuple[PackageAtom, ConfigLine]] = []
        for text, found in kept.items():
            atom = parse_atom(text)
            if atom:
                group = self._wild if atom.has_wildcard else self._named.setdefault(atom.package, [])
                group.extend((atom, line) for line in found)

    def matching(self, package: str, ebuild: Ebuild, *, unknown: bool = True) -> list[ConfigLine]:
        """Return the lines whose atom matches an ebuild of a package (category/name), as PackageAtom.matches does."""
        group = [*self._wild, *self._named.get(package, ())]
        return [line for atom, line in group if atom.matches(package, ebuild, unknown=unknown)]


@dataclass(frozen=True)
class Mask:
    """The reason why Portage does not install an ebuild, and the line of the mask, or None for keywords."""

    reason: str
    place: Place | None = None


@dataclass(frozen=True)
class Visibility:
    """Masks and keywords of a stage.

    ``chain`` are the folders of its profile, parents first; ``confdirs`` those that become /etc/portage.
    """

    repos: Sequence[Repository]
    chain: Sequence[Path]
    confdirs: Sequence[Path]
    settings: PortageSettings

    def mask(self, package: str, ebuild: Ebuild) -> Mask | None:
        """Return why Portage does not install an ebuild of a package (category/name), or None if it can."""
        masks = self._masks(ebuild.repository).matching(package, ebuild, unknown=False)
        if masks and not self._unmasks.matching(package, ebuild):
            return Mask("package.mask", masks[0].place)
        return self._keyword_mask(package, ebuild)

    def _keyword_mask(self, package: str, ebuild: Ebuild) -> Mask | None:
        if not (ebuild.is_cached and self.arch and self._variables.is_complete):
            return None
        if self._profile_keywords.matching(package, ebuild):  # of package.keywords: other KEYWORDS than the ebuild has
            return None
        lines = self._accepted.matching(package, ebuild)
        more = (line.words[1:] or (f"~{self.arch}",) for line in lines)
        accepted = set(stacked([self.accepted_keywords, *more]))
        if "**" in accepted or any(_fits(keyword, accepted) for keyword in ebuild.keywords):
            return None
        own = sorted(keyword for keyword in ebuild.keywords if keyword.lstrip("~-") == self.arch)
        return Mask(f"keyword {own[0]}" if own else f"no keyword for {self.arch}")

    @cached_property
    def arch(self) -> str:
        """ARCH of the profile, or "" if it is unknown."""
        return self._variables.values.get("ARCH", "")

    @cached_property
    def accepted_keywords(self) -> list[str]:
        """ACCEPT_KEYWORDS of the profile, the confdirs and the settings."""
        conf = [self._variables.words("ACCEPT_KEYWORDS"), self.settings.accept_keywords]
        if "ACCEPT_KEYWORDS" in self.settings.make_conf:
            conf = [self.settings.make_conf["ACCEPT_KEYWORDS"].replace("${ACCEPT_KEYWORDS}", "").split(), *conf]
        return stacked([*self._stacked_words("ACCEPT_KEYWORDS"), *conf])

    @cached_property
    def implicit_flags(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """USE flags that every ebuild has, and their prefixes (PMS 11.1.1, IUSE_EFFECTIVE)."""
        flags = {flag for words in self._stacked_words("IUSE_IMPLICIT") for flag in words}
        expanded = {name for words in self._stacked_words("USE_EXPAND_IMPLICIT") for name in words}
        for name in {name for words in self._stacked_words("USE_EXPAND_UNPREFIXED") for name in words}:
            flags |= {flag for words in self._stacked_words(f"USE_EXPAND_VALUES_{name}") for flag in words}
        return frozenset(flags), tuple(f"{name.lower()}_" for name in sorted(expanded))

    @cached_property
    def provided(self) -> frozenset[str]:
        """Packages of package.provided, which Portage takes as installed: category/name-version."""
        return frozenset(line.words[0] for line in self._profile_lines("package.provided"))

    def _stacked_words(self, name: str) -> list[list[str]]:
        return [variables.words(name) for variables in self._profile_variables]

    @cached_property
    def _profile_variables(self) -> list[Variables]:
        known: dict[str, str] = {}
        found = []
        for folder in self._profiles:
            found.append(read_variables([folder / "make.defaults"], known))
            known.update(found[-1].values)
        return found

    @cached_property
    def _variables(self) -> Variables:
        """Variables of the profile, replaced by those of make.conf. ACCEPT_KEYWORDS has the words of make.conf only."""
        defaults: dict[str, str] = {}
        for found in self._profile_variables:
            defaults.update(found.values)
        defaults.pop("ACCEPT_KEYWORDS", None)
        conf = read_variables([folder / "make.conf" for folder in self.confdirs], defaults)
        return Variables({**defaults, **conf.values}, conf.is_complete)

    @cached_property
    def _profiles(self) -> list[Path]:
        """The folders of the profile, and ``profile`` of the confdirs, which Portage stacks last."""
        return [*self.chain, *(folder / "profile" for folder in self.confdirs)]

    def _profile_lines(self, name: str) -> list[ConfigLine]:
        return [line for folder in self._profiles for line in lines_of(folder / name)]

    def _own_lines(self, name: str) -> list[ConfigLine]:
        """Return the lines of a file of /etc/portage. A confdir replaces files of earlier ones by their names."""
        return [line for path in merged(self.confdirs, name) for line in lines_of(path)]

    @cached_property
    def _unmasks(self) -> AtomLines:
        of_repos = [line for repo in self.repos for line in lines_of(repo.path / "profiles" / "package.unmask")]
        return AtomLines([*of_repos, *self._profile_lines("package.unmask"), *self._own_lines("package.unmask")])

    @cached_property
    def _accepted(self) -> AtomLines:
        own = [line for name in _KEYWORD_FILES for line in self._own_lines(name)]
        return AtomLines([*self._profile_lines("package.accept_keywords"), *own])

    @cached_property
    def _profile_keywords(self) -> AtomLines:
        return AtomLines(self._profile_lines("package.keywords"))

    @cached_property
    def _masks_by_repo(self) -> dict[str, AtomLines]:
        return {}

    def _masks(self, name: str) -> AtomLines:
        """Return the masks for ebuilds of a repository: those of its masters, its own, the profile's, the confdirs'."""
        if name not in self._masks_by_repo:
            of_repos = [
                repo for known in (*masters_of(name, self.repos), name) for repo in self.repos if repo.name == known
            ]
            lines = [line for repo in of_repos for line in lines_of(repo.path / "profiles" / "package.mask")]
            own = self._own_lines("package.mask")
            self._masks_by_repo[name] = AtomLines([*lines, *self._profile_lines("package.mask"), *own])
        return self._masks_by_repo[name]


def merged(confdirs: Iterable[Path], name: str) -> list[Path]:
    """Return the files of a name of /etc/portage. Files of later confdirs replace those of earlier ones."""
    found: dict[str, Path] = {}
    for confdir in confdirs:
        for file in files_of(confdir / name):
            found[str(file.relative_to(confdir))] = file
    return list(found.values())


def masters_of(name: str, repos: Iterable[Repository]) -> list[str]:
    """Return the masters that a repository names in metadata/layout.conf (PMS 4.2)."""
    repo = next((repo for repo in repos if repo.name == name), None)
    layout = repo.path / "metadata" / "layout.conf" if repo else None
    if layout is None or not is_file(layout):
        return []
    for line in read_text(layout, errors="replace").splitlines():
        key, _, value = line.partition("#")[0].partition("=")
        if key.strip() == "masters":
            return value.split()
    return []


def _fits(keyword: str, accepted: Iterable[str]) -> bool:
    """True if a keyword of an ebuild is accepted (portage(5)): ``*`` accepts stable keywords, ``~*`` all."""
    if keyword in accepted:
        return not keyword.startswith("-")
    if keyword.startswith("-"):
        return False
    if keyword in ("*", "~*"):
        return any(word.startswith("~") or keyword == "*" for word in accepted)
    return "~*" in accepted or ("*" in accepted and not keyword.startswith("~"))
