"""release: the files of several artifacts as one version, with digests, signatures and a pointer to it.

Inputs: artifacts, and tests that must pass. The result is a folder of the version with hard links to the files of all
artifacts, and the clear-signed ``latest-<name>.txt`` of Gentoo's mirrors next to it (``release/release_folder.py``).
Signing happens on this computer, outside of all roots.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.given import NotInKey
from stagewright.graph.node import Graph, Node, NodeFiles
from stagewright.kinds.common.artifact import ArtifactKind, FileArtifactKind
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import ArtifactContext
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.tools import GNUPG, MINISIGN, SANDBOX
from stagewright.kinds.common.work import Built, Work
from stagewright.kinds.releases.added_artifact import add_artifact
from stagewright.kinds.releases.advisories import ROLE, root_with_portage
from stagewright.kinds.releases.bill import bill_inputs, bill_nodes, copyrights_of, file_lists_of, read_bills
from stagewright.kinds.releases.contents import (
    Contents,
    check_channel,
    write_documents,
    write_file_lists,
    write_license_texts,
    write_sources,
)
from stagewright.kinds.releases.early import certain_refusals
from stagewright.kinds.releases.noted import (
    NotesSettings,
    notes_context,
    notes_of,
    templates_of,
)
from stagewright.kinds.releases.origins import files_read
from stagewright.kinds.releases.previous import PreviousPin, PreviousRelease, pinned, previous_pin, previous_release
from stagewright.kinds.releases.release_context import ReleaseContext
from stagewright.kinds.releases.source_places import patches_of, source_places
from stagewright.project.fields import FilesRef, FolderPath, Matching, Ref, TestRef
from stagewright.project.lock import Pin
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.release import cyclonedx, spdx
from stagewright.release.artifact_digests import FileDigests
from stagewright.release.channel import ChannelRules, channel_rules
from stagewright.release.keep import Keep
from stagewright.release.license_texts import FOLDER as LICENSES
from stagewright.release.notes_files import write_notes
from stagewright.release.pointer import Pointer, pointer_name
from stagewright.release.provenance import origins_of
from stagewright.release.release_folder import (
    DESCRIPTION,
    FEED,
    LISTS,
    Description,
    ReleasedArtifact,
    sizes_of,
    write_lists,
    write_text,
)
from stagewright.release.signing import DETACHED, FEED_SIGNED, ReleaseSigning
from stagewright.release.sources import FOLDER as SOURCES
from stagewright.release.subject import Subject
from stagewright.root import files
from stagewright.untrusted import is_dir

DAY = 86400

WebAddress = Annotated[
    str, Matching(r"https?://[^\s/@\"\\]+(/[^\s@\"\\]*)?", "http:// or https://, without a password")
]
"""An address on the web."""

Published = Annotated[
    str,
    Matching(r"https?://[^\s/@\"\\]+(/[^\s@\"\\]*)?|(?!.*://).+", "a folder, or an address with http:// or https://"),
]
"""A folder, or an address on the web."""


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
    """Add the source files, patches and ebuilds of all packages, in the folder `sources`. Missing ones are an error."""
    sources_elsewhere: list[Annotated[str, Matching(r"\S+/\S+", "a pattern such as dev-lang/* or debian/*")]] = []
    """Packages whose sources users get elsewhere, as patterns of category/name, or of `debian/NAME`."""
    file_lists: bool = False
    """Add a list of all files of each artifact, with the package of each file: `ARTIFACT.files.gz`."""
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
    previous: Annotated[Published | None, NotInKey()] = None
    """The folder or web address with earlier versions of the release. The lock pins the newest one: the notes say what
    changed since then, and `grow` limits growth."""
    notes: NotesSettings = NotesSettings()
    """Settings of the notes, which are part of every release: `templates`."""

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that each artifact is for users, named once, and not refused by the channel for certain."""
        for number, name in enumerate(self.artifacts):
            entry = project.entries["stages"].get(name)
            if entry and not isinstance(entry.model, ArtifactKind):
                problem = f"artifacts.{number}: {name!r} is not for users (kind {entry.kind})"
                hint = "name an image, a tarball or another stage with files in out/"
                yield ("artifacts", number), StagewrightError(Reason.INVALID_VALUE, problem, hint=hint)
            if entry and entry.kind == FEED and not (self.sign and self.sign.openpgp):
                problem = f"artifacts.{number}: {name!r} is a feed of updates, which needs a signature by OpenPGP"
                hint = "add sign.openpgp.key, the fingerprint of your key"
                yield ("artifacts", number), StagewrightError(Reason.MISSING_KEY, problem, hint=hint)
            if name in self.artifacts[:number]:
                problem = f"artifacts.{number}: {name!r} is named twice"
                yield (
                    ("artifacts", number),
                    StagewrightError(Reason.DUPLICATE_NAME, problem, hint="remove one of them"),
                )

        if self.grow and not self.previous:
            hint = "set `previous` to the folder or address where the release is published"
            error = StagewrightError(Reason.MISSING_KEY, "grow: it needs `previous`", hint=hint)
            yield ("grow",), error
        yield from self._shared(project)

    def _shared(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Yield an error for each artifact that a release for others has, too: it has a mark."""
        channels = project.channels
        own = channels.get(self.channel or "")
        if not own or own.distributable:
            return
        for name, entry in project.entries.get("releases", {}).items():
            other = entry.model
            channel = channels.get(other.channel or "") if isinstance(other, Release) else None
            if not isinstance(other, Release) or (channel and not channel.distributable):
                continue
            for number, artifact in enumerate(self.artifacts):
                if artifact in other.artifacts:
                    message = f"artifacts.{number}: {artifact!r} is also in release {name!r}, which others may get"
                    hint = "add a second stage for one of the releases, with `extends`"
                    error = StagewrightError(Reason.INVALID_VALUE, message, hint=hint)
                    yield ("artifacts", number), error

    def before_build(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
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

    def is_pinned(self) -> bool:
        """Return True if the release before is known by its place."""
        return self.previous is not None

    def pinned_settings(self, project: Project | None) -> dict[str, Any]:
        """Return the place of earlier versions and the own version: a new version has another release before."""
        if project is None:
            return super().pinned_settings(project)
        return {"previous": self.previous, "version": project.info.version}

    def pin(self, work: Work[ReleaseContext]) -> Pin | None:
        """Look up the newest version that is published."""
        work.phase("look up the newest")
        known = previous_pin(work.context.previous or {})
        return self._before(work).look_up(work.context.version, known, work.notice).model_dump()

    def _before(self, work: Work[ReleaseContext]) -> PreviousRelease:
        """Return the place of the release before, and the keys that signed it."""
        assert self.previous
        identity = f"{work.context.project.name}/{work.context.release}"
        return previous_release(self.previous, identity, self.sign, work)

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node, with the programs that sign."""
        node = super().node(node_id, scope)
        sign = self.sign or ReleaseSigning()
        signs = [*([GNUPG] if sign.openpgp else []), *([MINISIGN] if sign.minisign else [])]
        sandbox = sign.minisign or (sign.openpgp and sign.openpgp.secret) or ROLE in node.inputs
        tools = [*signs, *([SANDBOX] if sandbox else [])]
        return replace(node, tools=(*node.tools, *(tool.program for tool in tools)))

    def node_context(self, node_id: str, scope: Scope) -> ReleaseContext:
        """Return the name of the release, and the place of each artifact in it."""
        stages = {f"artifacts.{number:03}": name for number, name in enumerate(self.artifacts)}
        files = {role: _file(name, scope) for role, name in stages.items()}
        _, _, release = node_id.partition(":")
        read = files_read(scope.project, Graph(scope.nodes), self.node_inputs(scope).values())
        return ReleaseContext(
            source_date_epoch=scope.project.epoch,
            project=scope.version,
            release=release,
            stages=stages,
            files=files,
            libraries={name: version(name) for name in (spdx.LIBRARY, cyclonedx.LIBRARY)},
            bills=dict(zip(stages, bill_inputs(scope, self.artifacts), strict=True)),
            channel=self._channel(scope.project),
            origins=origins_of(scope.project, read),
            notes=notes_context(self.tests, self.artifacts, self.grow, scope),
            previous=pinned(release, scope.project) if self.previous else None,
        )

    def expand(self, name: str, scope: Scope) -> None:
        """Add the nodes of the bills of all ingredients, and the node of the release."""
        for node in bill_nodes(scope, self.artifacts).values():
            scope.add(node)
        super().expand(name, scope)

    def node_inputs(self, scope: Scope) -> dict[str, str]:
        """Return the artifacts, tests and bills, and a root whose Portage reads security advisories."""
        bills = {role: node.id for role, node in bill_nodes(scope, self.artifacts).items()}
        name = root_with_portage(scope.project, self.artifacts)
        return {**super().node_inputs(scope), **bills, **({ROLE: scope.node_id(name)} if name else {})}

    def node_files(self, scope: Scope) -> NodeFiles:
        """Return the repositories: texts of licences, licence groups, patches, security advisories."""
        project = scope.project
        repos = {name: project.repo_path(name) for name in project.repos}
        files = super().node_files(scope)
        patches = patches_of(project) if self.sources else {}
        return files.model_copy(update={"repos": repos, "settings": {**files.settings, **patches}})

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
        if pointer.expires is not None and pointer.expires < time.time():
            name = pointer_name(work.context.release)
            work.notice(f"{name} is no longer valid: raise `source_date_epoch` of the project, or `valid`")
        name = pointer_name(work.context.release)
        write_text(tree / name, pointer.text(), work.epoch)
        if self.sign:
            work.phase("sign")
            comment = f"{description.identity} {version}"
            detached = [f"{version}/{file}" for file in (*LISTS, *description.feed_lists)]
            self.sign.sign(tree, detached, name, comment, work.folder / "signing")
            for feed in (folder / name for name in description.feed_lists):
                feed.with_name(feed.name + DETACHED).rename(feed.with_name(feed.name + FEED_SIGNED))
        files = description.files
        return Built(tree, ReleaseFacts(version=version, files=len(files), bytes=sum(files.values())))

    def _contents(self, work: Work[ReleaseContext]) -> list[Contents]:
        """Return the contents of all artifacts."""
        context = work.context
        places = {role: "" if context.files[role] else stage for role, stage in context.stages.items()}
        bills = read_bills(work, context.bills)
        return [
            Contents.of(stage, work.artifact(role), places[role], bills[role]) for role, stage in context.stages.items()
        ]

    def _document(self, work: Work[ReleaseContext], folder: Path, contents: Sequence[Contents]) -> None:
        """Write the bills, the texts of licences, and the sources if they are asked for."""
        context, repos = work.context, work.node.files.repos
        release = Subject(context.release, context.project.name, context.version, work.key.digest, work.epoch, {})
        for missing in write_license_texts(contents, repos.values(), copyrights_of(work, context.bills), folder):
            work.notice(missing)
        written = write_documents(contents, release, folder)
        if self.file_lists:
            written += write_file_lists(contents, file_lists_of(work, context.bills).values(), release, folder)
        if self.sources:
            write_sources(contents, source_places(work), folder, self.sources_elsewhere)
        for path in written:
            os.utime(path, (work.epoch, work.epoch))
        for path in (folder / LICENSES, folder / SOURCES):
            if path.exists():
                files.set_new_times(path, work.epoch)

    def _describe(
        self, work: Work[ReleaseContext], folder: Path, contents: Sequence[Contents]
    ) -> tuple[Description, dict[str, FileDigests]]:
        """Fill the folder of a release. Return the description, and the digests of the files of all artifacts."""
        context, artifacts, known = work.context, [], dict[str, FileDigests]()
        for role in context.stages:
            artifact, found = add_artifact(work, role, folder)
            artifacts.append(artifact)
            known |= found
        self._document(work, folder, contents)
        self._note(work, folder, contents, artifacts)
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

    def _note(
        self,
        work: Work[ReleaseContext],
        folder: Path,
        contents: Sequence[Contents],
        artifacts: Sequence[ReleasedArtifact],
    ) -> None:
        """Write the notes. Raises: TOO_LARGE if an artifact grew more than its limit."""
        pin = previous_pin(work.context.previous) if self.previous else PreviousPin()
        before = self._before(work).read(pin) if pin.version else None
        notes = notes_of(work, contents, artifacts, before, pin.sha256)
        write_notes(notes, folder, templates_of(self.notes, work.node.files))

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


def _file(name: str, scope: Scope) -> str:
    """Return the name of the main file of an artifact; "" if it is a folder."""
    model = scope.entry(name).model
    if not isinstance(model, FileArtifactKind):
        return ""
    context = model.node_context(name, scope)
    assert isinstance(context, ArtifactContext)
    return context.file_name
