"""squashfs: the live root and the kernel modules of the payload, as one file that ISO and network boot share.

Inputs: a live root (livecd-stage1) and a payload (livecd-stage2). Stages of the kinds livecd-stage3 and pxeboot add
this node to the graph. A project file cannot have a stage of this kind.
"""

from __future__ import annotations

import enum
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from stagewright.chroot import inside
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Demand, Node, Yields
from stagewright.kinds.common.artifact import OS_RELEASE, mark_root
from stagewright.kinds.common.base import INTERNAL, Scope, Stage
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.tools import Tool
from stagewright.kinds.common.work import Built, Work
from stagewright.kinds.media.livecd_stage2 import LiveStage2
from stagewright.media.installed_boot import INSTALLED, boot_files
from stagewright.media.payload import FIRMWARE, IMAGE, MODULES, Payload
from stagewright.media.verity import append_tree
from stagewright.portage.installed import Package, packages_of
from stagewright.project.fields import ByValue, FilesRef, Matching, Section, StageRef
from stagewright.project.source import KeyPath
from stagewright.release.artifact_digests import ALGORITHMS, FileDigests, digest_artifact
from stagewright.root import files
from stagewright.root.init_program import without_init
from stagewright.root.overlay import bind
from stagewright.root.sandbox import run_host_program
from stagewright.root.sourced import IDENTIFIERS, values_of
from stagewright.store.content import KnownDigest
from stagewright.store.links import link
from stagewright.trees import walk_tree
from stagewright.units import size_hint

if TYPE_CHECKING:
    from stagewright.root.root import Root

_WRITABLE = 0o200
"""Permission bit that files of artifacts do not have, and files of a root do."""


class SquashfsCompression(enum.StrEnum):
    """Compressors of mksquashfs(1) that kernels of live systems support."""

    ZSTD = "zstd"
    XZ = "xz"
    GZIP = "gzip"
    LZ4 = "lz4"

    def arguments(self, level: int | None) -> list[str]:
        """Return the compressor as arguments of mksquashfs(1)."""
        if self in (SquashfsCompression.ZSTD, SquashfsCompression.GZIP) and level:
            return ["-comp", self.value, "-Xcompression-level", str(level)]
        return ["-comp", self.value]


