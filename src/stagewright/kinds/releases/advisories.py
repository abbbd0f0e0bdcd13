"""Gentoo's security advisories (GLSA) about the packages of a release. Portage reads them inside a root of the build.

The advisories are those in ``metadata/glsa`` of the repositories. Snapshots and mirrors of Gentoo's repository have
them, and its git history does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.work import Work
from stagewright.portage.scripts import QUIET
from stagewright.project.fields import NodeRef, marked
from stagewright.project.model import Project
from stagewright.release.notes import Advisories, Advisory, Notes
from stagewright.root.sandbox import Bind
from stagewright.untrusted import is_dir

ROLE = "portage"
"""The role of the root with Portage among the inputs of a release."""

FOLDER = "metadata/glsa"

SCRIPT = "advisories.py"

_REQUEST = "/tmp/request.json"

Installed = tuple[str, str]
"""A package (category/name-version), and its slot."""


class _Found(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    title: str
    severity: str
    packages: list[int]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    advisories: list[_Found]
    unreadable: list[str]


def root_with_portage(project: Project, artifacts: Iterable[str]) -> str | None:
    """Return the name of the first root with Portage below artifacts; None if no repository has advisories."""
    repos = {name: project.repo_path(name) for name in project.repos}
    if not _folders({name: path for name, path in repos.items() if is_dir(path)}):
        return None
    return next((found for name in artifacts for found in _roots(project, name)), None)


def _roots(project: Project, name: str) -> Iterator[str]:
    """Yield the roots that stages start from which use Portage, of a stage and of the stages below it."""
    entry = project.entry(name)
    if entry and entry.table == "stages":
        if isinstance(entry.model, PackageStage) and entry.model.uses_portage:
            yield entry.model.root
        for _, _, below in marked(entry.model, NodeRef):
            yield from _roots(project, below)


def _folders(repos: Mapping[str, Path]) -> list[Path]:
    """Return the folders with advisories in repositories. A link does not count."""
    return [path / FOLDER for _, path in sorted(repos.items()) if _has_advisories(path)]


def _has_advisories(repository: Path) -> bool:
    tree = Tree(repository, links=False)
    return tree.is_dir(FOLDER)


def advisories_of(work: Work[Any], notes: Notes, before: Notes | None, arches: Iterable[str]) -> Advisories | None:
    """Return the advisories about the packages of a release, and those about the release before that are fixed.

    None if no root of the release has Portage, or no repository has advisories.
    """
    folders = _folders(work.node.files.repos)
    if ROLE not in work.inputs or not folders:
        return None
    work.phase("security advisories")
    now, then = _installed(notes), _installed(before) if before else []
    binds = [Bind(folder, f"/tmp/glsa/{number}") for number, folder in enumerate(folders)]
    asked = {"folders": [bind.target for bind in binds], "arches": sorted(set(arches)), "packages": [*now, *then]}
    found = _ask(work, asked, binds)
    for name in found.unreadable:
        work.notice(f"a security advisory that Portage cannot read: {name}")
    still = list(_about(found, now, 0))
    known = {one.id for one in still}
    fixed = [one for one in _about(found, then, len(now)) if one.id not in known]
    return Advisories(fixed=tuple(fixed), open=tuple(still))


def _ask(work: Work[Any], asked: dict[str, Any], binds: Sequence[Bind]) -> _Answer:
    """Return the answer of Portage. Raises: BUILD_FAILED for any other output: the root can be hostile."""
    request = work.folder / "advisories.json"
    request.write_text(json.dumps(asked), encoding="utf-8")
    root = work.mount(ROLE)
    with resources.as_file(resources.files("stagewright.kinds.releases") / "data" / SCRIPT) as source:
        seen = [*binds, Bind(request, _REQUEST), Bind(source, f"/tmp/{SCRIPT}")]
        said = root.run("python3", f"/tmp/{SCRIPT}", _REQUEST, binds=seen, env=QUIET).stdout.splitlines()
    try:
        answer = _Answer.model_validate_json(said[-1] if said else "")
        for one in answer.advisories:
            Advisory(id=one.id, packages=tuple(asked["packages"][number][0] for number in one.packages))
    except (ValidationError, IndexError) as error:
        what = f"{SCRIPT}: the programs of the root gave an unexpected answer"
        hint = "look at Python and Portage of the root: stagewright shell NAME"
        raise StagewrightError(Reason.BUILD_FAILED, what, detail=str(error), hint=hint) from error
    return answer


def _installed(notes: Notes) -> list[Installed]:
    """Return the packages of Portage in a release."""
    packages = (one for artifact in notes.artifacts for one in artifact.packages or () if one.kind == "ebuild")
    return sorted({(f"{one.name}-{one.version}", one.slot.partition("/")[0]) for one in packages})


def _about(answer: _Answer, packages: list[Installed], first: int) -> Iterator[Advisory]:
    """Yield the advisories about packages, which have the numbers from ``first`` on in the answer. By id."""
    for one in sorted(answer.advisories, key=lambda one: one.id):
        named = [packages[number - first][0] for number in one.packages if first <= number < first + len(packages)]
        if named:
            title = " ".join(one.title.split())[:300]
            yield Advisory(id=one.id, title=title, severity=one.severity[:100], packages=tuple(named))
