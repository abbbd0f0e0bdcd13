"""update-feed: what machines with two slots download to update themselves to the version of a disk image.

Input: a disk image with a layout of two slots, such as ``ab``. The result is a folder for a web server, in the form
that systemd-sysupdate reads (``media/updates/feed.py``). A release signs its list of digests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.given import NotInKey
from stagewright.kinds.common.artifact import ArtifactKind, Ingredient
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.tools import Tool
from stagewright.kinds.common.work import Built, Work
from stagewright.kinds.media.diskimage_stage2 import DiskImage2
from stagewright.media.updates.feed import FeedCompression, read_slot, write_feed
from stagewright.project.fields import ByValue, FilesRef
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.run import run

FEED_TOOLS = (
    Tool("sfdisk", "fdisk", "sys-apps/util-linux[fdformat]"),
    Tool("mdir", "mtools", "sys-fs/mtools"),
    Tool("mcopy", "mtools", "sys-fs/mtools"),
    Tool("dd", "coreutils", "sys-apps/coreutils"),
    Tool("qemu-img", "qemu-utils", "app-emulation/qemu"),
)
"""Programs that take a feed out of a disk image."""

_COMPRESSORS = (Tool("xz", "xz-utils", "app-arch/xz-utils"), Tool("gzip", "gzip", "app-arch/gzip"))


class FeedContext(StageContext):
    """Context of a feed."""

    private_channel: Annotated[str, NotInKey()] = ""
    """The channel that keeps the feed from others, or "". The name of the output folder then says so."""


class FeedFacts(Facts):
    """Facts of a feed: name and version of its system, number and size of its files."""

    name: str
    version: str
    files: int
    bytes: int


class UpdateFeed(ArtifactKind, kind="update-feed"):
    """A stage of kind ``update-feed``."""

    facts_model = FeedFacts
    required_tools = (*FEED_TOOLS, *_COMPRESSORS)
    key_tools = ("xz", "gzip")
    context_model = FeedContext

    image: FilesRef
    """The disk image, a diskimage-stage2 with a layout of two slots."""
    compression: Annotated[FeedCompression, ByValue()] = FeedCompression.XZ
    """The compression of partitions: `xz`, `gz`, or `none` for file systems that are compressed themselves. systemd 257
    does not read zstd."""

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that the input is a disk image."""
        entry = project.entries["stages"].get(self.image)
        if entry and not isinstance(entry.model, DiskImage2):
            message, hint = f"image: {self.image!r} is not a disk image", "name a stage of kind diskimage-stage2"
            yield ("image",), StagewrightError(Reason.INVALID_VALUE, message, hint=hint)

    def ingredients(self, name: str, scope: Scope) -> list[Ingredient]:
        """Return the contents of the disk image."""
        model = scope.entry(self.image).model
        return model.ingredients(self.image, scope) if isinstance(model, ArtifactKind) else []

    def node_context(self, node_id: str, scope: Scope) -> FeedContext:
        """Return the time stamp, and the channel if others must not get the feed."""
        return FeedContext(source_date_epoch=scope.project.epoch, private_channel=scope.private_channel(self))

    def build(self, work: Work[FeedContext]) -> Built:
        """Take the files of the feed out of the disk image."""
        work.phase("read the image")
        scratch = work.new_folder("slot")
        disk = raw_disk(work.artifact("image"), scratch)
        slot = read_slot(disk, scratch)
        work.phase("compress")
        tree = work.new_folder("tree")
        write_feed(slot, disk, tree, self.compression, epoch=work.epoch, log=work.log)
        sizes = [path.stat().st_size for path in tree.iterdir()]
        facts = FeedFacts(name=slot.name, version=slot.version, files=len(sizes), bytes=sum(sizes))
        return Built(tree, facts)


def raw_disk(artifact: Path, scratch: Path, *, private: bool = False) -> Path:
    """Return the disk image of an artifact in raw form. ``private`` copies a raw one, so that it can be changed.

    ``scratch`` takes the copy.
    """
    image = next(path for path in sorted(artifact.iterdir()) if path.suffix in (".img", ".qcow2"))
    kind = "qcow2" if image.suffix == ".qcow2" else "raw"
    if kind == "raw" and not private:
        return image
    disk = scratch / f"{image.stem}.raw"
    run(["qemu-img", "convert", "-f", kind, "-O", "raw", image, disk])
    return disk
