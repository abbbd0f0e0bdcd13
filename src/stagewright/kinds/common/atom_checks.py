"""The checks of atoms of a project: one for each stage. Stages with the same repositories share the ebuilds read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from weakref import WeakKeyDictionary

from stagewright.lazy_dataclass import dataclass
from stagewright.portage.atom_check import AtomCheck
from stagewright.portage.ebuilds import Ebuild
from stagewright.portage.repositories import Repository
from stagewright.project.model import Project

Found = dict[str, list[Ebuild]]
"""Ebuilds by package (category/name)."""


@dataclass(frozen=True)
class _Known:
    """Checks of the stages of one project, and the ebuilds that they have read."""

    checks: dict[int, AtomCheck] = field(default_factory=dict)  # by the identity of the stage
    ebuilds: dict[tuple[Repository, ...], Found] = field(default_factory=dict)


_KNOWN: WeakKeyDictionary[Project, _Known] = WeakKeyDictionary()


def atom_check_of(
    project: Project, stage: object, repos: tuple[Repository, ...], make: Callable[[Found], AtomCheck]
) -> AtomCheck:
    """Return the check of a stage, made by ``make`` at the first call for this project.

    A project does not change: it is read again after a change. ``make`` gets the ebuilds that were read from ``repos``
    so far. Its result must hold the stage, whose identity is then not used again.
    """
    known = _KNOWN.setdefault(project, _Known())
    if id(stage) not in known.checks:
        check = make(known.ebuilds.setdefault(repos, {}))
        if check.visibility is None:
            return check  # it does not hold the stage
        known.checks[id(stage)] = check
    return known.checks[id(stage)]
