"""Base classes of seeds that are pinned, and of seeds that are unpacked from archives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stagewright.arch import host_machine
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.given import NotInKey
from stagewright.kinds.common.base import Scope, Seed
from stagewright.kinds.common.context import SeedContext, StageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.tools import SANDBOX, TAR, Tool
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import Matching
from stagewright.project.limits import NodeLimits
from stagewright.root.devices import DeviceNode
from stagewright.root.emulation import machine_of
from stagewright.root.files import set_new_times
from stagewright.trees import remove_tree
from stagewright.units import parse_size, size_hint
from stagewright.untrusted import LARGEST

if TYPE_CHECKING:
    from stagewright.seeds.tarscan import Bounds

Url = Annotated[str, Matching(r"https?://[^\s/]+(/\S*)?", "http:// or https://")]
"""A web address."""

Fingerprint = Annotated[str, Matching(r"[0-9A-Fa-f]{40}", "the 40 digits of gpg --fingerprint, without spaces")]
"""The fingerprint of a primary OpenPGP key."""

FileName = Annotated[str, Field(pattern=r"^[^/\x00-\x1f.-][^/\x00-\x1f]{0,254}$")]
"""The name of a file in a pin: never a path."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A digest in a pin, in hexadecimal."""

Sha512 = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
"""A digest of 512 bits in a pin, in hexadecimal: SHA-512 or BLAKE2b."""

FileSize = Annotated[int, Field(strict=True, ge=0, le=LARGEST)]
"""The size of a file in a pin, in bytes."""


class SeedPin(BaseModel):
    """Base of the entries of a pin that are part of the seed's key, because they identify its content.

    The lock may hold anything, so the types say what a build accepts.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class PinnedSeed(Seed):
    """Base of seeds whose content changes with time, so that a state of them is pinned in the lock."""

    moves = True
    context_model = SeedContext
    pin_model: ClassVar[type[SeedPin]]

    def node_context(self, node_id: str, scope: Scope) -> SeedContext:
        """Return the entries of the pin that identify the content of the seed."""
        entry = scope.project.entry_of(node_id)
        known = scope.project.lock.seeds.get(entry.name, {}) if entry else {}
        pin = {name: known[name] for name in self.pin_model.model_fields if name in known}
        return SeedContext(
            source_date_epoch=scope.project.epoch, pin=pin or None, services=tuple(scope.project.fetch.allow)
        )


class ArchiveLimits(NodeLimits):
    """Limits of a seed, with the upper bounds for an archive that unpacks to more than its size suggests."""

    size: Annotated[str, Matching(r"[1-9][0-9]*[MGT]", "a number with M, G or T", size_hint)] | None = None
    """The size of all files together, such as `40G`; default: 1 GiB and fifty times the archive."""
    members: Annotated[int, Field(gt=0)] | None = None
    """The number of files, folders and links; default: 10000, and one for each 100 bytes of the archive."""

    def bounds(self, archive: int) -> Bounds:
        """Return the bounds for an archive with this number of bytes."""
        from stagewright.seeds.tarscan import Bounds

        return Bounds.of(archive, self.members, parse_size(self.size) if self.size else None)


class ArchiveSeed(Seed):
    """Base of seeds that are unpacked."""

    required_tools: ClassVar[tuple[Tool, ...]] = (SANDBOX, TAR)

    limits: Annotated[ArchiveLimits, NotInKey()] = ArchiveLimits()
    """Limits for a build of this node, and bounds for an archive that unpacks to more than its size suggests."""

    def unpacked(
        self,
        work: Work[StageContext],
        fill: Callable[[Path], Sequence[DeviceNode]],
        name: str,
        origin: Mapping[str, str | int],
    ) -> Built:
        """Return a seed after ``fill`` has filled its tree and has returned the device nodes that it left out.

        ``origin`` is the entry "archive" of the facts.
        """
        with self.filling(work, name) as tree:
            devices = tuple(fill(tree))
            set_new_times(tree, work.epoch)
        return Built(tree, LayerFacts(archive=dict(origin), devices=devices or None))

    @contextlib.contextmanager
    def filling(self, work: Work[StageContext], name: str) -> Iterator[Path]:
        """Yield the empty tree of a seed, which the block fills.

        The tree is removed after every error, for example if its programs are for another architecture.
        """
        from stagewright.seeds.unpack import check_root

        work.phase("unpack")
        tree = work.new_folder("tree")
        try:
            yield tree
            check_root(tree, name)
            self._compare(tree, name, work)
        except BaseException:
            remove_tree(tree)  # the folder of a failed build stays, but it must not contain unverified files
            raise

    def unpack(self, work: Work[StageContext], archive: Path, origin: Mapping[str, str | int], name: str = "") -> Built:
        """Unpack a tarball and return the seed."""
        from stagewright.seeds.unpack import unpack

        name = name or archive.name
        bounds = self.limits.bounds(archive.stat().st_size)
        return self.unpacked(
            work, lambda tree: unpack(archive, tree, work.log, bounds, name=name).devices, name, origin
        )

    def _compare(self, tree: Path, name: str, work: Work[StageContext]) -> None:
        """Compare the programs with the architecture that names of files and tests of machines have."""
        machine, pin = machine_of(tree), getattr(work.context, "pin", None) or {}
        known = self.known_arch(pin)
        if machine and machine.arch is not (known or host_machine().arch):
            why = f"the seed has arch {known}" if known else f"without `arch`, a seed is for {host_machine().arch}"
            raise StagewrightError(
                Reason.BAD_ARCHIVE,
                f"{name}: its programs are for {machine.arch} ({why})",
                hint=f'write arch = "{machine.arch}" for the seed, or name another file',
            )


def progress(work: Work[StageContext], name: str) -> Callable[[int, int], None]:
    """Return a function that reports the progress of a download, in MiB, once for each MiB."""
    reported = -1

    def report(done: int, total: int) -> None:
        nonlocal reported
        if done >> 20 != reported:
            reported = done >> 20
            work.progress(reported, -(-max(total, done) >> 20), f"{name} (MiB)")

    return report


P = TypeVar("P", bound=SeedPin)


def pin_of(work: Work[SeedContext], model: type[P]) -> P:
    """Return the pin of a seed that is being built. Raises: LOCK_STALE if entries are missing or wrong."""
    try:
        return model.model_validate(work.context.pin or {})
    except ValidationError as error:
        names = ", ".join(str(detail["loc"][0]) for detail in error.errors())
        what = f"stagewright.lock: entries of {work.node.id} are missing or wrong ({names})"
        raise StagewrightError(Reason.LOCK_STALE, what, hint="run stagewright update") from error


def cached_file(work: Work[StageContext], digest: str, name: str) -> Path:
    """Return the path where the store keeps a fetched file, by its digest, and mark that as used."""
    folder = work.store.cache("seeds") / digest[:32]
    if folder.exists():
        os.utime(folder)
    return folder / Path(name).name
