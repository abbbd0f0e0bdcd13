"""tarball: pack a root for people. Stages never wait for it, since it is a node of its own.

The tarball is called after the stage that it packs, as Catalyst calls them after their target. Beside it lie
``.CONTENTS.gz``, ``.DIGESTS``, ``.sha256`` and ``.manifest.json``, all from one pass over the root.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Demand, Node, Yields
from stagewright.kinds.common.base import Scope, Stage
from stagewright.kinds.common.context import ArtifactContext, StageContext
from stagewright.kinds.common.facts import ArtifactFacts
from stagewright.kinds.common.released import look_at, release
from stagewright.kinds.common.tools import TAR, Tool
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import ByValue, RootRef
from stagewright.project.model import NAME
from stagewright.release.archive import MEMORY, Compression, pack

STEPS = 20
"""How often at the most packing says how far it is."""

_MIB = 1 << 20


class Tarball(Stage, kind="tarball"):
    """A stage of kind ``tarball``."""

    required_tools = (
        TAR,
        Tool("zstd", "zstd", "app-arch/zstd"),
        Tool("xz", "xz-utils", "app-arch/xz-utils"),
        Tool("bzip2", "bzip2", "app-arch/bzip2"),
        Tool("gzip", "gzip", "app-arch/gzip"),
        Tool("cat", "coreutils", "sys-apps/coreutils"),
    )
    yields = Yields.ARTIFACT
    publishes = True
    demand = Demand(cores=2)
    context_model = ArtifactContext
    facts_model = ArtifactFacts

    root: RootRef
    """The stage or seed to pack."""
    name: Annotated[str, Field(pattern=NAME)] | None = None
    """The file's name without its ending; default: stage, architecture and version, as in stage3-amd64-20261120."""
    compression: Annotated[Compression, ByValue()] = Compression.ZSTD
    """How to compress: `zst`, `xz`, `bz2`, `gz` or `none`."""
    level: Annotated[int, Field(ge=1, le=19)] | None = None
    """The compressor's level, up to 19 for zstd and 9 for the others; default: 6 for xz, 9 for the others."""

    @field_validator("level")
    @classmethod
    def _fits(cls, level: int | None, info: ValidationInfo) -> int | None:
        compression = info.data.get("compression")
        if level and compression and level > compression.highest:
            facts = {"program": compression.program, "highest": compression.highest}
            raise PydanticCustomError("level", "{program} has levels up to {highest}", facts)
        return level

    def node_context(self, node_id: str, scope: Scope) -> ArtifactContext:
        """Return the file's name, and the project."""
        version = scope.project.info.version
        file_name = f"{self.name or f'{self.root}-{scope.arch(self.root)}-{version}'}.{self.compression.suffix}"
        return ArtifactContext(source_date_epoch=scope.project.epoch, project=scope.version, file_name=file_name)

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node. Raises: DUPLICATE_NAME if another node makes a file of this name."""
        node = super().node(node_id, scope)
        assert isinstance(node.context, ArtifactContext)
        file_name = node.context.file_name
        for other in scope.nodes.values():
            if isinstance(other.context, ArtifactContext) and other.context.file_name == file_name:
                raise StagewrightError(
                    Reason.DUPLICATE_NAME,
                    f"{node_id} and {other.id} both make {file_name}",
                    place=node.place,
                    hint="give one of them a `name`",
                )
        memory = max(512, min(MEMORY, self._memory(2 * STEPS)), self._memory(2))
        return replace(node, tools=("tar", self.compression.program), demand=replace(node.demand, memory=memory))

    def build(self, work: Work[ArtifactContext]) -> Built:
        """Pack the root."""
        work.phase("pack")
        root, packages = look_at(work, "root")
        target = work.new_folder("tree") / work.context.file_name
        packed = pack(
            root,
            target,
            self.compression.command(self._level, work.cores),
            epoch=work.epoch,
            log=work.log,
            progress=_meter(work, sum(layer.size for layer in work.layers("root"))),
        )
        release(work, target, packages, packed.archive, packed.contents)
        return Built(target.parent, ArtifactFacts(file=target.name, bytes=packed.archive.size))

    @property
    def _level(self) -> int:
        return self.level or self.compression.level

    def _memory(self, threads: int) -> int:
        return self.compression.memory(self._level, threads)


def _meter(work: Work[StageContext], total: int) -> Callable[[int], None]:
    """Progress in MiB, a few times; a small root is packed before anybody could read it."""
    told = 0 if total >= STEPS * _MIB else STEPS

    def progress(done: int) -> None:
        nonlocal told
        if (step := min(done, total) * STEPS // max(total, 1)) > told:
            told = step
            work.progress(min(done, total) // _MIB, total // _MIB, "MiB packed")

    return progress
