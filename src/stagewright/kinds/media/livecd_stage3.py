"""livecd-stage3: payload and live root become an ISO (R21); no package manager, no compiler, no chroot.

The squashfs is a node of its own with two inputs, shared with everything else that asks for the same (R63).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Yields
from stagewright.kernel.choose import KernelName
from stagewright.kinds.common.base import Built, Scope, Stage, Work
from stagewright.kinds.common.released import about, release
from stagewright.kinds.common.tools import IMPLANTISOMD5, SIGN, Tool
from stagewright.kinds.media.livecd_stage2 import LiveStage2
from stagewright.kinds.media.squashfs import SHA512, SquashfsSettings, squashfs_node
from stagewright.media.arguments import InitramfsKind, KernelArguments, Mode
from stagewright.media.iso import implant_md5, make_iso
from stagewright.media.layout import IMAGE, Settings, Squashed, image_of, unfit
from stagewright.media.loaders import Loader
from stagewright.media.payload import Payload
from stagewright.media.signing import SecureBoot, sign
from stagewright.portage.installed import INSTALLED, from_data
from stagewright.project.fields import ByValue, FilesRef, FolderPath, Matching, StageRef
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.release.artifact_digests import digest_artifact
from stagewright.root.budget import Size, parse_size

VolumeId = Annotated[str, Matching(r"[A-Za-z0-9_.-]{1,32}", "at most 32 letters, digits and _ . - without spaces")]
"""A volume id: at most 32 characters (ISO 9660), and no spaces, since kernels find the medium by it."""

Title = Annotated[str, Matching(r"[^\x00-\x1f\"\\$`]{1,100}", 'one line of at most 100 characters without " \\ $ `')]
"""What a boot menu says; loaders read it from files of their own syntax."""

Console = Annotated[str, Matching(r"[^\s\"]+", "a console such as ttyS0,115200")]


class LiveStage3(Stage, SquashfsSettings, kind="livecd-stage3"):
    """A stage of kind ``livecd-stage3``."""

    yields = Yields.ARTIFACT
    publishes = True
    required_tools = (
        Tool("xorriso", "xorriso", "dev-libs/libisoburn"),
        Tool("mcopy", "mtools", "sys-fs/mtools"),
        Tool("mkfs.vfat", "dosfstools", "sys-fs/dosfstools"),
    )
    optional_tools = (SIGN, IMPLANTISOMD5)
    key_tools = ("xorriso", "mcopy", "mkfs.vfat")

    live: StageRef
    """The live root, a livecd-stage1."""
    boot: FilesRef
    """The payload, a livecd-stage2."""
    kernel: KernelName | None = Field(default=None, exclude_if=lambda name: name is None)
    """Which of the payload's `kernels` starts by itself, or is in a unified kernel image; default: its first."""
    volume_id: VolumeId | None = None
    """The volume id, by which the kernel finds the medium; default: the project's name in capitals."""
    loader: Annotated[Loader, ByValue()] = Loader.SYSTEMD_BOOT
    """The boot loader. `grub-hybrid` starts under UEFI and BIOS, `isolinux` under BIOS alone, `uki` is one EFI file."""
    title: Title | None = None
    """The line in the boot menu; default: the project's name and version."""
    timeout: Annotated[int, Field(ge=0, le=3600)] = 3
    """How long the boot menu waits, in seconds."""
    kernel_arguments: KernelArguments = KernelArguments()
    """The kernel's command line."""
    entries: list[Annotated[Mode, ByValue()]] = []
    """More lines in the boot menu: copy to memory, check the medium first, keep changes."""
    consoles: list[Console] = []
    """A further line in the boot menu for each of these consoles, which leads there."""
    memtest: bool = False
    """A line in the boot menu for memtest86+, which the payload must carry."""
    theme: FolderPath | None = None
    """A folder with a theme for GRUB's menu: `theme.txt`, pictures, fonts (*.pf2)."""
    checksums: bool = True
    """Put `sha512sums` on the medium, for `sha512sum --check` there and `stagewright media check`."""
    esp: Size | None = None
    """The size of the EFI system partition, such as 128M; default: as large as it must be."""

    @model_validator(mode="after")
    def _fits(self) -> LiveStage3:
        more = [name for name in ("entries", "consoles", "memtest") if getattr(self, name)]
        if more and not self.loader.has_menu:
            facts = {"name": more[0], "hint": "one image has one command line: set it by kernel_arguments"}
            raise PydanticCustomError("loader", "`{name}`: loader = uki has no boot menu", facts)
        if self.theme and not self.loader.is_grub:
            facts = {"loader": self.loader.value, "hint": "set loader to grub or grub-hybrid"}
            raise PydanticCustomError("loader", "`theme`: {loader} knows no themes", facts)
        if self.esp and not self.loader.is_efi:
            facts = {"loader": self.loader.value, "hint": "leave it out"}
            raise PydanticCustomError("loader", "`esp`: {loader} starts under BIOS, which has no such partition", facts)
        return self

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """What the payload does not carry, as far as the project tells."""
        entry = project.entries["stages"].get(self.boot)
        payload = entry.model if entry else None
        if not isinstance(payload, LiveStage2):
            hint = "name a stage of kind livecd-stage2"
            error = StagewrightError(Reason.INVALID_VALUE, f"boot: {self.boot!r} is no payload", hint=hint)
            if entry:
                yield ("boot",), error
            return
        yield from payload.unknown_kernel(self.kernel, self.boot)
        if self.loader not in payload.loaders:
            hint = f'add "{self.loader}" to `loaders` of {self.boot!r}'
            message = f"loader: the payload {self.boot!r} carries no {self.loader}"
            yield ("loader",), StagewrightError(Reason.INVALID_VALUE, message, hint=hint)
        if self.memtest and not payload.memtest:
            hint = f"set `memtest = true` in {self.boot!r} too"
            message = f"memtest: the payload {self.boot!r} carries no memtest86+"
            yield ("memtest",), StagewrightError(Reason.INVALID_VALUE, message, hint=hint)

    def expand(self, name: str, scope: Scope) -> None:
        """Two nodes: the squashfs, and the ISO that takes it and the payload."""
        info = scope.project.info
        squashfs = scope.add(squashfs_node(scope, self.live, self.boot, self))
        keys = self._keys(scope)
        node = self.node(
            name,
            scope,
            file_name=f"{info.name}-{name}-{scope.arch(self.live)}-{info.version}.iso",
            title=self.title or f"{info.name} {info.version}",
            volume_id=self.volume_id or info.name.upper().replace("+", "_")[:32],
            secure_boot=keys.model_dump() if keys else None,
            **about(scope),
        )
        files = {keys.certificate: scope.project.path(keys.certificate)} if keys else {}
        inputs = {"boot": node.inputs["boot"], "squashfs": squashfs}
        tools = (*node.tools, *self._more_tools(signs=keys is not None))
        scope.add(replace(node, inputs=inputs, files={**node.files, **files}, tools=tools))
        scope.targets[name] = (name,)

    def _keys(self, scope: Scope) -> SecureBoot | None:
        """The payload's keys, for the one program that is made here; what the payload carries is signed already."""
        payload = scope.entry(self.boot).model
        return payload.secure_boot if isinstance(payload, LiveStage2) and self.loader is Loader.UKI else None

    def _more_tools(self, *, signs: bool) -> Iterator[str]:
        if signs:
            yield SIGN.program
        if self.kernel_arguments.verify or Mode.VERIFY in self.entries:
            yield IMPLANTISOMD5.program

    def build(self, work: Work) -> Built:
        """Lay out the files and write the ISO."""
        work.phase("assemble")
        folder = work.artifact("boot")
        payload, settings = Payload.read(folder).led_by(self.kernel), self._settings(work)
        wrong = unfit(settings, payload, self.compression)
        if wrong:
            message, hint = wrong
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, f"the payload {self.boot!r} {message}", hint=hint)
        made = work.store.meta(Yields.ARTIFACT, work.inputs["squashfs"].key).facts
        squashfs = Squashed(work.artifact("squashfs") / IMAGE, made[SHA512])
        image = image_of(settings, payload, folder, squashfs, work.new_folder("loader"), work.epoch)
        if work.context["secure_boot"]:
            for program in image.efi_files.values():  # the one that was made here, see _keys
                sign(program, SecureBoot(**work.context["secure_boot"]), work.files, work.epoch, work.log)
        target = work.new_folder("tree") / work.context["file_name"]
        make_iso(image, target, work.new_folder("media"), work.epoch, work.log)
        if settings.verifies and any(kernel.by is InitramfsKind.DRACUT for kernel in payload.kernels):
            implant_md5(target, work.log)
        work.phase("digest")
        release(work, target, from_data(made[INSTALLED]), digest_artifact(target), payload=asdict(payload))
        return Built(target.parent, (), {"file": target.name, "bytes": target.stat().st_size})

    def _settings(self, work: Work) -> Settings:
        return Settings(
            loader=self.loader,
            arguments=self.kernel_arguments,
            title=work.context["title"],
            volume_id=work.context["volume_id"],
            modes=tuple(self.entries),
            consoles=tuple(self.consoles),
            timeout=self.timeout,
            memtest=self.memtest,
            checksums=self.checksums,
            esp=parse_size(self.esp) if self.esp else 0,
            theme=work.files[self.theme] if self.theme else None,
        )
