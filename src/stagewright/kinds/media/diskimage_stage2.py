"""diskimage-stage2: a disk image made of a root and a payload, with partitions by a layout.

Inputs: any root, and the payload of a livecd-stage2, which a live medium can share. The result is an image with digests
and manifest. Kernels, initramfs and boot loader are in the EFI system partition, which the system mounts at /efi.
Kernel modules are in the root. No loop device is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import Arch, Machine, host_machine
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.graph.node import Demand, Node, NodeFiles
from stagewright.kinds.common.artifact import OS_RELEASE, FileArtifactKind, Ingredient, mark_root
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import ArtifactContext
from stagewright.kinds.common.tools import SIGN, TAR, Tool
from stagewright.kinds.common.work import Built, Work
from stagewright.kinds.media.disk_boot_files import DiskBoot, without_driver
from stagewright.kinds.media.livecd_stage2 import LiveStage2, payload_keys, with_certificate
from stagewright.kinds.media.squashfs import add_modules
from stagewright.media.arguments import SystemArguments
from stagewright.media.disk.bios import BiosCode
from stagewright.media.disk.definitions import Definition, read_definitions, texts_of
from stagewright.media.disk.filesystem_types import FileSystem
from stagewright.media.disk.formats import Format, convert
from stagewright.media.disk.image import BootFiles, DiskSource, DiskWriter
from stagewright.media.disk.layout_check import check_layout, check_machine
from stagewright.media.disk.ova import Appliance
from stagewright.media.disk.repart import RepartWriter, missing_for_repart, mount_points
from stagewright.media.disk.setting_values import Verity
from stagewright.media.efi import EfiArch
from stagewright.media.loaders import BOOT_IMAGE, CORE_IMAGE, Loader
from stagewright.media.payload import LOADERS, Payload
from stagewright.media.settings import MenuSettings
from stagewright.media.signing import SecureBoot, sign
from stagewright.portage.installed import packages_of
from stagewright.project.fields import ByValue, FilesRef, FileStem, Matching, RootRef
from stagewright.project.inferred import OnlyChoice
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.release.archive import list_tree
from stagewright.release.artifact_digests import digest_artifact
from stagewright.root import files
from stagewright.root.budget import Size
from stagewright.root.emulation import machine_of
from stagewright.root.init_program import without_init
from stagewright.root.requirements import raise_if_missing
from stagewright.root.root import Root
from stagewright.root.sourced import IDENTIFIERS, values_of
from stagewright.units import parse_size, size_hint

FSTAB, CRYPTTAB = "/etc/fstab", "/etc/crypttab"
_LOADERS = (Loader.SYSTEMD_BOOT, Loader.GRUB, Loader.GRUB_HYBRID, Loader.UKI)
_AUTO = "auto"

DiskSize = Annotated[
    str,
    Matching(rf"[0-9]+(\.[0-9]+)?[KMGT]?|{_AUTO}", "a number of bytes, one with K, M, G or T, or auto", size_hint),
]
"""The size of a disk, or `auto`."""

LayoutName = Annotated[str, Matching(r"[A-Za-z0-9_./-]{1,200}", "the name of a layout, or a path such as ./layout")]
"""A layout of Stagewright, or a folder of the project: its path has a /."""

KeyFile = Annotated[str, Matching(r"(/|~/).+", "an absolute path outside of the project")]
"""The path of a file with a passphrase."""

_MAKERS = {
    "mkfs.xfs": Tool("mkfs.xfs", "xfsprogs", "sys-fs/xfsprogs"),
    "xfs_db": Tool("xfs_db", "xfsprogs", "sys-fs/xfsprogs"),
    "mkfs.btrfs": Tool("mkfs.btrfs", "btrfs-progs", "sys-fs/btrfs-progs"),
    "mkfs.erofs": Tool("mkfs.erofs", "erofs-utils", "sys-fs/erofs-utils"),
    "mksquashfs": Tool("mksquashfs", "squashfs-tools", "sys-fs/squashfs-tools"),
}
"""Programs that only some layouts need."""

VERITY_MODULES = ("stagewright-roothash", "systemd-veritysetup")
"""Modules of dracut that open a verity root: Stagewright's own, or the one for systemd in the initramfs."""