class SquashfsSettings(Section):
    """Settings for the compression of the live root."""

    compression: Annotated[SquashfsCompression, ByValue()] = SquashfsCompression.ZSTD
    """The compressor of the squashfs."""
    level: Annotated[int, Field(ge=1, le=22)] | None = 3
    """The level of the compressor: 1 to 22 for zstd, 1 to 9 for gzip; ignored for xz and lz4."""
    block_size: Annotated[str, Matching(r"\d+[KM]?", "a number of bytes, or one with K or M: 1M", size_hint)] = "1M"
    """The block size, 4K to 1M."""
    installable: bool = Field(default=False, exclude_if=lambda installable: not installable)
    """Put kernels, initramfs and boot loaders of the payload into the image, in the places of an installed system, so
    that the live system can install itself (docs/install.md)."""

    def installed_parts(self, payload: object) -> tuple[str, ...]:
        """Return the parts of a payload that are in an installable image, in addition to the kernels."""
        if not self.installable or not isinstance(payload, LiveStage2):
            return ()
        return tuple(f"loader-{loader}" for loader in INSTALLED if loader in payload.loaders)

    def without_loader(self, payload: object, name: str) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Yield an error if the image is installable, but its payload, with this name, has no loader for a disk."""
        if self.installable and isinstance(payload, LiveStage2) and not self.installed_parts(payload):
            message = f"installable: payload {name!r} has no boot loader for an installed system"
            hint = f"add one of {', '.join(INSTALLED)} to `loaders` of {name!r}"
            yield ("installable",), StagewrightError(Reason.INVALID_VALUE, message, hint=hint)


class SquashfsFacts(Facts):
    """Facts of a squashfs."""

    bytes: int
    sha512: str
    """Digest of the file, as hexadecimal digits. For media with this file, Stagewright writes the digest into the
    list of digests without reading the file again."""
    sha256: str = ""
    """Another digest of the file, for the same purpose."""
    blake2b: str = ""
    """Another digest of the file, for the same purpose."""
    verity: str = ""
    """`BLOCKS:HASH` for the boot arguments: the number of data blocks and the root hash of dm-verity's hash tree, which
    follows the data in the file. Empty if the payload does not verify its image."""
    installed: tuple[Package, ...] = ()
    """Packages of the live root."""
    os_release: dict[str, str] = {}
    """Identifiers of the live root in os-release(5)."""

    @property
    def digests(self) -> FileDigests:
        """The digests of the file."""
        found = {name: getattr(self, name) for name in ALGORITHMS}
        return FileDigests(IMAGE, self.bytes, found)

    @property
    def remembered(self) -> Sequence[Package]:
        """Packages of the live root."""
        return self.installed


class Squashfs(Stage, SquashfsSettings, kind="squashfs", table=INTERNAL):
    """A node of kind ``squashfs``."""

    yields = Yields.ARTIFACT
    required_tools = (Tool("mksquashfs", "squashfs-tools", "sys-fs/squashfs-tools"),)
    key_tools = ("mksquashfs",)
    demand = Demand(memory=1024)
    facts_model = SquashfsFacts

    live: StageRef
    boot: FilesRef
    private_channel: str = Field(default="", exclude_if=lambda name: not name)
    """Name of the channel that keeps the medium from others, or "". It is written into os-release(5)."""

    def build(self, work: Work[StageContext]) -> Built:
        """Add the modules to the live root and compress it."""
        root = work.mount("live")
        packages = packages_of(root.path, work.remembered("live"))
        if wrong := without_init(root.path):
            work.notice(f"{self.live}: {wrong}")
        modes = show_modules(root, work.artifact("boot"), work.epoch)
        if self.installable:
            add_boot_files(root, work.artifact("boot"), work.new_folder("boot-files"), work.epoch)
        mark_root(root.path, self.private_channel, work.epoch)
        files.clamp_times(root.upper, work.epoch)
        work.phase("compress")
        target = work.new_folder("tree") / IMAGE
        pseudo = work.folder / "pseudo"
        pseudo.write_text("".join(f"{line}\n" for line in modes), encoding="utf-8", errors="surrogateescape")
        run_host_program(
            [
                "mksquashfs",
                root.path,
                target,
                *self.compression.arguments(self.level),
                *("-b", self.block_size),
                *("-processors", str(work.cores)),
                *("-noappend", "-no-progress", "-no-recovery"),
                *("-pf", pseudo),
                *(word for node in work.devices("live", root.path) for word in ("-p", node.pseudo())),
            ],
            reads=[root.path, pseudo],
            writes=[target.parent],
            env={"SOURCE_DATE_EPOCH": str(work.epoch)},
            log=work.log,
        )
        verity = append_tree(target) if Payload.read(work.artifact("boot")).verity else ""
        found = digest_artifact(target)
        identifiers = values_of(files.read_file(root.path, OS_RELEASE) or "", IDENTIFIERS)
        facts = SquashfsFacts(
            bytes=found.size,
            **found.digests,
            verity=verity,
            installed=tuple(packages),
            os_release=identifiers,
        )
        return Built(target.parent, facts, digested=(KnownDigest.of(target, found.digests["sha256"]),))


def add_modules(root: Root, payload: Path, epoch: int) -> None:
    """Copy the modules and the firmware of a payload into a root.

    Links of the root, such as /lib to /usr/lib, are followed inside the root. No link leads out of it.
    """
    for modules in sorted((payload / MODULES).iterdir()):
        files.copy_in(root.path, modules, epoch=epoch, target=f"/lib/modules/{modules.name}", also=_WRITABLE)
    _add_firmware(root, payload, epoch)


def _add_firmware(root: Root, payload: Path, epoch: int) -> None:
    if (payload / FIRMWARE).is_dir():
        files.copy_in(root.path, payload / FIRMWARE, epoch=epoch, target="/lib/firmware", also=_WRITABLE)


def show_modules(root: Root, payload: Path, epoch: int) -> list[str]:
    """Show the modules of a payload in a mounted root, without a copy, and copy its firmware.

    Returns modes and owners of the shown files as mksquashfs(1) reads them: those that a copy would have. A folder of
    modules that the root has already is not hidden: there the files are copied. So are names that a line cannot have.
    """
    lines: list[str] = []
    for modules in sorted((payload / MODULES).iterdir()):
        place = f"/lib/modules/{modules.name}"
        inner = inside(root.path, os.path.realpath, place)
        modes = list(_modes(modules, inner))
        if files.exists(root.path, place) or any("\n" in line for line in modes):
            files.copy_in(root.path, modules, epoch=epoch, target=place, also=_WRITABLE)
        else:
            files.make_folder(root.path, place, epoch=epoch)
            bind(modules, root.path / inner.lstrip("/"))
            lines += modes
    _add_firmware(root, payload, epoch)
    return lines


def _modes(tree: Path, place: str) -> Iterator[str]:
    for step in walk_tree(tree):
        if step.left:
            continue
        names = [("", os.fstat(step.folder).st_mode)]
        names += [(file.name, file.stat(follow_symlinks=False).st_mode | _WRITABLE) for file in step.files]
        for name, mode in names:
            path = re.sub(r"([^\w/.+-])", r"\\\1", "/".join(filter(None, [place, step.path(), name])))
            yield f"{path} m {stat.S_IMODE(mode):o} 0 0"


def add_boot_files(root: Root, payload: Path, folder: Path, epoch: int) -> None:
    """Copy the boot files of a payload into a root, to the places of an installed system. ``folder`` takes links."""
    found = boot_files(Payload.read(payload), payload)
    for path, source in found.items():
        link(source, folder / path.strip("/"))
    for place in sorted({path.rpartition("/")[0] for path in found}):
        files.copy_in(root.path, folder / place.strip("/"), epoch=epoch, target=place, also=_WRITABLE)


def squashfs_node(scope: Scope, live: str, boot: str, settings: SquashfsSettings) -> Node:
    """Return the node for the squashfs of a live root and a payload. Stages with equal settings share it.

    ``settings`` can be the model of a stage with further fields; these are ignored.
    """
    private = scope.private_channel(settings)
    settings = SquashfsSettings(**{field: getattr(settings, field) for field in SquashfsSettings.model_fields})
    stage = Squashfs(live=live, boot=boot, private_channel=private, **settings.model_dump())
    given = [str(value) for name, value in settings.model_dump().items() if value is not None and name != "installable"]
    given += ["installable"] if settings.installable else []
    id_suffix = "" if settings == SquashfsSettings() else "-".join(["", *given])
    id_suffix += f"-{private}" if private else ""
    names = (
        name.replace("+", "%2B") for name in (live, boot)
    )  # without %2B, (a+b, c) and (a, b+c) would have the same id
    return stage.node(f"{'+'.join(names)}.squashfs{id_suffix}", scope)
