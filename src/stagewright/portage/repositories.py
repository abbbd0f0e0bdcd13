"""Ebuild repositories and their profiles, read outside of a root (PMS 8, chapters 4 and 5; portage(5)).

One word for each idea: a :class:`stagewright.project.model.Repo` is what a project file says of a repository, a
:class:`Repository` is a repository on disk, a :class:`stagewright.repos.repository_source.RepositorySource` fetches one
into the store.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stagewright.errors import Place, ProblemsError, Reason, StagewrightError, nearest
from stagewright.lazy_dataclass import dataclass
from stagewright.project.source import KeyPath
from stagewright.untrusted import is_dir, is_file, read_text, real

REPOS = "/var/db/repos"


@dataclass(frozen=True)
class Repository:
    """An ebuild repository on disk, under the name that the project gives it."""

    name: str
    path: Path
    main: bool = False
    priority: int = 0
    eclass_overrides: tuple[str, ...] = ()

    @property
    def location(self) -> str:
        """Path of the repository inside a root."""
        return f"{REPOS}/{self.name}"


def main_repository(repos: Sequence[Repository]) -> Repository | None:
    """Return Portage's main repository: the one marked ``main`` in the project, else the first."""
    return next((repo for repo in repos if repo.main), repos[0] if repos else None)


def profile_link(profile: str, repos: Sequence[Repository]) -> str:
    """Return the folder of a profile inside a root.

    Raises ``MISSING_FILE`` if no repository has the profile, ``UNKNOWN_NAME`` without the repository.
    """
    repo, path = _find(profile, repos)
    return f"{repo.location}/profiles/{path}"


def linked_profile(link: Path) -> str | None:
    """Return the target of a link make.profile as ``repository:path``; None if the file is not a link to a profile."""
    target = str(link.readlink()) if link.is_symlink() else ""
    found = re.fullmatch(rf"(?:\.\./)*(?:\.\.)?{REPOS}/([^/]+)/profiles/(.+?)/?", target)
    return f"{found[1]}:{found[2]}" if found else None


def profile_chain(profile: str, repos: Sequence[Repository]) -> tuple[Path, ...]:
    """Return the folders of a profile on disk, each after its parents, in the order in which Portage stacks them.

    Raises ``MISSING_FILE`` if no repository has the profile, ``UNKNOWN_NAME`` without the repository,
    and all errors of its parents at once.
    """
    repo, path = _find(profile, repos)
    return _chain(repo, path, tuple(repos))


def check_profile(
    profile: str | None, confdirs: Sequence[Path], repos: Sequence[Repository]
) -> Iterator[tuple[KeyPath, StagewrightError]]:
    """Yield the errors of a stage's profile (a name, or a link in a confdir), each with the key that it concerns."""
    links = _links(confdirs)
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
        yield (
            (),
            StagewrightError(
                Reason.MISSING_KEY, "profile: missing; a stage that installs packages needs one", hint=hint
            ),
        )


def known_chain(profile: str | None, confdirs: Sequence[Path], repos: Sequence[Repository]) -> tuple[Path, ...]:
    """Return the :func:`profile_chain` of a stage's profile (a name, or a link in a confdir); () if it has errors."""
    chosen = profile or next(filter(None, map(linked_profile, _links(confdirs))), None)
    try:
        return profile_chain(chosen, repos) if chosen else ()
    except (ProblemsError, StagewrightError):
        return ()


def _links(confdirs: Sequence[Path]) -> list[Path]:
    return [folder / "make.profile" for folder in confdirs if os.path.lexists(folder / "make.profile")]


_MOST_PROFILES = 5000
_DEEPEST = 100


@functools.cache
def _chain(repo: Repository, path: str, repos: tuple[Repository, ...]) -> tuple[Path, ...]:
    problems: list[StagewrightError] = []
    folder = real(repo.path / "profiles" / path)
    found = tuple(itertools.islice(_stack(repo, folder, repos, (), problems), _MOST_PROFILES))
    if len(found) == _MOST_PROFILES:
        message, hint = f"profile {path!r} has too many parents (at least {_MOST_PROFILES})", "name another profile"
        problems.append(StagewrightError(Reason.INVALID_VALUE, message, hint=hint))
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
    """Yield a profile after its parents. A parent line is a relative path or ``repository:path``."""
    parents = folder / "parent"
    if is_file(parents) and not _is_inside(real(parents), repos):
        message, hint = f"{parents} leads out of the repository", "replace the link with a file"
        problems.append(StagewrightError(Reason.INVALID_VALUE, message, hint=hint))
        return
    lines = read_text(parents, errors="replace").splitlines() if is_file(parents) else []
    for number, text in enumerate(lines, start=1):
        line = text.partition("#")[0].strip()
        if not line:
            continue
        name, colon, path = line.rpartition(":")
        owner = next((known for known in repos if known.name == name), repo if not name else None)
        above = real(owner.path / "profiles" / path if colon else folder / path) if owner else None
        fits = above is not None and is_dir(above) and _is_inside(above, repos)
        if owner and above and fits and above not in (*below, folder) and len(below) < _DEEPEST:
            yield from _stack(owner, above, repos, (*below, folder), problems)
            continue
        if above in (*below, folder):
            error = StagewrightError(Reason.CYCLE, f"parent profile {line!r}: the profile inherits from itself")
        elif above and is_dir(above) and not _is_inside(above, repos):
            error = StagewrightError(Reason.INVALID_VALUE, f"parent profile {line!r} leads out of the repository")
        elif len(below) >= _DEEPEST:
            error = StagewrightError(Reason.INVALID_VALUE, f"parent profile {line!r}: more than {_DEEPEST} levels")
        else:
            hint = "" if owner else f"add a repository {name!r} to the project, and to the stage"
            error = StagewrightError(Reason.MISSING_FILE, f"parent profile {line!r} not found", hint=hint)
        problems.append(error.at(Place(parents, number)))
    yield folder


