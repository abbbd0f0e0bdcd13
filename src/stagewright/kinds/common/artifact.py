"""Base classes of kinds whose results are for users: a folder of files, or one file with digests and a manifest.

An artifact is linked into the output folder of the project. A folder has the name of its stage there, a file has its
own name. No two artifacts of a project may have the same name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.given import Given, NotInKey
from stagewright.graph.node import Node, Yields
from stagewright.kinds.common.base import Scope, Stage
from stagewright.kinds.common.context import ArtifactContext, ReleasedContext, StageContext
from stagewright.kinds.common.facts import ArtifactFacts
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.installed import Package, packages_of
from stagewright.project.fields import Matching
from stagewright.release.artifact_digests import FileDigests, write_digests
from stagewright.release.manifest import write_manifest
from stagewright.release.mark import marked_name, os_release
from stagewright.root import files
from stagewright.root.budget import Size
from stagewright.root.overlay import mount_layers
from stagewright.root.sourced import with_assignments
from stagewright.store.content import KnownDigest

OS_RELEASE = "/etc/os-release"


Percent = Annotated[str, Matching(r"[0-9]{1,4}(\.[0-9]{1,2})?%", 'a percentage such as "5%"')]
"""A percentage, with its sign."""


class Ingredient(Given):
    """Content of an artifact: a root, parts of a payload, or a folder of packages.

    ``stage`` is the name of the stage or seed that makes it. If its result has parts (kinds/common/parts.py),
    ``kernels`` are the names of the kernels (default: all), and ``parts`` those of more parts. Modules and firmware of
    a payload always count.
    """

    stage: str
    kernels: tuple[str, ...] | None = None
    parts: tuple[str, ...] = ()


class OutputKind(Stage):
    """Base of kinds whose files Stagewright links into the output folder of the project: artifacts and reports.

    Other kinds also yield ``Yields.ARTIFACT``, such as squashfs, but only as inputs of other nodes.
    """

    yields = Yields.ARTIFACT

    def output_name(self, node: Node, target: str) -> str:
        """Return the name in the output folder. ``target`` is the name of the stage."""
        return marked_name(target) if getattr(node.context, "private_channel", "") else target


class ArtifactKind(OutputKind):
    """Base of kinds whose files are for users. A release can have them."""

    size: Size | None = Field(default=None, exclude_if=lambda size: size is None)
    """The largest permitted size of the file, or of all files of a folder, such as 700M (powers of 1024)."""
    grow: Annotated[Percent | None, NotInKey()] = None
    """The largest permitted growth since the last release, such as `5%`. A release with `previous` checks it."""

    @property
    def size_limit(self) -> Size | None:
        """The largest permitted size; None without a limit."""
        return self.size

    def ingredients(self, name: str, scope: Scope) -> list[Ingredient]:
        """Return what the artifact contains, for its bill of materials. ``name`` is that of the stage.

        A kind without ingredients has no bill, so a channel refuses its artifacts.
        """
        return []


class FileArtifactKind(ArtifactKind):
    """Base of kinds that make one file, with companion files: digests, a manifest, and others."""

    context_model: ClassVar[type[StageContext]] = ArtifactContext
    facts_model = ArtifactFacts
    packed_root: ClassVar[str] = ""
    """The role of the input whose root the file contains completely: another build can start from the file in place of
    that root. Empty for other files."""

    def file_name(self, node_id: str, scope: Scope) -> str:
        """Return the name of the file."""
        raise NotImplementedError

    def node_context(self, node_id: str, scope: Scope) -> ArtifactContext:
        """Return the name of the file, and the project for the manifest."""
        name, private = self.file_name(node_id, scope), scope.private_channel(self)
        return ArtifactContext(
            source_date_epoch=scope.project.epoch,
            project=scope.version,
            file_name=marked_name(name) if private else name,
            private_channel=private,
        )

    def output_name(self, node: Node, target: str) -> str:
        """Return the name of the file."""
        assert isinstance(node.context, ArtifactContext)
        return node.context.file_name

    @staticmethod
    def with_manifest(
        work: Work[ReleasedContext],
        file: Path,
        packages: Sequence[Package],
        digests: FileDigests,
        *companions: FileDigests,
        **more: Any,
    ) -> Built:
        """Write DIGESTS, .sha256 and the manifest of a file, and return the folder with all of them.

        ``packages`` are those of Portage in its root. ``companions`` are the digests of companion files that exist
        already. ``more`` are entries of the manifest that only this kind has.
        """
        write_digests(file, [digests, *companions])
        others = {_role(file, companion): companion.to_dict() for companion in companions}
        write_manifest(file, {**manifest_of(work, digests), **others, **more}, packages)
        facts = ArtifactFacts(file=file.name, bytes=digests.size)
        return Built(file.parent, facts, digested=(KnownDigest.of(file, digests.digests["sha256"]),))


def manifest_of(work: Work[ReleasedContext], digests: FileDigests) -> dict[str, Any]:
    """Return the entries that every manifest has, except the packages."""
    private = work.context.private_channel
    return {
        "artifact": digests.to_dict(),
        **({"channel": {"name": private, "distributable": False}} if private else {}),
        "project": {**work.context.project.model_dump(), "source_date_epoch": work.epoch},
        "stage": work.node.id,
        "key": work.key.digest,
        "lineage": [entry.to_dict() for entry in work.lineage],
    }


def mount_to_read(work: Work[ReleasedContext], role: str) -> tuple[Path, list[Package]]:
    """Mount the root of an input, without a writable layer. Return it with its packages."""
    layers = work.layers(role)
    root = mount_layers([work.store.tree(Yields.LAYER, layer.key) for layer in layers], work.folder / "view")
    return root, packages_of(root, work.remembered(role))


def mark_root(root: Path, private_channel: str, epoch: int) -> None:
    """Write into os-release(5) of a root, mounted at ``root``, that others must not get it. Nothing for ""."""
    if private_channel:
        text = files.read_file(root, OS_RELEASE)
        files.write_file(root, OS_RELEASE, with_assignments(text, os_release(private_channel)), epoch=epoch)


def check_output_names(scope: Scope) -> None:
    """Check the names in the output folder. Raises: DUPLICATE_NAME if two artifacts have the same name."""
    owners: dict[str, Node] = {}
    for target, node in ((target, scope.nodes[node_id]) for target, ids in scope.targets.items() for node_id in ids):
        if not isinstance(node.settings, OutputKind):
            continue
        name = node.settings.output_name(node, target)
        other = owners.setdefault(name, node)
        if other is not node:
            raise StagewrightError(
                Reason.DUPLICATE_NAME,
                f"{node.id}: its output has the same name as that of {other.id} ({name})",
                place=node.place,
                hint="rename one of the stages, or give one of them a `name`",
            )


def check_growth_limits(scope: Scope) -> None:
    """Check that a release compares each artifact that has `grow`. Raises: MISSING_KEY if none does."""
    releases = [entry.model for entry in scope.project.entries.get("releases", {}).values()]
    compared = {
        name for model in releases if getattr(model, "previous", None) for name in getattr(model, "artifacts", ())
    }
    for name, entry in scope.project.entries["stages"].items():
        if isinstance(entry.model, ArtifactKind) and entry.model.grow and name not in compared:
            raise StagewrightError(
                Reason.MISSING_KEY,
                f"{name}.grow: no release with `previous` has this artifact",
                place=entry.place(("grow",)),
                hint="set `previous` in a release that has it, or remove `grow`",
            )


def _role(file: Path, companion: FileDigests) -> str:
    """Return the name of a companion file in the manifest: ``contents`` for ``<file>.CONTENTS.gz``."""
    return companion.file.removeprefix(f"{file.name}.").partition(".")[0].lower()