class DiskContext(ArtifactContext):
    """Context of a disk image.

    ``definitions`` are the texts of the layout by file name. ``secure_boot`` are the keys for EFI programs that this
    build makes; None if it makes none, or if the payload has no keys.
    """

    title: str
    definitions: dict[str, str]
    secure_boot: SecureBoot | None = Field(default=None, exclude_if=lambda keys: keys is None)


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
    optional_tools = (*_MAKERS.values(), SIGN)
    key_tools = ("sfdisk", "mkfs.ext4", "mkfs.vfat", "mcopy", "qemu-img")
    demand = Demand(memory=1024)
    context_model = DiskContext
    only_choices: ClassVar[Mapping[str, OnlyChoice]] = {
        "loader": OnlyChoice(of="boot", among="loaders", fitting=frozenset(_LOADERS))
    }

    root: RootRef
    """The system, such as a diskimage-stage1."""
    name: FileStem | None = Field(default=None, exclude_if=lambda name: name is None)
    """The name of the file without its suffix; default: the names of project and stage, architecture and version."""
    boot: FilesRef
    """The payload, a livecd-stage2: kernels, initramfs with drivers for disk and root, modules and boot loader."""
    repart: RootRef | None = Field(default=None, exclude_if=lambda name: name is None)
    """A root whose systemd-repart makes the partitions, with its programs for file systems. Default: Stagewright makes
    them. `Encrypt=` and `Subvolumes=` need it."""
    key_file: KeyFile | None = Field(default=None, exclude_if=lambda name: name is None)
    """The file with the passphrase of partitions with `Encrypt=key-file`, outside of the project. All of its bytes
    count, also a line break at the end."""
    layout: LayoutName = "ext4"
    """The partitions: the name of a layout in docs/disks.md, or a folder of the project with definitions (repart.d(5)),
    whose path has a /."""
    format: Annotated[Format, ByValue()] = Format.QCOW2
    """`qcow2` (compressed with zstd), `raw`, `vmdk` (VMware; streamOptimized), `vhd` (Hyper-V), `vdi` (VirtualBox), or
    `ova`, a vmdk with the description of a machine."""
    size: DiskSize = "8G"
    """The size of the disk, or `auto` for the smallest one. Unused space takes no room on the host."""
    esp: Size | None = None
    """The size of the EFI system partition; default: what the layout says."""
    loader: Annotated[Loader, ByValue()] = Loader.SYSTEMD_BOOT
    """The boot loader; default: the payload's, if it has one. `grub-hybrid` starts by UEFI and BIOS with a layout such
    as `hybrid`; `uki` is one EFI file."""
    uki: bool = False
    """With systemd-boot: each kernel as one EFI program with its initramfs and arguments, in EFI/Linux."""
    kernel_arguments: SystemArguments = SystemArguments()
    """The kernel's command line, after the arguments that find the root."""

    @field_validator("loader")
    @classmethod
    def _starts_disks(cls, loader: Loader) -> Loader:
        if loader not in _LOADERS:
            facts = {"loader": loader.value, "hint": f"set loader to {' or '.join(_LOADERS)}"}
            raise PydanticCustomError("loader", "{loader} does not support disk images", facts)
        return loader

    @model_validator(mode="after")
    def _fits(self) -> DiskImage2:
        if self.uki and self.loader is not Loader.SYSTEMD_BOOT:
            facts = {"loader": self.loader.value, "hint": "remove `uki`, or set loader to systemd-boot"}
            raise PydanticCustomError("uki", "`uki`: {loader} does not start the programs in EFI/Linux", facts)
        if self.key_file and not self.repart:
            facts = {"hint": "name a root with systemd-repart in `repart`, or remove `key_file`"}
            raise PydanticCustomError("key_file", "`key_file` is for systemd-repart", facts)
        return self

    @property
    def size_limit(self) -> None:
        """None: `size` is that of the disk, which the file is smaller than."""
        return None

    @property
    def _programs(self) -> tuple[Loader, ...]:
        """The boot loaders whose files it takes from the payload."""
        return (self.loader, *([Loader.UKI] if self.uki else []))

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check the layout, and that the settings of the payload have the boot loader and what the layout needs."""
        entry = project.entries["stages"].get(self.boot)
        payload = entry.model if entry else None
        if entry and not isinstance(payload, LiveStage2):
            hint = "name a stage of kind livecd-stage2"
            yield ("boot",), StagewrightError(Reason.INVALID_VALUE, f"boot: {self.boot!r} is not a payload", hint=hint)
        elif isinstance(payload, LiveStage2):
            for loader in self._programs:
                if loader not in payload.loaders:
                    key = "loader" if loader is self.loader else "uki"
                    message = f"{key}: {loader} not found in payload {self.boot!r}"
                    hint = f'add "{loader}" to `loaders` of {self.boot!r}'
                    if fitting := [f'"{one}"' for one in payload.loaders if one in _LOADERS and key == "loader"]:
                        hint = f"write loader = {' or '.join(fitting)}, or {hint}"
                    yield (key,), StagewrightError(Reason.INVALID_VALUE, message, hint=hint)
        try:
            definitions = self.read_layout(project.path(self.layout), self._texts(project.path(self.layout)))
        except ProblemsError as several:
            yield from ((("layout",), problem) for problem in several.problems)
        except StagewrightError as error:
            yield ("layout",), error
        else:
            yield from self._bios(definitions)
            yield from self._key_file(definitions)
            if isinstance(payload, LiveStage2):
                yield from self._missing_modules(definitions, payload)

    def _key_file(self, definitions: Sequence[Definition]) -> Iterator[tuple[KeyPath, StagewrightError]]:
        encrypted = [one.name for one in definitions if one.is_encrypted]
        if encrypted and not self.key_file:
            what = f"key_file: missing (the layout encrypts {', '.join(encrypted)})"
            hint = "write the passphrase to a file outside of the project, and name it in `key_file`"
            yield ("layout",), StagewrightError(Reason.MISSING_KEY, what, hint=hint)
        elif self.key_file and not encrypted:
            what = f"key_file: layout {self.layout!r} has no partition with Encrypt=key-file"
            yield ("key_file",), StagewrightError(Reason.INVALID_VALUE, what, hint="remove key_file, or write Encrypt=")

    def missing(self) -> Iterator[StagewrightError]:
        """Yield an error if the file with the passphrase does not exist or is empty."""
        yield from super().missing()
        path = self._passphrase
        if path and not (path.is_file() and path.stat().st_size):
            what = f"key_file: file not found, or empty: {path}"
            yield StagewrightError(Reason.MISSING_FILE, what, hint="write the passphrase to it: printf %s PASSPHRASE")

    @property
    def _passphrase(self) -> Path | None:
        return Path(self.key_file).expanduser() if self.key_file else None

    def _bios(self, definitions: Sequence[Definition]) -> Iterator[tuple[KeyPath, StagewrightError]]:
        has_partition = any(one.is_bios_boot for one in definitions)
        if has_partition and not self.loader.is_bios:
            what = f"loader: {self.loader} does not start by BIOS, and the layout has a BIOS boot partition"
            hint = f"set loader to {Loader.GRUB_HYBRID}, or use another layout"
            yield ("loader",), StagewrightError(Reason.INVALID_VALUE, what, hint=hint)
        elif self.loader.is_bios and not has_partition:
            what = f"layout: {self.layout!r} has no BIOS boot partition for {self.loader}"
            hint = 'set layout = "hybrid", or add a partition to your layout: see docs/disks.md'
            yield ("layout",), StagewrightError(Reason.INVALID_VALUE, what, hint=hint)

    def _missing_modules(
        self, definitions: Sequence[Definition], payload: LiveStage2
    ) -> Iterator[tuple[KeyPath, StagewrightError]]:
        modules = (*payload.initramfs.modules, *payload.initramfs.network)
        verity = any(one.verity is Verity.DATA for one in definitions)
        if verity and not any(name in VERITY_MODULES for name in modules):
            message = f"layout: the initramfs of {self.boot!r} does not open a root with Verity="
            hint = f'add "{VERITY_MODULES[0]}" to `initramfs.modules` of {self.boot!r}'
            yield ("layout",), StagewrightError(Reason.INVALID_VALUE, message, hint=hint)

    def _texts(self, path: Path) -> dict[str, str]:
        return texts_of(self.layout, path if "/" in self.layout else None)

    def read_layout(self, folder: Path, texts: Mapping[str, str]) -> list[Definition]:
        """Return the partitions of the layout, with the size of the setting `esp`. Raises: INVALID_VALUE."""
        place = folder if "/" in self.layout else Path(self.layout)
        definitions = read_definitions(texts, place)
        check_layout(definitions, repart=self.repart is not None)
        if self.esp is None:
            return definitions
        sizes = {"size_min": parse_size(self.esp), "size_max": parse_size(self.esp)}
        return [one.model_copy(update=sizes) if one.is_esp else one for one in definitions]

    def ingredients(self, name: str, scope: Scope) -> list[Ingredient]:
        """Return the root, and the parts of the payload that are on the disk."""
        parts = tuple(f"loader-{loader}" for loader in self._programs)
        return [Ingredient(stage=self.root), Ingredient(stage=self.boot, parts=parts)]

    def file_name(self, node_id: str, scope: Scope) -> str:
        """Return the name of the image: that of the settings, or project, stage, architecture and version."""
        info = scope.project.info
        if self.name:
            return f"{self.name}.{self.format.suffix}"
        return f"{info.name}-{node_id}-{scope.arch(self.root)}-{info.version}.{self.format.suffix}"

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node, with the programs that its layout and its signatures need."""
        node = super().node(node_id, scope)
        path = scope.project.path(self.layout)
        formats = [one.format for one in self.read_layout(path, self._texts(path)) if one.format]
        formats = [] if self.repart else formats
        makers = dict.fromkeys(name for kind in formats for name in kind.programs if name in _MAKERS)
        signs = self._keys(scope) is not None
        return replace(node, tools=(*node.tools, *makers, *([SIGN.program] if signs else [])))

    def node_context(self, node_id: str, scope: Scope) -> DiskContext:
        """Return the name of the file, the title in the boot menu, the layout, and the keys to sign with."""
        info = scope.project.info
        return DiskContext(
            **dict(super().node_context(node_id, scope)),
            title=self.title_for(info.name, info.version),
            definitions=self._texts(scope.project.path(self.layout)),
            secure_boot=self._keys(scope),
        )

    def node_files(self, scope: Scope) -> NodeFiles:
        """Return the files that the settings name, and the certificate of the payload's keys."""
        return with_certificate(super().node_files(scope), self._keys(scope), scope)

    def _keys(self, scope: Scope) -> SecureBoot | None:
        makes = self.uki or self.loader is Loader.UKI
        return payload_keys(scope, self.boot) if makes else None

    def _check_payload(self, folder: Path) -> None:
        if unfit := Payload.read(folder).without_reboot(self.kernel_arguments.extra):
            message, hint = unfit
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, f"the payload {self.boot!r} {message}", hint=hint)

    def build(self, work: Work[DiskContext]) -> Built:
        """Add kernel modules and fstab to the root, and write the image."""
        payload = work.artifact("boot")
        self._check_payload(payload)
        root = work.mount("root")
        packages = packages_of(root.path, work.remembered("root"))
        if wrong := without_init(root.path, self.kernel_arguments.extra):
            work.notice(f"{self.root}: {wrong}")
        add_modules(root, payload, work.epoch)
        source = self._source(work, root)
        _write_fstab(source, root, work)
        mark_root(root.path, work.context.private_channel, work.epoch)
        files.clamp_times(root.upper, work.epoch)
        if differs := sorted({why for one in source.definitions for why in _differences(one)}):
            work.notice(f"{work.context.file_name}: {', '.join(differs)}: another build of this image has other bytes")
        formats = [one.format for one in source.definitions if one.format and one.mount and one.mount.path == "/"]
        for driver in without_driver(payload, formats, work.new_folder("initramfs")):
            hint = f'add "{driver}" to `initramfs.drivers` of {self.boot!r}'
            work.notice(f"{work.context.file_name}: the initramfs has no {driver}, so the disk does not start; {hint}")
        work.phase("assemble")
        target = work.new_folder("tree") / work.context.file_name
        contents = list_tree(root.path, target, epoch=work.epoch, log=work.log, devices=source.devices)
        raw = target if self.format is Format.RAW else work.folder / "disk.img"
        size = None if self.size == _AUTO else parse_size(self.size)
        programs = payload / LOADERS / self.loader
        bios = BiosCode(programs / CORE_IMAGE, programs / BOOT_IMAGE) if self.loader.is_bios else None
        boot_files = self._boot_files(work, source, payload)
        if self.repart:
            RepartWriter(source, self._tools(work, source), self._passphrase, bios).write(boot_files, size, raw)
        else:
            DiskWriter(source, bios=bios).write(boot_files, size, raw)
        if raw != target:
            work.phase("compress")
            project = work.context.project
            appliance = Appliance(target.stem, project.name, project.version, efi=not self.loader.is_bios)
            convert(self.format, raw, target, appliance, work.epoch, work.log)
        work.phase("digest")
        return self.with_manifest(work, target, packages, digest_artifact(target), contents)

    def _tools(self, work: Work[DiskContext], source: DiskSource) -> Root:
        """Mount the root with systemd-repart. Raises: ENVIRONMENT_LACKS for programs that it does not have."""
        key = work.inputs["repart"].key
        folder = work.new_folder("tools")
        tools = work.runnable(Root.mount(folder, work.store.stack(key), binds=mount_points(folder), log=work.log))
        raise_if_missing(missing_for_repart(tools, source.definitions, self.repart or ""))
        return tools

    def _source(self, work: Work[DiskContext], root: Root) -> DiskSource:
        machine: Machine = machine_of(root.path) or host_machine()
        EfiArch.of(machine.arch)
        definitions = self.read_layout(Path(self.layout), work.context.definitions)
        check_machine(definitions, machine)
        project = work.context.project
        known = values_of(files.read_file(root.path, OS_RELEASE) or "", IDENTIFIERS)
        return DiskSource(
            name=work.context.file_name,
            machine=machine,
            definitions=definitions,
            root=root.path,
            devices=work.devices("root", root.path),
            image_id=known.get("IMAGE_ID") or project.name,
            image_version=known.get("IMAGE_VERSION") or project.version,
            work=work.new_folder("media"),
            epoch=work.epoch,
            cores=work.cores,
            log=work.log,
        )

    def _boot_files(self, work: Work[DiskContext], source: DiskSource, payload: Path) -> BootFiles:
        """Return the function that makes the files of the EFI system partition."""
        known = values_of(files.read_file(source.root, OS_RELEASE) or "", IDENTIFIERS)
        boot = DiskBoot(
            payload=payload,
            work=work.new_folder("loader"),
            arch=Arch(source.machine.arch),
            loader=self.loader,
            unified=self.uki,
            name=f"{source.image_id}_{source.image_version}",
            title=work.context.title,
            timeout=self.timeout,
            arguments=self.kernel_arguments,
            identifiers={"IMAGE_ID": source.image_id, "IMAGE_VERSION": source.image_version, **known},
            epoch=work.epoch,
        )

        def make(root_arguments: Sequence[str]) -> Mapping[str, Path]:
            found = boot.files(root_arguments)
            for program in found.values():
                if work.context.secure_boot and program.is_relative_to(boot.work) and program.suffix.lower() == ".efi":
                    sign(program, work.context.secure_boot, work.files, work.epoch, work.log)
            return found

        return make


def _differences(one: Definition) -> Iterator[str]:
    """Yield why two builds of a partition differ."""
    if one.format is FileSystem.BTRFS:
        yield "btrfs"
    if one.is_encrypted:
        yield "Encrypt="


def _write_fstab(source: DiskSource, root: Root, work: Work[DiskContext]) -> None:
    """Write /etc/fstab and /etc/crypttab, unless the root has them with entries."""
    for path in sorted({one.mount.path for one in source.definitions if one.mount and one.mount.path != "/"}):
        files.make_folder(root.path, path, epoch=work.epoch)
    for path, lines in ((FSTAB, source.fstab()), (CRYPTTAB, source.crypttab())):
        text = files.read_file(root.path, path) or ""
        if lines and re.search(r"^\s*[^#\s]", text, re.MULTILINE):
            work.notice(f"{work.context.file_name}: {path} of the root is kept")
        elif lines:
            files.write_file(root.path, path, lines, epoch=work.epoch)
