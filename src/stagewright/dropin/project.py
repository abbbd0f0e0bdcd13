"""Catalyst's specs as a project, for ``stagewright catalyst`` and the drop-in command."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.catalyst.auto import Notice
from stagewright.catalyst.convert.conversion import SpecOutput
from stagewright.catalyst.convert.converter import STAMPS, ConvertedRelease, convert
from stagewright.catalyst.load_release import load
from stagewright.catalyst.release import Release
from stagewright.catalyst.release_graph import ReleaseGraph
from stagewright.catalyst.tokens import replace_tokens
from stagewright.dropin.storedir import Layout, Placed
from stagewright.errors import Place, ProblemsError, Reason, StagewrightError
from stagewright.kinds.registry import kinds
from stagewright.project.load import project_from_tables
from stagewright.project.model import Project
from stagewright.repos.repository_cache import RepositoryCache
from stagewright.repos.snapshots import tree_of, unpacked_snapshot
from stagewright.store.reading import ReadOnlyStore
from stagewright.store.store import Store

_STOREDIR = "/var/tmp/catalyst"
"""The storedir of the machines that build Gentoo's releases; the paths in their specs begin with it."""


@dataclass(frozen=True)
class Specs:
    """The specs to read, with configurations, values of tokens, and folders of ebuild repositories by name."""

    files: tuple[Path, ...]
    conf: tuple[Path, ...]
    given: dict[str, str]
    repos: dict[str, Path]


@dataclass
class Loaded:
    """Specs that were read, checked and converted. Their errors are in ``release.problems``."""

    release: Release
    graph: ReleaseGraph
    converted: ConvertedRelease

    @property
    def notices(self) -> list[Notice]:
        """Notices, which are not errors, sorted by place."""
        return sorted([*self.release.notices, *self.converted.notices], key=lambda notice: notice.place)

    def project(self, *, lenient: bool = False) -> Project:
        """Return the specs as a project. Raises :class:`ProblemsError` with all errors, at the lines of the specs.

        With ``lenient``, missing seeds, snapshots and files are not errors; ``Project.missing`` lists them.
        """
        tables = self.converted.named()
        return project_from_tables(self.converted.head, tables, self.converted.files, kinds(), [], lenient=lenient)

    def model_problems(self) -> list[StagewrightError]:
        """Return the errors of the project, except missing files and values that the conversion refused already."""
        refused = {problem.place for problem in self.converted.refused}
        try:
            self.project(lenient=True)
        except ProblemsError as error:
            return [problem for problem in error.problems if problem.place not in refused]
        return []

    def to_look_at(self) -> Project:
        """Return the project for display; files may be missing. Raises all other errors and all refused values."""
        wrong = [*self.release.problems, *self.model_problems()]
        if wrong:
            raise ProblemsError([*wrong, *self.converted.refused])
        return self.project(lenient=True)

    def complete(self) -> Project:
        """Return the project for a build. Raises all errors, refused values and missing files."""
        problems = [*self.release.problems, *self.converted.refused]
        known = {problem.place for problem in problems}
        try:
            project = self.project()
        except ProblemsError as error:
            new = [problem for problem in error.problems if problem.place not in known]
            raise ProblemsError([*problems, *new]) from error
        if problems:
            raise ProblemsError(problems)
        return project

    def placed(self, project: Project) -> list[tuple[SpecOutput, Placed]]:
        """Return the published outputs, each with its place in the storedir."""
        found = []
        for output in self.converted.outputs:
            files = Layout.FOLDER if output.path.endswith("/") else Layout.FILE
            layout = Layout.PACKAGES if output.folder else files
            path = Path(replace_tokens(output.path, project.variables))
            if path.is_relative_to(_STOREDIR):
                path = path.relative_to(_STOREDIR)
            found.append((output, Placed(output.entry, project.folder / path, layout)))
        return found


def load_specs(specs: Specs, store: Store | None = None) -> Loaded:
    """Read, check and convert the specs of a command line."""
    return load_release(specs.files, specs.conf, specs.given, specs.repos, store)


def load_release(
    specs: Sequence[Path],
    conf: Sequence[Path],
    given: Mapping[str, str],
    repos: Mapping[str, Path],
    store: Store | None = None,
) -> Loaded:
    """Read specs, check them, and convert them.

    If ``repos`` does not have the main repository, the snapshot in the storedir is unpacked into the store. In a store
    of another user that does not have it, it counts as missing, with a notice.
    """
    now = {name: value for name, value in given.items() if name not in STAMPS}
    release, graph = load(specs, conf, now)
    found, notices = dict(repos), []
    name = release.config.repo_name
    if name not in found and store and (snapshot := _snapshot(release)):
        if unpacked := _unpacked(snapshot, store):
            found[name] = unpacked
        else:
            text = f"not unpacked, because the store {store.path} cannot be written: its packages are not checked"
            notices.append(Notice(Place(snapshot), text))
    converted = convert(release, graph, given, found)
    converted.notices += notices
    return Loaded(release, graph, converted)


def _unpacked(snapshot: Path, store: Store) -> Path | None:
    """Return the folder with the content of a snapshot; None if it is missing in a store that is only read."""
    cache = RepositoryCache.of(store.path)
    if isinstance(store, ReadOnlyStore):
        known = cache.path(tree_of(snapshot))
        if os.access(known, os.R_OK | os.X_OK):
            return known
        try:
            Store(store.path)
        except StagewrightError as error:
            if error.reason is Reason.NOT_ROOT:
                return None
            raise
    return unpacked_snapshot(snapshot, cache, io.StringIO())


def _snapshot(release: Release) -> Path | None:
    """Return the squashfs of the commit that the specs name, if the storedir has it."""
    for treeish in {member.spec.text("snapshot_treeish") for member in release.members}:
        name = f"{release.config.repo_name}-{treeish.replace('/', '-')}.sqfs"
        file = Path(release.config.storedir) / "snapshots" / name
        if treeish and "\0" not in treeish and file.is_file():
            return file
    return None
