"""Ebuild repositories and their profiles, read from outside a root (PMS 8, chapters 4 and 5; portage(5))."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stagewright.errors import Place, ProblemsError, Reason, StagewrightError, nearest
from stagewright.project.source import KeyPath

REPOS = "/var/db/repos"


@dataclass(frozen=True)
class Repository:
    """An ebuild repository on disk, under the name the project gives it."""

    name: str
    path: Path
    main: bool = False
    priority: int = 0
    eclass_overrides: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """What the project says of it, as JSON-able data; :meth:`of` reads it back."""
        return {
            **{name: value for name, value in asdict(self).items() if name != "path"},
            "eclass_overrides": [*self.eclass_overrides],
        }

    @classmethod
    def of(cls, path: Path, settings: Mapping[str, Any]) -> Repository:
        """The repository in a folder, with what :attr:`settings` told."""
        return cls(**{**settings, "path": path, "eclass_overrides": tuple(settings["eclass_overrides"])})

    @property
    def location(self) -> str:
        """Where it is bound inside a root."""
        return f"{REPOS}/{self.name}"


def main_of(repos: Sequence[Repository]) -> Repository | None:
    """Portage's main repository: the one that the project calls so, else its first."""
    return next((repo for repo in repos if repo.main), repos[0] if repos else None)


def profile_link(profile: str, repos: Sequence[Repository]) -> str:
    """The folder of a profile inside a root. Raises ``MISSING_FILE`` for one that no repository has."""
    repo, path = _find(profile, repos)
    return f"{repo.location}/profiles/{path}"


def linked_profile(link: Path) -> str | None:
    """The profile to which a link make.profile leads inside a root, as ``repository:path``; None for any other file."""
    target = str(link.readlink()) if link.is_symlink() else ""
    found = re.fullmatch(rf"(?:\.\./)*(?:\.\.)?{REPOS}/([^/]+)/profiles/(.+?)/?", target)
    return f"{found[1]}:{found[2]}" if found else None


def profile_chain(profile: str, repos: Sequence[Repository]) -> tuple[Path, ...]:
    """The folders of a profile on disk, each after its parents, as Portage stacks them.

    Raises ``MISSING_FILE`` for a profile that no repository has, and everything that is wrong with its parents.
    """
    repo, path = _find(profile, repos)
    return _chain(repo, path, tuple(repos))


def check_profile(
    profile: str | None, confdirs: Sequence[Path], repos: Sequence[Repository]
) -> Iterator[tuple[KeyPath, StagewrightError]]:
    """What is wrong with the profile of a stage, given by name or as a link in one of its confdirs: where, and what."""
    links = [folder / "make.profile" for folder in confdirs if os.path.lexists(folder / "make.profile")]
    where = ("profile",) if profile else ("confdir",)
    chosen = profile or next(filter(None, map(linked_profile, links)), None)
    if chosen:
        try:
            profile_chain(chosen, repos)
        except ProblemsError as problems:
            yield from ((where, problem) for problem in problems.problems)
        except StagewrightError as problem:
            yield where, problem
    elif not links:
        hint = 'write profile = "..." with a folder below profiles/ of a repository'
        yield (), StagewrightError(Reason.MISSING_KEY, "a stage that installs packages needs a profile", hint=hint)


@functools.cache
def _chain(repo: Repository, path: str, repos: tuple[Repository, ...]) -> tuple[Path, ...]:
    problems: list[StagewrightError] = []
    found = tuple(_stack(repo, (repo.path / "profiles" / path).resolve(), repos, (), problems))
    if problems:
        raise ProblemsError(problems)
    return found


def _stack(
    repo: Repository,
    folder: Path,
    repos: Sequence[Repository],
    below: tuple[Path, ...],
    problems: list[StagewrightError],
) -> Iterator[Path]:
    """A profile after its parents; a parent line is a relative path, or ``repository:path`` below its profiles."""
    parents = folder / "parent"
    lines = parents.read_text(errors="replace", encoding="utf-8").splitlines() if parents.is_file() else []
    for number, text in enumerate(lines, start=1):
        line = text.partition("#")[0].strip()
        if not line:
            continue
        name, colon, path = line.rpartition(":")
        owner = next((known for known in repos if known.name == name), repo if not name else None)
        above = (owner.path / "profiles" / path if colon else folder / path).resolve() if owner else None
        if owner and above and above.is_dir() and above not in (*below, folder):
            yield from _stack(owner, above, repos, (*below, folder), problems)
            continue
        if above in (*below, folder):
            error = StagewrightError(Reason.CYCLE, f"the profile is its own parent by way of {line!r}")
        else:
            hint = "" if owner else f"add a repository {name!r} to the project, and to the stage"
            error = StagewrightError(Reason.MISSING_FILE, f"there is no parent profile {line!r}", hint=hint)
        problems.append(error.at(Place(parents, number)))
    yield folder


def _find(profile: str, repos: Sequence[Repository]) -> tuple[Repository, str]:
    name, _, path = profile.rpartition(":")
    candidates = [repo for repo in repos if repo.name == name or not name]
    for repo in sorted(candidates, key=lambda repo: not repo.main):
        if (repo.path / "profiles" / path).is_dir():
            return repo, path
    looked = ", ".join(repo.name for repo in candidates) or "no repository"
    known = [name for repo in candidates for name in _profiles(repo)]
    hint = nearest(path, known) if known else "profiles are folders below profiles/"
    raise StagewrightError(Reason.MISSING_FILE, f"there is no profile {path!r} in {looked}", hint=hint)


def _profiles(repo: Repository) -> Iterator[str]:
    """The profiles that a repository offers to people, by its profiles.desc."""
    listing = repo.path / "profiles" / "profiles.desc"
    for line in listing.read_text(errors="replace", encoding="utf-8").splitlines() if listing.is_file() else ():
        words = line.partition("#")[0].split()
        if len(words) > 1:
            yield words[1]


def has_package(package: str, repos: Iterable[Repository]) -> bool:
    """Whether one of the repositories has a package, given as category/name."""
    return any((repo.path / package).is_dir() for repo in repos)


def like_package(package: str, repos: Iterable[Repository]) -> str:
    """A hint at what could have been meant by a package (category/name) that no repository has."""
    category, _, name = package.partition("/")
    repos = list(repos)
    found = sorted({f"{path.parent.name}/{name}" for repo in repos for path in repo.path.glob(f"*/{name}")})
    if found:
        return f"did you mean {' or '.join(map(repr, found[:3]))}?"
    siblings = {f"{category}/{path.name}" for repo in repos for path in (repo.path / category).glob("*/")}
    return nearest(package, siblings) if siblings else f"no repository has a category {category}"