def _is_inside(path: Path, repos: Iterable[Repository]) -> bool:
    """Return True if a path without links is below one of the repositories."""
    return any(path.is_relative_to(real(repo.path)) for repo in repos)


def _find(profile: str, repos: Sequence[Repository]) -> tuple[Repository, str]:
    name, _, path = profile.rpartition(":")
    candidates = [repo for repo in repos if repo.name == name or not name]
    for repo in sorted(candidates, key=lambda repo: not repo.main):
        if is_dir(repo.path / "profiles" / path):
            return repo, path
    raise _profile_not_found(path, name, candidates, repos)


def _profile_not_found(
    path: str, name: str, candidates: Sequence[Repository], repos: Sequence[Repository]
) -> StagewrightError:
    reason = Reason.MISSING_FILE if candidates else Reason.UNKNOWN_NAME
    if not repos:
        where, hint = ": this stage has no repositories", "add a repository to the project: [repos.NAME]"
    elif not candidates:
        where, hint = f": this stage has no repository {name!r}", nearest(name, [repo.name for repo in repos])
    else:
        kind = "repository" if len(candidates) == 1 else "repositories"
        where = f" in {kind} {', '.join(repo.name for repo in candidates)}"
        known = [profile for repo in candidates for profile in _profiles(repo)]
        hint = nearest(path, known) if known else "name a folder below profiles/ of the repository"
    return StagewrightError(reason, f"profile {path!r} not found{where}", hint=hint)


def _profiles(repo: Repository) -> Iterator[str]:
    """Yield the profiles that profiles.desc of a repository lists."""
    listing = repo.path / "profiles" / "profiles.desc"
    for line in read_text(listing, errors="replace").splitlines() if is_file(listing) else ():
        words = line.partition("#")[0].split()
        if len(words) > 1:
            yield words[1]


def has_package(package: str, repos: Iterable[Repository]) -> bool:
    """True if one of the repositories has a package, given as category/name."""
    return any(is_dir(repo.path / package) for repo in repos)


def similar_package_hint(package: str, repos: Iterable[Repository]) -> str:
    """Return a hint for a package (category/name) that no repository has: the most similar names.

    A name counts as similar by its letters without case. The category is searched first, then all others.
    """
    category, _, name = package.partition("/")
    repos = list(repos)
    if not repos:
        return "add a repository that has it: [repos.gentoo] with git, squashfs, snapshot or path"
    found = sorted({f"{path.parent.name}/{name}" for repo in repos for path in repo.path.glob(f"*/{name}")})
    if found:
        return f"did you mean {' or '.join(map(repr, found[:3]))}?"
    if not any(is_dir(repo.path / category) for repo in repos):
        return f"no repository has a category {category}"
    for places in (f"{category}/*/", "*-*/*/", "virtual/*/"):
        known = {f"{path.parent.name}/{path.name}" for repo in repos for path in repo.path.glob(places)}
        if hint := _similar(name, known):
            return hint
    return "no package has a similar name: add the repository that has it"


_MOST_NAMES = 300  # the work for each error has a limit, whatever a repository contains


def _similar(name: str, packages: Iterable[str]) -> str:
    """Return a hint with the package whose name is most similar, or "" if none is."""
    import difflib  # noqa: PLC0415  only errors need it

    wanted = name.lower()
    names = {package.partition("/")[2].lower(): package for package in sorted(packages)}
    near = [known for known in names if known[:1] == wanted[:1] and abs(len(known) - len(wanted)) <= 3]
    close = difflib.get_close_matches(wanted, near[:_MOST_NAMES], n=1, cutoff=0.7)
    return f"did you mean {names[close[0]]!r}?" if close else ""
