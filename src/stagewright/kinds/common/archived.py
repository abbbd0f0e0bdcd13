"""What seeds that come as archives share: bounds, unpacking into a tree that is nobody's business if that fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from stagewright.errors import Reason, StagewrightError
from stagewright.events import NodeProgress
from stagewright.graph.node import Node
from stagewright.kinds.common.base import Scope, Seed, Work
from stagewright.kinds.common.tools import SANDBOX, TAR, Tool
from stagewright.project.fields import Matching, Section
from stagewright.root.emulation import machine_of
from stagewright.seeds.tarscan import Bounds
from stagewright.seeds.unpack import check_root, unpack
from stagewright.store.store import remove_tree

GNUPG = Tool("gpg", "gnupg", "app-crypt/gnupg")

Url = Annotated[str, Matching(r"https?://[^\s/]+(/\S*)?", "http:// or https://")]
"""An address on the web."""

Fingerprint = Annotated[str, Matching(r"[0-9A-Fa-f]{40}", "the 40 digits of gpg --fingerprint, without spaces")]
"""The fingerprint of a primary OpenPGP key."""

_UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Limits(Section):
    """The most that an archive may hold, for one that is honest and yet larger than its size lets expect."""

    size: Annotated[str, Matching(r"[1-9][0-9]*[MGT]", "a number with M, G or T")] | None = None
    """Of all files together, such as `40G`; default: 1 GiB and fifty times the archive."""
    members: Annotated[int, Field(gt=0)] | None = None
    """Files, folders, links; default: 10000, and one for each 100 bytes of the archive."""

    def bounds(self, archive: int) -> Bounds:
        """The bounds for an archive of so many bytes."""
        size = int(self.size[:-1]) * _UNITS[self.size[-1]] if self.size else None
        return Bounds.of(archive, self.members, size)


class ArchiveSeed(Seed):
    """Base of seeds that are unpacked."""

    required_tools: ClassVar[tuple[Tool, ...]] = (SANDBOX, TAR)
    sources: ClassVar[frozenset[str]] = frozenset({"limits"})
    pinned: ClassVar[tuple[str, ...]] = ()
    """What of the pin makes the seed what it is, and so is part of its key."""

    limits: Limits = Limits()
    """What an archive may hold that is larger than its size lets expect: `size` such as `40G`, `members`."""

    def node(self, node_id: str, scope: Scope, **context: Any) -> Node:
        """The node; of the pin, what makes the seed what it is."""
        if self.moves:
            pin = scope.project.lock.seeds.get(node_id.removeprefix("seed:"), {})
            context["pin"] = {name: pin[name] for name in self.pinned if name in pin} or None
        return super().node(node_id, scope, **context)

    def unpacked(self, work: Work, fill: Callable[[Path], object], name: str) -> Path:
        """The tree that ``fill`` makes, which must be a root for the right machine; nothing of it is left otherwise."""
        work.phase("unpack")
        tree = work.new_folder("tree")
        try:
            fill(tree)
            check_root(tree, name)
            self._compare(tree, name)
        except BaseException:
            remove_tree(tree)  # a failed build's folder is kept, but not what a stranger put into it
            raise
        return tree

    def unpack(self, work: Work, archive: Path, name: str = "") -> Path:
        """The tree in a tarball."""
        name = name or archive.name
        bounds = self.limits.bounds(archive.stat().st_size)
        return self.unpacked(work, lambda tree: unpack(archive, tree, work.log, bounds, name=name), name)

    def _compare(self, tree: Path, name: str) -> None:
        machine = machine_of(tree)
        if machine and self.arch not in (None, machine.arch):
            raise StagewrightError(
                Reason.BAD_ARCHIVE,
                f"{name} holds programs for {machine.arch}, the project says {self.arch}",
                hint="name another one, or correct `arch`",
            )


def progress(work: Work, name: str) -> Callable[[int, int], None]:
    """Tells about a download, in mebibytes, a few times a second at most."""
    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        if done >> 20 != told:
            told = done >> 20
            work.emit(NodeProgress(node=work.node, done=told, total=-(-max(total, done) >> 20), name=f"{name} (MiB)"))

    return tell


def pin_of(work: Work, *names: str) -> dict[str, Any]:
    """The pin of a seed that is being built. Raises ``LOCK_STALE`` for one that lacks some of its facts."""
    pin: dict[str, Any] = work.context["pin"] or {}
    if missing := [name for name in names if name not in pin]:
        what = f"stagewright.lock does not say {', '.join(missing)} of {work.node}"
        raise StagewrightError(Reason.LOCK_STALE, what, hint="stagewright update pins it anew")
    return pin


def kept(work: Work, digest: str, name: str) -> Path:
    """Where a file is kept that was fetched, by a digest of it; collection goes by when that was last asked."""
    folder = work.store.cache("seeds") / digest[:32]
    if folder.exists():
        os.utime(folder)
    return folder / Path(name).name
