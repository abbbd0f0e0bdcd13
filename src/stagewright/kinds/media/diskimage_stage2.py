"""diskimage-stage2: a disk image for UEFI machines, made of a root and a payload.

Inputs: any root, and the payload of a livecd-stage2, which a live medium can share. The result is a raw or qcow2 image
with digests and manifest. Kernels, initramfs and boot loader are in the EFI system partition, which the system mounts
at /efi. Kernel modules are in the root. No loop device is used.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import host_machine
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Demand
from stagewright.kinds.common.artifact import FileArtifactKind, Ingredient, mark_root
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import ArtifactContext
from stagewright.kinds.common.tools import TAR, Tool
from stagewright.kinds.common.work import Built, Work
from stagewright.kinds.media.livecd_stage2 import LiveStage2
from stagewright.kinds.media.squashfs import add_modules
from stagewright.media.arguments import SystemArguments
from stagewright.media.disk import MIB, ROOT_PARTITIONS, DiskLayout, make_disk
from stagewright.media.efi import EfiArch
from stagewright.media.loaders import BootMenu, Loader, MenuEntry
from stagewright.media.payload import LOADERS, Payload
from stagewright.media.settings import MenuSettings
from stagewright.portage.installed import packages_of
from stagewright.project.fields import ByValue, FilesRef, RootRef
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.release.archive import list_tree
from stagewright.release.artifact_digests import digest_artifact
from stagewright.root import files
from stagewright.root.budget import Size, measure, parse_size
from stagewright.root.emulation import machine_of
from stagewright.root.root import Root
from stagewright.run import run

FSTAB = "/etc/fstab"
_ESP_LABEL = "ESP"
_LOADERS = (Loader.SYSTEMD_BOOT, Loader.GRUB)
_GROWTH = 1.1  # size of a file system in relation to its files, measured


class Format(enum.StrEnum):
    """The format of an image."""

    QCOW2 = "qcow2"
    RAW = "raw"

    @property
    def suffix(self) -> str:
        """The suffix of file names."""
        return "qcow2" if self is Format.QCOW2 else "img"


class DiskContext(ArtifactContext):
    """Context of a disk image."""

    title: str


class DiskImage2(FileArtifactKind, MenuSettings, kind="diskimage-stage2"):
    """A stage of kind ``diskimage-stage2``."""

    required_tools = (
        Tool("sfdisk", "fdisk", "sys-apps/util-linux[fdformat]"),
        Tool("mkfs.ext4", "e2fsprogs", "sys-fs/e2fsprogs"),
        Tool("debugfs", "e2fsprogs", "sys-fs/e2fsprogs"),
        Tool("mkfs.vfat", "dosfstools", "sys-fs/dosfstools"),
        Tool("mcopy", "mtools", "sys-fs/mtools"),
        Tool("qemu-img", "qemu-utils", "app-emulation/qemu"),
        Tool("dd", "coreutils", "sys-apps/coreutils"),
        TAR,
    )
    key_tools = ("sfdisk", "mkfs.ext4", "mkfs.vfat", "mcopy", "qemu-img")
    demand = Demand(memory=1024)
    context_model = DiskContext

    root: RootRef
    """The system, such as a diskimage-stage1."""
    boot: FilesRef
    """The payload, a livecd-stage2: kernels, initramfs with the driver for ext4, modules and boot loader."""
    format: Annotated[Format, ByValue()] = Format.QCOW2
    """`qcow2`, compressed with zstd, or `raw`."""
    size: Size = "8G"
    """The size of the disk. Unused space takes no room on the host."""
    esp: Size = "512M"
    """The size of the EFI system partition."""
    loader: Annotated[Loader, ByValue()] = Loader.SYSTEMD_BOOT
    """The boot loader."""
    kernel_arguments: SystemArguments = SystemArguments()
    """The kernel's command line, after root= and rw."""

    @field_validator("loader")
    @classmethod
    def _starts_disks(cls, loader: Loader) -> Loader:
        if loader not in _LOADERS:
            facts = {"loader": loader.value, "hint": f"set loader to {' or '.join(_LOADERS)}"}
            raise PydanticCustomError("loader", "{loader} does not support disk images", facts)
        return loader

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that the settings of the payload have the boot loader."""
        entry = project.entries["stages"].get(self.boot)
        if entry and not isinstance(entry.model, LiveStage2):
            hint = "name a stage of kind livecd-stage2"
            yield ("boot",), StagewrightError(Reason.INVALID_VALUE, f"boot: {self.boot!r} is not a payload", hint=hint)
        elif entry and isinstance(entry.model, LiveStage2) and self.loader not in entry.model.loaders:
            message = f"loader: {self.loader} not found in payload {self.boot!r}"
            hint = f'add "{self.loader}" to `loaders` of {self.boot!r}'
            yield ("loader",), StagewrightError(Reason.INVALID_VALUE, message, hint=hint)

    def ingredients(self, name: str, scope: Scope) -> list[Ingredient]:
        """Return the root, and the parts of the payload that are on the disk."""
        return [Ingredient(stage=self.root), Ingredient(stage=self.boot, parts=(f"loader-{self.loader}",))]

    def file_name(self, node_id: str, scope: Scope) -> str:
        """Return the name of the image: project, stage, architecture and version."""
        info = scope.project.info
        return f"{info.name}-{node_id}-{scope.arch(self.root)}-{info.version}.{self.format.suffix}"

    def node_context(self, node_id: str, scope: Scope) -> DiskContext:
        """Return the name of the file, and the title in the boot menu."""
        info = scope.project.info
        return DiskContext(**dict(super().node_context(node_id, scope)), title=self.title_for(info.name, info.version))

    def build(self, work: Work[DiskContext]) -> Built:
        """Add kernel modules and fstab to the root, and write the image."""
        payload = work.artifact("boot")
        root = work.mount("root")
        packages = packages_of(root.path, work.remembered("root"))
        layout = self._layout(work, root)
        efi = self._efi_files(work, layout, payload)
        add_modules(root, payload, work.epoch)
        _write_fstab(layout, root, work)
        mark_root(root.path, work.context.private_channel, work.epoch)
        files.clamp_times(root.upper, work.epoch)
        self._check_room(layout, root)
        work.phase("assemble")
        target = work.new_folder("tree") / work.context.file_name
        raw = target if self.format is Format.RAW else work.folder / "disk.img"
        devices = work.devices("root", root.path)
        make_disk(layout, root.path, efi, raw, work.new_folder("media"), work.epoch, work.log, devices)
        contents = list_tree(root.path, target, epoch=work.epoch, log=work.log, devices=devices)
        if raw != target:
            work.phase("compress")
            words = ["qemu-img", "convert", "-c", "-o", "compression_type=zstd", "-f", "raw", "-O", "qcow2"]
            run([*words, raw, target], log=work.log)
            raw.unlink()
        work.phase("digest")
        return self.with_manifest(work, target, packages, digest_artifact(target), contents)

    def _layout(self, work: Work[DiskContext], root: Root) -> DiskLayout:
        machine = machine_of(root.path) or host_machine()
        if machine.arch not in ROOT_PARTITIONS:
            message = f"{self.root!r}: disk images for {machine.arch} are not supported"
            hint = f"supported architectures: {', '.join(ROOT_PARTITIONS)}"
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint=hint)
        size, esp = (parse_size(text) // MIB * MIB for text in (self.size, self.esp))
        return DiskLayout(work.context.file_name, machine.arch, size, esp)

    def _efi_files(self, work: Work[DiskContext], layout: DiskLayout, folder: Path) -> dict[str, Path]:
        """Return the files of the EFI system partition, by path: boot loader, its files, kernels, initramfs."""
        program = EfiArch.of(layout.arch).program
        root = [f"root=PARTUUID={layout.identifier('root')}", "rw"]
        arguments = " ".join([*root, *self.kernel_arguments.words])
        kernels = Payload.read(folder).kernels
        entries = [
            MenuEntry(
                kernel.name,
                work.context.title + (f" ({kernel.name})" if number else ""),
                arguments,
                kernel.kernel,
                kernel.initramfs,
            )
            for number, kernel in enumerate(kernels)
        ]
        menu = BootMenu(
            title=work.context.title,
            entries=entries,
            timeout=self.timeout,
            volume_id=_ESP_LABEL,
            serial=self.kernel_arguments.serial,
        )
        found = {f"EFI/BOOT/{program}": folder / LOADERS / self.loader / program}
        found |= {path: folder / path for kernel in kernels for path in (kernel.kernel, kernel.initramfs)}
        place = work.new_folder("loader")
        for name, text in self.loader.configuration(menu).items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            os.utime(path, (work.epoch, work.epoch))
            found[name] = path
        return found

    def _check_room(self, layout: DiskLayout, root: Root) -> None:
        needed = int(measure(root.path).total() * _GROWTH) + 64 * MIB
        if needed > layout.root:
            least = -(-(needed + layout.esp + 2 * MIB) // MIB)
            message = f"size: too small for the root (needs about {needed // MIB} MiB, the disk has {self.size})"
            raise StagewrightError(Reason.BUILD_FAILED, message, hint=f'write size = "{least}M" or more')


def _write_fstab(layout: DiskLayout, root: Root, work: Work[DiskContext]) -> None:
    """Write /etc/fstab, unless the root has one with entries."""
    files.make_folder(root.path, "/efi", epoch=work.epoch)
    text = files.read_file(root.path, FSTAB) or ""
    if re.search(r"^\s*[^#\s]", text, re.MULTILINE):
        work.notice(f"{work.context.file_name}: {FSTAB} of the root is kept")
        return
    lines = (
        "# See fstab(5).",
        f"PARTUUID={layout.identifier('root')}\t/\text4\tnoatime\t0 1",
        f"PARTUUID={layout.identifier('esp')}\t/efi\tvfat\tumask=0077,nofail\t0 2",
    )
    files.write_file(root.path, FSTAB, "\n".join(lines) + "\n", epoch=work.epoch)
