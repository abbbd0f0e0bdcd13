"""tarball: pack a root for people. Stages never wait for it, since it is a node of its own.

GNU tar with sorted names, numeric owners, extended attributes and clamped times, so that equal roots give equal files
(measured: see docs/reproducibility.md).
"""

from __future__ import annotations

import enum
from typing import Annotated, Any

from pydantic import Field

from stagewright.graph.node import Node, Yields
from stagewright.project.fields import AnyRef
from stagewright.run import run
from stagewright.stages.base import Built, Scope, Stage, Work
from stagewright.stages.tools import TAR, Tool


class Compression(enum.StrEnum):
    """How a tarball is compressed."""

    ZSTD = "zst"
    XZ = "xz"

    def program(self, level: int | None) -> str:
        """The compressor for tar's ``-I``; xz always runs threaded, since -T1 and -T2 give different bytes."""
        if self is Compression.ZSTD:
            return f"zstd -T0 -{level or 9}"
        return f"xz -T2 -{level or 6}"


class Tarball(Stage, kind="tarball"):
    """A stage of kind ``tarball``."""

    needs = (TAR, Tool("zstd", "zstd", "app-arch/zstd"), Tool("xz", "xz-utils", "app-arch/xz-utils"))
    traces = ("tar",)
    yields = Yields.ARTIFACT
    publishes = True

    root: AnyRef
    """The stage or seed to pack."""
    compression: Compression = Compression.ZSTD
    """How to compress."""
    level: Annotated[int, Field(ge=1, le=19)] | None = None
    """The compressor's level; default: 9 for zstd, 6 for xz."""

    def node(self, node_id: str, scope: Scope, **context: Any) -> Node:
        """The node; the file is called after project, stage, architecture and version."""
        info = scope.project.info
        name = f"{info.name}-{self.root}-{info.arch}-{info.version}.tar.{self.compression}"
        return super().node(node_id, scope, file_name=name, **context)

    def build(self, work: Work) -> Built:
        """Pack the root."""
        work.phase("pack")
        root = work.mount("root", bare=True)
        target = work.new_folder("tree") / work.context["file_name"]
        run(
            [
                "tar",
                "--create",
                f"--file={target}",
                f"--use-compress-program={self.compression.program(self.level)}",
                "--sort=name",
                "--numeric-owner",
                "--format=posix",
                "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
                "--xattrs",
                "--xattrs-include=*",
                f"--mtime=@{work.epoch}",
                "--clamp-mtime",
                "--one-file-system",
                f"--directory={root.path}",
                ".",
            ],
            log=work.log,
        )
        return Built(target.parent, (), {"file": target.name})
