"""Catalyst's specs as a project, for ``stagewright catalyst`` and the drop-in command."""

from __future__ import annotations

import io
import os
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stagewright.catalyst.auto import Notice
from stagewright.catalyst.convert.conversion import SpecOutput
from stagewright.catalyst.convert.converter import STAMPS, ConvertedRelease, convert
from stagewright.catalyst.load_release import load
from stagewright.catalyst.release import Release
from stagewright.catalyst.release_graph import ReleaseGraph, make_graph
from stagewright.catalyst.tokens import replace_tokens
from stagewright.dropin.storedir import Layout, Placed
from stagewright.errors import Place, ProblemsError, Reason, StagewrightError
from stagewright.kinds.registry import kinds
from stagewright.project.load import project_from_tables
from stagewright.project.model import Project
from stagewright.repos.repository_cache import RepositoryCache
from stagewright.repos.snapshots import tree_of, unpacked_snapshot
from stagewright.store.place import default_store
from stagewright.store.reading import ReadOnlyStore
from stagewright.store.store import Store

_STOREDIR = "/var/tmp/catalyst"
"""The storedir of the machines that build Gentoo's releases; the paths in their specs begin with it."""


_SETTING = re.compile(r"^[a-z_]+(?:\.[A-Za-z0-9_-]+)*: ")
_FILE = re.compile(r"\bfiles/[^\s'\",:]+")


@dataclass(frozen=True)
class Specs:
    """The specs to read, with configurations, values of tokens, and folders of ebuild repositories by name."""

    files: tuple[Path, ...]
    conf: tuple[Path, ...]
    given: dict[str, str]
    repos: dict[str, Path]


@dataclass
class Loaded:
    """Specs that were read, checked and converted. Their errors are in ``release.problems``.

    ``given`` and ``repos`` are the values of stamps and the folders of repositories that the conversion got.
    """

    release: Release
    graph: ReleaseGraph
    converted: ConvertedRelease
    given: Mapping[str, str] = field(default_factory=dict)
    repos: Mapping[str, Path] = field(default_factory=dict)
    commands: str = ""  # the form of command lines in hints
    left_out: list[StagewrightError] = field(default_factory=list)
    """Errors of the specs that were left out by :meth:`usable`."""
    _looked_at: Project | None = field(default=None, init=False, repr=False)  # the project with missing files

    @property
    def notices(self) -> list[Notice]:
        """Notices, which are not errors, sorted by place."""
        every = {**dict.fromkeys(self.release.notices), **dict.fromkeys(self.converted.notices)}
        return sorted(every, key=lambda notice: notice.place)

    def project(self, *, lenient: bool = False) -> Project:
        """Return the specs as a project. Raises :class:`ProblemsError` with all errors, at the lines of the specs.

        With ``lenient``, missing seeds, snapshots and files are not errors; ``Project.missing`` lists them.
        """
        project = self._looked_at if lenient else None
        if project is None:
            tables, files = self.converted.named(), self.converted.files
            try:
                project = project_from_tables(self.converted.head, tables, files, kinds(), [], lenient=lenient)
            except ProblemsError as error:
                raise ProblemsError(in_words_of_specs(error.problems, self.release, files.elsewhere)) from error
        if lenient:
            self._looked_at = project
        return replace(project, commands=self.commands) if self.commands else project

    def model_problems(self, *, lenient: bool = True) -> list[StagewrightError]:
        """Return the errors of the project, except those of values that the conversion refused already.

        With ``lenient``, missing files are not errors. Media that do not exist for their architecture have no others.
        """
        refused = {problem.place for problem in self.converted.refused}
        try:
            self.project(lenient=lenient)
        except ProblemsError as error:
            return [
                problem
                for problem in error.problems
                if problem.place not in refused
                and not (problem.place and problem.place.file in self.converted.without_media)
            ]
        return []

    def usable(self, *, strict: bool = False, keep_refused: bool = False, to_build: bool = False) -> Loaded:
        """Return the specs without those that have errors, and without all that are built on them.

        Raises all errors if nothing is left, with ``strict`` if there is any, and if one is not about a single spec.
        Specs with refused keys are left out too; with ``keep_refused`` only if no medium exists for their
        architecture. Specs whose seeds and files are missing are left out ``to_build``.
        """
        found = self
        while problems := found._broken(keep_refused=keep_refused and not strict, lenient=not to_build):
            problems += _built_on(found.graph, _files(problems))
            known = {member.spec.file for member in found.release.members}
            left = known - _files(problems)
            if strict or not left or found._general(problems):
                raise ProblemsError([*found.left_out, *problems])
            found = found._without(_files(problems), [*found.left_out, *problems])
        return found

    def _broken(self, *, keep_refused: bool, lenient: bool) -> list[StagewrightError]:
        """Return the errors of specs, of sets and of configurations."""
        media = self.converted.without_media
        refused = [
            error for error in self.converted.refused if not keep_refused or (error.place and error.place.file in media)
        ]
        known = {error.place for error in self.release.problems}
        models = [error for error in self.model_problems(lenient=lenient) if error.place not in known]
        return [*self.release.errors, *self.release.clashes, *models, *refused]

    def _general(self, problems: Iterable[StagewrightError]) -> bool:
        """Return True if an error concerns all specs: a configuration, or the snapshot."""
        specs = {member.spec.file: member.spec for member in self.release.members}
        sets = {error.place for error in self.release.absent}
        return any(
            problem.place not in sets
            and (
                not problem.place
                or problem.place.file not in specs | dict.fromkeys(self.release.unread)
                or (
                    problem.reason is Reason.MISSING_FILE
                    and problem.place.file in specs
                    and problem.place == specs[problem.place.file].place("snapshot_treeish")
                )
            )
            for problem in problems
        )

    def _without(self, files: Collection[Path], left_out: list[StagewrightError]) -> Loaded:
        release = self.release.without(files)
        graph = make_graph(release)
        converted = convert(release, graph, self.given, self.repos)
        return replace(self, release=release, graph=graph, converted=converted, left_out=left_out)

    def complete(self) -> Project:
        """Return the project for a build. Raises all errors, refused values and missing files."""
        problems = [*self.release.errors, *self.release.clashes, *self.converted.refused]
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
    loaded = load_release(specs.files, specs.conf, specs.given, specs.repos, store)
    if store:
        loaded.commands = commands(specs.files, specs.conf, specs.given, specs.repos, store.path)
    return loaded


