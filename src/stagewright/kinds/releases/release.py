"""release: the files of several artifacts as one version, with digests, signatures and a pointer to it.

Inputs: artifacts, and tests that must pass. The result is a folder of the version with hard links to the files of all
artifacts, and the clear-signed ``latest-<name>.txt`` of Gentoo's mirrors next to it (``release/release_folder.py``).
Signing happens on this computer, outside of all roots.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.given import NotInKey
from stagewright.graph.node import Node, NodeFiles
from stagewright.kinds.common.artifact import ArtifactKind, FileArtifactKind
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import ArtifactContext, ReleasedContext
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.tools import GNUPG, MINISIGN, SANDBOX
from stagewright.kinds.common.work import Built, Work
from stagewright.kinds.releases.contents import (
    Contents,
    check_channel,
    write_documents,
    write_license_texts,
    write_sources,
)
from stagewright.kinds.releases.early import certain_refusals
from stagewright.kinds.releases.origins import below, files_read, making_of, provenance_name
from stagewright.project.fields import FilesRef, FolderPath, Matching, Ref, TestRef
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.release.artifact_digests import FileDigests
from stagewright.release.channel import ChannelRules, channel_rules
from stagewright.release.keep import Keep
from stagewright.release.license_texts import FOLDER as LICENSES
from stagewright.release.pointer import Pointer, pointer_name
from stagewright.release.provenance import Origins, origins_of, write_provenance
from stagewright.release.release_folder import (
    DESCRIPTION,
    LISTS,
    Description,
    ReleasedArtifact,
    digest_file,
    link_files,
    sizes_of,
    write_lists,
    write_text,
)
from stagewright.release.signing import ReleaseSigning
from stagewright.release.sources import FOLDER as SOURCES
from stagewright.release.sources import PATCHES, SourcePlaces
from stagewright.release.subject import Subject
from stagewright.root import files
from stagewright.untrusted import is_dir

DAY = 86400

WebAddress = Annotated[
    str, Matching(r"https?://[^\s/@\"\\]+(/[^\s@\"\\]*)?", "http:// or https://, without a password")
]
"""An address on the web."""


class ReleaseContext(ReleasedContext):
    """Context of a release: its name, and the place of each artifact in it.

    ``files`` has the main file of each artifact, by role; "" for a folder. ``stages`` has the names of the artifacts.
    """

    release: str
    stages: dict[str, str]
    files: dict[str, str]
    channel: ChannelRules | None = None
    origins: Origins = Origins()
    mirrors: Annotated[tuple[str, ...], NotInKey()] = ()
    distfolder: Annotated[Path | None, NotInKey()] = None

    @property
    def version(self) -> str:
        """The version of the project. It has a mark if others must not get the release."""
        return self.project.version + (self.channel.file_mark if self.channel else "")


class ReleaseFacts(Facts):
    """Facts of a release: number and size of its files."""

    version: str
    files: int
    bytes: int


class Release(ArtifactKind, kind="release", table="releases"):
    """An entry of ``[releases]``."""

    context_model = ReleaseContext
    facts_model = ReleaseFacts
    optional_tools = (GNUPG, MINISIGN, SANDBOX)

    artifacts: Annotated[list[FilesRef], Field(min_length=1)]
    """The stages whose files are released: images, tarballs, sets for network boot, binary packages."""
    tests: list[TestRef] = []
    """Tests that must pass before there is a release."""
    channel: Annotated[str, Ref(("channels",))] | None = None
    """The channel of the release. One that is not distributable marks the release."""
    sources: bool = False
    """Add the source files, patches and ebuilds of all packages, in the folder `sources`. Missing files are fetched."""
    without_sources: list[str] = Field(default=[], exclude_if=lambda names: not names)
    """Packages whose sources may be missing: `category/name`, `deb:name` for those of Debian, or patterns like
    `deb:*`."""
    sign: ReleaseSigning | None = None
    """Sign the digests of all files."""
    valid: Annotated[int, Field(ge=1, le=3650)] | None = None
    """The number of days after the date of the release for which `latest-NAME.txt` is valid; default: forever. It
    limits how long a mirror can hold back a newer version."""

    keep: Annotated[Keep, NotInKey()] = Keep()
    """The versions that stay published, as in `{ last = 4, monthly = 12 }`; default: all."""
    url: Annotated[WebAddress | None, NotInKey()] = None
    """The address where users find the release on the web: for the feed and the entries for netboot.xyz."""
    templates: Annotated[FolderPath | None, NotInKey()] = None
    """A folder with templates for the pages of the published release, in place of Stagewright's."""

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that each artifact is for users, named once, and not refused by the channel for certain."""
        for number, name in enumerate(self.artifacts):
            entry = project.entries["stages"].get(name)
            if entry and not isinstance(entry.model, ArtifactKind):
                problem = f"artifacts.{number}: {name!r} is not for users (kind {entry.kind})"
                hint = "name an image, a tarball or another stage with files in out/"
                yield ("artifacts", number), StagewrightError(Reason.INVALID_VALUE, problem, hint=hint)
            if name in self.artifacts[:number]:
                problem = f"artifacts.{number}: {name!r} is named twice"
                yield (
                    ("artifacts", number),
                    StagewrightError(Reason.DUPLICATE_NAME, problem, hint="remove one of them"),
                )

        yield from self._shared(project)
        yield from self._refused(project)

    def _shared(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Yield an error for each artifact that a release of a distributable channel has, too: it has a mark."""
        channels = project.channels
        own = channels.get(self.channel or "")
        if not own or own.distributable:
            return
        for name, entry in project.entries.get("releases", {}).items():
            other = entry.model
            channel = channels.get(other.channel or "") if isinstance(other, Release) else None
            if not isinstance(other, Release) or not channel or not channel.distributable:
                continue
            for number, artifact in enumerate(self.artifacts):
                if artifact in other.artifacts:
                    message = f"artifacts.{number}: {artifact!r} is also in release {name!r} of a distributable channel"
                    hint = "add a second stage for one of the releases, with `extends`"
                    error = StagewrightError(Reason.INVALID_VALUE, message, hint=hint)
                    yield ("artifacts", number), error

    def _refused(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Yield what the channel refuses for certain, once all repositories are fetched."""
        known = self.channel in project.channels and all(is_dir(project.repo_path(name)) for name in project.repos)
        if not self.channel or not known:
            return
        try:
            rules = channel_rules(project, self.channel)
        except StagewrightError as error:
            yield ("channel",), error
            return
        for number, name in enumerate(self.artifacts):
            yield from ((("artifacts", number), error) for error in certain_refusals(project, name, rules))

    def needed_variables(self) -> Sequence[str]:
        """Return the names of the environment variables that signing needs."""
        return self.sign.needed_variables() if self.sign else ()

    def missing(self) -> Iterator[StagewrightError]:
        """Yield an error for each secret that this computer does not have."""
        yield from self.sign.missing() if self.sign else ()

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node, with the programs that sign."""
        node = super().node(node_id, scope)
        sign = self.sign or ReleaseSigning()
        signs = [*([GNUPG] if sign.openpgp else []), *([MINISIGN] if sign.minisign else [])]
        sandbox = sign.minisign or (sign.openpgp and sign.openpgp.secret)
        tools = [*signs, *([SANDBOX] if sandbox else [])]
        return replace(node, tools=(*node.tools, *(tool.program for tool in tools)))

    def _patches(self, scope: Scope) -> dict[str, Path]:
        """Return the folders of patches for packages of the stages that are released, by their paths in the project."""
        nodes = (scope.nodes[name] for name in below(scope, self.node_inputs(scope).values()))
        names = {f"{name}/{PATCHES}" for node in nodes for name in getattr(node.settings, "confdir", ())}
        return {name: path for name in sorted(names) if is_dir(path := scope.project.path(name))}

    def node_context(self, node_id: str, scope: Scope) -> ReleaseContext:
        """Return the name of the release, and the place of each artifact in it."""
        stages = {f"artifacts.{number:03}": name for number, name in enumerate(self.artifacts)}
        files = {role: _file(name, scope) for role, name in stages.items()}
        _, _, release = node_id.partition(":")
        project, distfolder = scope.project, scope.project.distfiles.folder
        return ReleaseContext(
            source_date_epoch=scope.project.epoch,
            project=scope.version,
            release=release,
            stages=stages,
            files=files,
            channel=self._channel(scope.project),
            origins=origins_of(project, files_read(scope, self.node_inputs(scope).values())),
            mirrors=tuple(project.distfiles.mirrors),
            distfolder=project.folder / Path(distfolder).expanduser() if distfolder else None,
        )

    def node_files(self, scope: Scope) -> NodeFiles:
        """Return the repositories, which have the texts of licences, licence groups and patches."""
        project = scope.project
        repos = {name: project.repo_path(name) for name in project.repos}
        files = super().node_files(scope)
        patches = self._patches(scope) if self.sources else {}
        return files.model_copy(update={"repos": repos, "settings": files.settings | patches})

    def _channel(self, project: Project) -> ChannelRules | None:
        """Return the rules of the channel. Groups of licences are known when all repositories are fetched."""
        if self.channel is None:
            return None
        if all(is_dir(project.repo_path(name)) for name in project.repos):
            return channel_rules(project, self.channel)
        channel = project.channels[self.channel]
        return ChannelRules(name=self.channel, distributable=channel.distributable, accept=channel.accepted)

    def build(self, work: Work[ReleaseContext]) -> Built:
        """Link the files, and write the description, the digests, the pointer and the signatures."""
        work.phase("assemble")
        tree = work.new_folder("tree")
        version = work.context.version
        folder = tree / version
        folder.mkdir()
        contents = self._contents(work)
        if work.context.channel:
            check_channel(work.context.channel, contents)
        description, known = self._describe(work, folder, contents)
        write_text(folder / DESCRIPTION, description.text(), work.epoch)
        work.phase("digests")
        sums = write_lists(folder, work.epoch, known)
        pointer = self._pointer(description, sums)
        name = pointer_name(work.context.release)
        write_text(tree / name, pointer.text(), work.epoch)
        if self.sign:
            work.phase("sign")
            comment = f"{description.identity} {version}"
            detached = [f"{version}/{file}" for file in LISTS]
            self.sign.sign(tree, detached, name, comment, work.folder / "signing")
        files = description.files
        return Built(tree, ReleaseFacts(version=version, files=len(files), bytes=sum(files.values())))

    def _contents(self, work: Work[ReleaseContext]) -> list[Contents]:
        """Return the contents of all artifacts."""
        context = work.context
        places = {role: "" if context.files[role] else stage for role, stage in context.stages.items()}
        return [Contents.of(stage, work.artifact(role), places[role]) for role, stage in context.stages.items()]

    def _document(self, work: Work[ReleaseContext], folder: Path, contents: Sequence[Contents]) -> None:
        """Write the bills, the texts of licences, and the sources if they are asked for."""
        context, repos = work.context, work.node.files.repos
        release = Subject(context.release, context.project.name, context.version, work.key.digest, work.epoch, {})
        written = write_documents(contents, release, folder)
        missing = write_license_texts(contents, repos.values(), folder)
        if missing:
            work.notice(f"licences without a text in the repositories: {', '.join(missing)}")
        if self.sources:
            work.phase("sources")
            for one in write_sources(contents, self._source_places(work), folder, self.without_sources):
                work.notice(f"sources: {one}")
            work.phase("assemble")
        for path in written:
            os.utime(path, (work.epoch, work.epoch))
        for path in (folder / LICENSES, folder / SOURCES):
            if path.exists():
                files.set_new_times(path, work.epoch)

    def _source_places(self, work: Work[ReleaseContext]) -> SourcePlaces:
        """Return where the sources of packages are."""
        return SourcePlaces(
            distfiles=work.store.cache("distfiles"),
            scratch=work.folder / "distfiles",
            repositories=work.node.files.repos,
            trees=work.key.data["repos"],
            patches=[path for path in work.files.values() if path.name == PATCHES and is_dir(path)],
            mirrors=work.context.mirrors,
            folder=work.context.distfolder,
        )

    def _describe(
        self, work: Work[ReleaseContext], folder: Path, contents: Sequence[Contents]
    ) -> tuple[Description, dict[str, FileDigests]]:
        """Fill the folder of a release. Return the description, and the digests of the files of all artifacts."""
        context, artifacts, known = work.context, [], dict[str, FileDigests]()
        for role in context.stages:
            artifact, found = _add(work, role, folder)
            artifacts.append(artifact)
            known |= found
        self._document(work, folder, contents)
        description = Description(
            project={**context.project.model_dump(), "source_date_epoch": work.epoch},
            release=context.release,
            version=context.version,
            date=work.epoch,
            artifacts=artifacts,
            files=sizes_of(folder),
            channel=context.channel.to_dict() if context.channel else None,
        )
        return description, known

    def _pointer(self, description: Description, sums: str) -> Pointer:
        """Return the pointer to the release. It lists the main files, and all files of folders."""
        version = description.version
        folders = tuple(f"{one.folder}/" for one in description.artifacts if one.folder)
        main = {one.file for one in description.artifacts}
        return Pointer(
            release=description.identity,
            version=version,
            time=description.date,
            sums=sums,
            expires=description.date + self.valid * DAY if self.valid else None,
            files={
                f"{version}/{name}": size
                for name, size in description.files.items()
                if name in main or (folders and name.startswith(folders))
            },
        )


def _add(work: Work[ReleaseContext], role: str, folder: Path) -> tuple[ReleasedArtifact, dict[str, FileDigests]]:
    """Link the files of an artifact into the folder of a release, and write its provenance.

    Return its entry in the description, and the digests of its files by path.
    """
    stage, file, meta = work.context.stages[role], work.context.files[role], work.meta(role)
    links = link_files(work.artifact(role), folder, "" if file else stage)
    found = [digest_file(folder, name) for name in links]
    known = {one.file: one for one in found}
    provenance = folder / provenance_name(file, stage)
    write_provenance(making_of(work, role), found, work.context.origins, provenance)
    os.utime(provenance, (work.epoch, work.epoch))
    size = known[file].size if file else sum(one.size for one in found)
    place = {"file": file} if file else {"folder": stage}
    path = str(provenance.relative_to(folder))
    return ReleasedArtifact(stage, meta.kind, meta.key, size, **place, provenance=path), known


def _file(name: str, scope: Scope) -> str:
    """Return the name of the main file of an artifact; "" if it is a folder."""
    model = scope.entry(name).model
    if not isinstance(model, FileArtifactKind):
        return ""
    context = model.node_context(name, scope)
    assert isinstance(context, ArtifactContext)
    return context.file_name
