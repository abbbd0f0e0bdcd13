"""Requirements that a root does not meet. They are collected, so that all are reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from stagewright.errors import ProblemsError, Reason, StagewrightError, nearest

LISTED = 40
"""Maximum number of known names in a hint, if none is close to the wrong name."""


class MissingRequirement(NamedTuple):
    """One requirement that a root does not meet. ``name`` is the wrong word, and ``known`` the valid ones, for a hint.

    ``permanent`` is True if no package can meet it, so that it can be reported before packages are installed. ``owner``
    is the package that has all names of this sort: if the root has the package, no other one brings a name.
    ``overlay`` has patterns of files that meet the requirement, relative to the root. ``short`` is what is missing, in
    a few words. All fields can be pickled.
    """

    message: str
    hint: str = ""
    name: str = ""
    known: tuple[str, ...] = ()
    permanent: bool = False
    owner: str = ""
    overlay: tuple[str, ...] = ()
    short: str = ""

    @property
    def near(self) -> str:
        """The hint with the valid name that is closest to the wrong one; empty if none is close."""
        found = nearest(self.name, self.known) if self.name else ""
        return found if found.startswith("did you") else ""

    def error(self) -> StagewrightError:
        """Return the error that reports it."""
        near = nearest(self.name, self.known) if self.name else ""
        if near.startswith("known") and len(self.known) > LISTED:
            near = ""
        return StagewrightError(Reason.ENVIRONMENT_LACKS, self.message, hint="; ".join(filter(None, [near, self.hint])))


def raise_if_missing(missing: Iterable[MissingRequirement]) -> None:
    """Raise :class:`ProblemsError` with these requirements, if there are any."""
    errors = [requirement.error() for requirement in dict.fromkeys(missing)]
    if errors:
        raise ProblemsError(errors)


def asked_early(
    missing: Iterable[MissingRequirement], packages: Iterable[str], overlays: Sequence[Path]
) -> tuple[list[MissingRequirement], list[str]]:
    """Return the requirements that installing packages and copying overlays will not meet, and notes about the others.

    ``packages`` are the atoms and sets to install. The first note names what packages must bring.
    """
    named = [atom.partition("[")[0] for atom in packages]
    permanent, awaited, others = [], [], []
    for one in dict.fromkeys(missing):
        if any(next(folder.glob(pattern), None) for folder in overlays for pattern in one.overlay if pattern):
            continue
        brings_owner = any(one.owner in atom or atom.startswith("@") for atom in named)
        if one.permanent or not named:
            permanent.append(one)
        elif one.owner and not brings_owner:
            more = f"or add {one.owner} to `packages`, if a newer version has it"
            permanent.append(one._replace(hint="; ".join(filter(None, [one.hint, more]))))
        elif one.short:
            awaited.append(f"{one.short} ({one.near})" if one.near else one.short)
        else:
            others.append(f"{one.message}; the build fails, unless a package changes this")
    notes = [f"packages must bring what the root does not have yet: {', '.join(awaited)}"] if awaited else []
    return permanent, [*notes, *others]