def commands(
    specs: Sequence[Path], conf: Sequence[Path], given: Mapping[str, str], repos: Mapping[str, Path], store: Path
) -> str:
    """Return the form of command lines that look at a stage of these specs, from any folder."""
    options = [("--conf", str(path.absolute())) for path in conf]
    options += [("--set", f"{name}={value}") for name, value in given.items()]
    options += [("--repo", f"{name}={path.absolute()}") for name, path in repos.items()]
    words = ["stagewright", *(["--store", str(store)] if store != default_store() else []), "catalyst"]
    files = [str(path.absolute()) for path in specs]
    tail = [*files, *(word for option in options for word in option)]
    return f"{shlex.join(words)} {{command}} {{name}} {shlex.join(tail)}"


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
    release.notices += notices
    return Loaded(release, graph, convert(release, graph, given, found), given, found)


def _files(problems: Iterable[StagewrightError]) -> set[Path]:
    return {problem.place.file for problem in problems if problem.place}


def _built_on(graph: ReleaseGraph, files: Collection[Path]) -> list[StagewrightError]:
    """Return an error for each spec whose source is made by a spec in ``files``, directly or by others.

    A source that ends in ``-latest`` is then the newest one of an earlier release, as in catalyst-auto.
    """
    made = {item.name: item for item in graph.results}
    gone = {name for name, item in made.items() if item.member.spec.file in files}
    found = []
    waiting = True
    while waiting:
        waiting = False
        for name, item in made.items():
            lost = [role for role, source in item.inputs.items() if source in gone]
            role = next((role for role in lost if not item.sources[role].endswith("-latest")), None)
            if name in gone or role is None:
                continue
            source = item.inputs[role]
            key = "livecd/cdtar" if role == "medium" else "source_subpath"
            message = f"{key}: {item.sources[role]} is not made, because {made[source].member.spec.file} is left out"
            place, hint = item.member.spec.place(key), "correct the errors of that spec"
            found.append(StagewrightError(Reason.UNKNOWN_NAME, message, place=place, hint=hint))
            gone.add(name)
            waiting = True
    return found


def in_words_of_specs(
    problems: Iterable[StagewrightError], release: Release, files: Mapping[str, Path]
) -> list[StagewrightError]:
    """Return errors of a project with the keys of specs in place of settings, and with the paths of files."""
    keys = {
        entry.word_place(number): entry.key
        for member in release.members
        for entry in member.spec.entries.values()
        for number in range(len(entry.words))
    }
    found = []
    for problem in problems:
        key = keys.get(problem.place) if problem.place else None
        message = _SETTING.sub(f"{key}: ", problem.message, count=1) if key else problem.message
        message = _FILE.sub(lambda match: str(files.get(match[0], match[0])), message)
        found.append(
            StagewrightError(problem.reason, message, place=problem.place, detail=problem.detail, hint=problem.hint)
        )
    return found


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
