"""The facts for the notes of a release: from its artifacts, its tests, and the release before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stagewright.errors import ProblemsError, StagewrightError
from stagewright.graph.given import Given
from stagewright.graph.node import NodeFiles
from stagewright.kinds.common.artifact import ArtifactKind
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.work import Work
from stagewright.kinds.releases.advisories import advisories_of
from stagewright.kinds.releases.contents import Contents
from stagewright.project.fields import FolderPath, NodeRef, Section, marked
from stagewright.project.model import Project
from stagewright.release.notes import (
    BootTime,
    Known,
    NotedArtifact,
    Notes,
    Source,
    kernels_of,
    noted_packages,
    seeds_of,
)
from stagewright.release.release_folder import ReleasedArtifact
from stagewright.release.size_limits import check_growth

MILESTONES = ("firmware", "kernel", "initramfs", "switch-root", "login prompt", "shell", "off")
"""The milestones of tests that notes have. Others have the names of patterns and commands of the project."""

WHOLE = ""
"""The name of the release itself among the limits of growth."""


class NotesSettings(Section):
    """Settings of the notes."""

    templates: FolderPath | None = None
    """A folder with `notes.md` or `notes.html`, templates in place of Stagewright's."""


class NotedTest(Given):
    """A test of a release: its name, and what it starts. ``refused`` says what must refuse to start it."""

    name: str
    starts: str = ""
    refused: str = ""


class NotesContext(Given):
    """The part of a release's context for its notes.

    ``tests`` are by role. ``grow`` are limits of growth by the names of stages, in percent. ``arches`` are the
    architectures of the artifacts.
    """

    tests: dict[str, NotedTest] = {}
    differences: tuple[tuple[str, str], ...] = ()
    grow: dict[str, str] = {}
    arches: tuple[str, ...] = ()


def _noted_tests(names: Sequence[str], project: Project) -> dict[str, NotedTest]:
    """Return the tests of a release by role."""
    found = {}
    for number, name in enumerate(names):
        model = project.entries["tests"][name].model
        starts = next((str(value) for _, _, value in marked(model, NodeRef)), "")
        refused = f"firmware {getattr(model, 'firmware', '')}" if getattr(model, "refused", False) else ""
        found[f"tests.{number:03}"] = NotedTest(name=name, starts=starts, refused=refused)
    return found


def notes_context(tests: Sequence[str], artifacts: Sequence[str], own: str | None, scope: Scope) -> NotesContext:
    """Return the tests of a release, the differences that the project knows, and the limits of growth of its artifacts.

    ``own`` is the limit of the release.
    """
    limits = {name: scope.entry(name).model for name in artifacts}
    grow = {name: model.grow for name, model in limits.items() if isinstance(model, ArtifactKind) and model.grow}
    known = scope.project.unreproducible.values()
    return NotesContext(
        tests=_noted_tests(tests, scope.project),
        differences=tuple((", ".join([*one.packages, *one.files]), one.why) for one in known),
        grow={**grow, **({WHOLE: own} if own else {})},
        arches=tuple(sorted({scope.arch(name) for name in artifacts})),
    )


def templates_of(settings: NotesSettings, files: NodeFiles) -> Path | None:
    """Return the folder with the templates of the project."""
    return files.settings[settings.templates] if settings.templates else None


def boot_times(work: Work[Any], tests: Mapping[str, NotedTest]) -> Iterator[BootTime]:
    """Yield the times that tests measured: until the login prompt, or until the end of a test without a login."""
    for role, test in sorted(tests.items()):
        facts = work.meta(role).facts
        if isinstance(facts.get("milestones"), dict) and not test.refused:
            found = {name: float(facts["milestones"][name]) for name in MILESTONES if name in facts["milestones"]}
            seconds = found.get("login prompt", float(facts["seconds"]))
            milestones = {name: round(value, 1) for name, value in found.items()}
            yield BootTime(test=test.name, starts=test.starts, seconds=round(seconds, 1), milestones=milestones)


def refusals(tests: Mapping[str, NotedTest]) -> Iterator[Known]:
    """Yield what tests showed that it does not start."""
    for _, test in sorted(tests.items()):
        if test.refused:
            yield Known(name=test.starts, text=f"{test.refused} refuses to start it (test {test.name})")


def noted_artifacts(contents: Sequence[Contents], released: Sequence[ReleasedArtifact]) -> Iterator[NotedArtifact]:
    """Yield the artifacts with their packages."""
    for one, artifact in zip(contents, released, strict=True):
        yield NotedArtifact(
            stage=artifact.stage,
            kind=artifact.kind,
            name=artifact.file or f"{artifact.folder}/",
            size=artifact.size,
            packages=noted_packages(one.bill) if one.bill else None,
        )


def notes_of(
    work: Work[Any],
    contents: Sequence[Contents],
    released: Sequence[ReleasedArtifact],
    before: Notes | None,
    digest: str,
) -> Notes:
    """Return the notes of a release. ``before`` are those of the release before, with the digest of their file.

    Raises: TOO_LARGE if an artifact grew more than its limit.
    """
    context = work.context
    noted, source = context.notes, context.origins.source
    notes = Notes(
        project=context.project.name,
        release=context.release,
        version=context.version,
        date=work.epoch,
        source=Source(url=source.url, commit=source.commit, changed=source.changed) if source else None,
        artifacts=tuple(noted_artifacts(contents, released)),
        seeds=seeds_of(one.manifest for one in contents if one.manifest),
        kernels=kernels_of(one.bill for one in contents if one.bill),
        boots=tuple(boot_times(work, noted.tests)),
        refusals=tuple(refusals(noted.tests)),
        differences=tuple(Known(name=name, text=text) for name, text in noted.differences),
    )
    if before:
        check_growths(notes, before, noted.grow)
    advisories = advisories_of(work, notes, before, noted.arches)
    return notes.since(before, digest).model_copy(update={"advisories": advisories})


def check_growths(notes: Notes, before: Notes, grow: Mapping[str, str]) -> None:
    """Check the growth of all artifacts, and that of the release. Raises: TOO_LARGE for each that grew too much."""
    old = {one.stage: one for one in before.artifacts} | {WHOLE: _whole(before)}
    new = {one.stage: one for one in notes.artifacts} | {WHOLE: _whole(notes)}
    problems: list[StagewrightError] = []
    for stage, limit in grow.items():
        if stage in old:
            try:
                check_growth(old[stage], new[stage], before.version, limit)
            except StagewrightError as error:
                problems.append(error)
    if problems:
        raise problems[0] if len(problems) == 1 else ProblemsError(problems)


def _whole(notes: Notes) -> NotedArtifact:
    """Return all artifacts of a release as one."""
    size = sum(one.size for one in notes.artifacts)
    packages = tuple(notes.packages())
    return NotedArtifact(stage=notes.identity, kind="release", name=notes.version, size=size, packages=packages)
