"""tarball: a root packed in one file, with listing, digests and manifest.

Packing is a separate node: stages on top of the root do not wait for it. By default the file is called
ROOT-ARCH-VERSION, with the suffix of its compression. The companion files are ``.CONTENTS.gz``, ``.DIGESTS``,
``.sha256`` and ``.manifest.json``. The root is read once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stagewright.graph.node import Demand, Node, Yields
from stagewright.kinds.common.artifact import FileArtifactKind, Ingredient, mark_root, mount_to_read
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import ArtifactContext, StageContext
from stagewright.kinds.common.tools import TAR, ZSTD, Tool
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import ByValue, Matching, RootRef
from stagewright.project.names import NAME
from stagewright.release.archive import MEMORY, Compression, pack
from stagewright.root.overlay import mount_overlay

MOST_REPORTS = 20
"""The largest number of progress reports."""

MOST_THREADS = 40
"""Number of threads for which a node asks for memory: how many cores it will get is not known yet.

It asks for no more than :data:`MEMORY`, unless two threads need more.
"""

_MIB = 1 << 20

Suffix = Annotated[str, Matching(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)*", "letters and digits, such as wsl")]
"""The end of the name of a file."""


class Tarball(FileArtifactKind, kind="tarball"):
    """A stage of kind ``tarball``."""

    required_tools = (TAR,)
    optional_tools = (
        ZSTD,
        Tool("xz", "xz-utils", "app-arch/xz-utils"),
        Tool("bzip2", "bzip2", "app-arch/bzip2"),
        Tool("gzip", "gzip", "app-arch/gzip"),
        Tool("cat", "coreutils", "sys-apps/coreutils"),
    )
    demand = Demand(cores=2)
    packed_root = "root"

    root: RootRef
    """The stage or seed to pack."""
    name: Annotated[str, Field(pattern=NAME)] | None = None
    """The name of the file without its suffix; default: name of the packed stage or seed, its architecture, and the
    version of the project, as in stage3-amd64-20261120."""
    suffix: Suffix | None = Field(default=None, exclude_if=lambda value: value is None)
    """The end of the file's name after the dot, such as `wsl` for the Windows Subsystem for Linux; default: that of the
    compression, such as tar.xz."""
    compression: Annotated[Compression, ByValue()] = Compression.ZSTD
    """The compression: `zst`, `xz`, `bz2`, `gz` or `none`."""
    level: Annotated[int, Field(ge=1, le=19)] | None = None
    """The level of the compressor: up to 19 for zstd, up to 9 for xz, bzip2 and gzip. Default: 6 for xz, 9 for zstd,
    bzip2 and gzip."""

    @field_validator("level")
    @classmethod
    def _fits(cls, level: int | None, info: ValidationInfo) -> int | None:
        compression = info.data.get("compression")
        if level and compression and level > compression.highest:
            facts = {"program": compression.program, "highest": compression.highest}
            raise PydanticCustomError("level", "{program} has levels up to {highest}", facts)
        return level

    def ingredients(self, name: str, scope: Scope) -> list[Ingredient]:
        """Return the root."""
        return [Ingredient(stage=self.root)]

    def file_name(self, node_id: str, scope: Scope) -> str:
        """Return the name of the file, with its suffix."""
        name = self.name or f"{self.root}-{scope.arch(self.root)}-{scope.project.info.version}"
        return f"{name}.{self.suffix or self.compression.suffix}"

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node, with the memory that the compressor needs, and with tar and the compressor as tools."""
        node = super().node(node_id, scope)
        memory = max(512, min(MEMORY, self._memory(MOST_THREADS)), self._memory(2))
        return replace(node, tools=("tar", self.compression.program), demand=replace(node.demand, memory=memory))

    def build(self, work: Work[ArtifactContext]) -> Built:
        """Pack the root."""
        work.phase("pack")
        root, packages = mount_to_read(work, "root")
        target = work.new_folder("tree") / work.context.file_name
        if private := work.context.private_channel:
            layers = [work.store.tree(Yields.LAYER, layer.key) for layer in work.layers("root")]
            root = work.folder / "marked"
            mount_overlay(layers, work.folder / "mark", root)
            mark_root(root, private, work.epoch)
        packed = pack(
            root,
            target,
            self.compression.command(self._level, work.cores),
            epoch=work.epoch,
            log=work.log,
            devices=work.devices("root", root),
            progress=_meter(work, sum(layer.size for layer in work.layers("root"))),
        )
        return self.with_manifest(work, target, packages, packed.archive, packed.contents)

    @property
    def _level(self) -> int:
        return self.level or self.compression.level

    def _memory(self, threads: int) -> int:
        """Return the memory of the compressor with this number of threads, in MiB."""
        return self.compression.memory(self._level, threads)


def _meter(work: Work[StageContext], total: int) -> Callable[[int], None]:
    """Return a function that reports progress in MiB, up to ``MOST_REPORTS`` times.

    It never reports for a root with fewer than ``MOST_REPORTS`` MiB.
    """
    reported = 0 if total >= MOST_REPORTS * _MIB else MOST_REPORTS

    def progress(done: int) -> None:
        nonlocal reported
        if (step := min(done, total) * MOST_REPORTS // max(total, 1)) > reported:
            reported = step
            work.progress(min(done, total) // _MIB, total // _MIB, "MiB packed")

    return progress
