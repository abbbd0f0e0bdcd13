"""livecd-stage3: payload and live root become an ISO (R21); no package manager, no compiler, no chroot.

The squashfs is a node of its own with two inputs, shared with everything else that asks for the same (R63).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Yields
from stagewright.media.arguments import KernelArguments
from stagewright.media.iso import Image, make_iso
from stagewright.media.loaders import EFI_PROGRAM, Entry, Loader, Menu
from stagewright.media.payload import Payload
from stagewright.portage.installed import INSTALLED, from_data
from stagewright.project.fields import FilesRef, StageRef, Word
from stagewright.release.digests import digests_of
from stagewright.stages.base import Built, Scope, Stage, Work
from stagewright.stages.livecd_stage2 import INITRAMFS, KERNEL, LOADERS
from stagewright.stages.released import about, release
from stagewright.stages.squashfs import IMAGE, SquashfsSettings, squashfs_node
from stagewright.stages.tools import Tool

VolumeId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$")]
"""A volume id: at most 32 characters (ISO 9660), and no spaces, since kernels find the medium by it."""


class LiveStage3(Stage, SquashfsSettings, kind="livecd-stage3"):
    """A stage of kind ``livecd-stage3``."""

    yields = Yields.ARTIFACT
    publishes = True
    needs = (
        Tool("xorriso", "xorriso", "dev-libs/libisoburn"),
        Tool("mcopy", "mtools", "sys-fs/mtools"),
        Tool("mkfs.vfat", "dosfstools", "sys-fs/dosfstools"),
    )
    traces = ("xorriso", "mcopy", "mkfs.vfat")

    live: StageRef
    """The live root, a livecd-stage1."""
    boot: FilesRef
    """The payload, a livecd-stage2."""
    volume_id: VolumeId | None = None
    """The volume id, by which the kernel finds the medium; default: the project's name in capitals."""
    loader: Annotated[Loader, Word()] = Loader.SYSTEMD_BOOT
    """The boot loader."""
    title: str | None = None
    """The line in the boot menu; default: the project's name and version."""
    timeout: Annotated[int, Field(ge=0, le=3600)] = 3
    """How long the boot menu waits, in seconds."""
    kernel_arguments: KernelArguments = KernelArguments()
    """The kernel's command line."""

    def expand(self, name: str, scope: Scope) -> None:
        """Two nodes: the squashfs, and the ISO that takes it and the payload."""
        info = scope.project.info
        settings = SquashfsSettings(**{field: getattr(self, field) for field in SquashfsSettings.model_fields})
        squashfs = scope.add(squashfs_node(scope, self.live, self.boot, settings))
        node = self.node(
            name,
            scope,
            file_name=f"{info.name}-{name}-{scope.arch(self.live)}-{info.version}.iso",
            title=self.title or f"{info.name} {info.version}",
            volume_id=self.volume_id or info.name.upper().replace("+", "_")[:32],
            **about(scope),
        )
        inputs = {"boot": node.inputs["boot"], "squashfs": squashfs}
        scope.add(replace(node, inputs=inputs))
        scope.targets[name] = (name,)

    def build(self, work: Work) -> Built:
        """Lay out the files and write the ISO."""
        work.phase("assemble")
        payload = work.artifact("boot")
        program = payload / LOADERS / self.loader / EFI_PROGRAM
        if not program.exists():
            raise StagewrightError(
                Reason.ENVIRONMENT_LACKS,
                f"the payload {self.boot!r} carries no {self.loader}",
                hint=f'add "{self.loader}" to `loaders` of {self.boot!r}',
            )
        kernel = {KERNEL: payload / KERNEL, INITRAMFS: payload / INITRAMFS}
        configuration = self._configuration(work)
        media = {**kernel, IMAGE: work.artifact("squashfs") / IMAGE}
        efi = {f"EFI/BOOT/{EFI_PROGRAM}": program, **configuration}
        if self.loader.reads_iso:
            media |= efi  # GRUB on a CD reads its configuration from the ISO file system
        else:
            efi |= kernel
        target = work.new_folder("tree") / work.context["file_name"]
        image = Image(work.context["volume_id"], media, efi)
        make_iso(image, target, work.new_folder("media"), work.epoch, work.log)
        work.phase("digest")
        packages = work.store.meta(Yields.ARTIFACT, work.inputs["squashfs"].key).facts[INSTALLED]
        release(work, target, from_data(packages), digests_of(target))
        return Built(target.parent, (), {"file": target.name, "bytes": target.stat().st_size})

    def _configuration(self, work: Work) -> dict[str, Path]:
        volume_id = work.context["volume_id"]
        arguments = self.kernel_arguments
        payload = Payload.read(work.artifact("boot"))
        menu = Menu(
            entries=[
                Entry("live", work.context["title"], payload.kernels[0].by.for_medium(arguments, volume_id, IMAGE))
            ],
            timeout=self.timeout,
            volume_id=volume_id,
            kernel=KERNEL,
            initramfs=INITRAMFS,
            serial=arguments.serial,
        )
        written = {}
        folder = work.new_folder("loader")
        for name, text in self.loader.configuration(menu).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            os.utime(path, (work.epoch, work.epoch))
            written[name] = path
        return written
