"""livecd-stage3: an ISO made of a payload and a live root.

All parts are finished files: the build needs no package manager, compiler or chroot. The squashfs is a separate node
with the payload and the live root as its inputs. All media with the same inputs and squashfs settings share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Node, NodeFiles
from stagewright.kinds.common.artifact import FileArtifactKind, Ingredient
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import ArtifactContext
from stagewright.kinds.common.tools import IMPLANTISOMD5, SIGN, Tool
from stagewright.kinds.common.work import Built, Work
from stagewright.kinds.media.livecd_stage2 import LiveStage2, payload_keys, with_certificate
from stagewright.kinds.media.squashfs import SquashfsFacts, SquashfsSettings, squashfs_node
from stagewright.media.arguments import InitramfsKind
from stagewright.media.loaders import Loader
from stagewright.media.payload import IMAGE, Payload
from stagewright.media.settings import IsoSettings
from stagewright.media.signing import SecureBoot, sign
from stagewright.project.fields import FilesRef, StageRef
from stagewright.project.inferred import OnlyChoice
from stagewright.project.model import Project
from stagewright.project.source import KeyPath

if TYPE_CHECKING:
    from stagewright.media.layout import MediumParts


class IsoContext(ArtifactContext):
    """Context of an ISO."""

    title: str
    volume_id: str
    publisher: str
    application: str
    secure_boot: SecureBoot | None
    """The keys to sign the EFI program that this build makes; None if it makes none, or if the payload has no keys."""


class LiveStage3(FileArtifactKind, SquashfsSettings, IsoSettings, kind="livecd-stage3"):
    """A stage of kind ``livecd-stage3``."""

    required_tools = (
        Tool("xorriso", "xorriso", "dev-libs/libisoburn"),
        Tool("mcopy", "mtools", "sys-fs/mtools"),
        Tool("mkfs.vfat", "dosfstools", "sys-fs/dosfstools"),
    )
    optional_tools = (SIGN, IMPLANTISOMD5)
    key_tools = ("xorriso", "mcopy", "mkfs.vfat")
    context_model = IsoContext
    only_choices: ClassVar[Mapping[str, OnlyChoice]] = {"loader": OnlyChoice(of="boot", among="loaders")}

    live: StageRef
    """The live root, a livecd-stage1."""
    boot: FilesRef
    """The payload, a livecd-stage2."""

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that the payload will contain the kernel, the boot loader and the memtest86+ of this ISO."""
        entry = project.entries["stages"].get(self.boot)
        payload = entry.model if entry else None
        if not isinstance(payload, LiveStage2):
            hint = "name a stage of kind livecd-stage2"
            error = StagewrightError(Reason.INVALID_VALUE, f"boot: {self.boot!r} is not a payload", hint=hint)
            if entry:
                yield ("boot",), error
            return
        yield from payload.unknown_kernel(self.kernel, self.boot)
        yield from self.without_loader(payload, self.boot)
        if self.loader not in payload.loaders:
            known = " or ".join(f'"{loader}"' for loader in payload.loaders)
            hint = f'write loader = {known}, or add "{self.loader}" to `loaders` of {self.boot!r}'
            message = f"loader: {self.loader} not found in payload {self.boot!r}"
            yield ("loader",), StagewrightError(Reason.INVALID_VALUE, message, hint=hint)
        if self.memtest and not payload.memtest:
            hint = f"set `memtest = true` in {self.boot!r} too"
            message = f"memtest: memtest86+ not found in payload {self.boot!r}"
            yield ("memtest",), StagewrightError(Reason.INVALID_VALUE, message, hint=hint)

    def expand(self, name: str, scope: Scope) -> None:
        """Add two nodes: the squashfs, and the ISO, whose inputs are the squashfs and the payload."""
        scope.add(self._squashfs(scope))
        super().expand(name, scope)

    def ingredients(self, name: str, scope: Scope) -> list[Ingredient]:
        """Return the live root, and the parts of the payload that are on the medium."""
        more = self.installed_parts(scope.entry(self.boot).model)
        parts = tuple(dict.fromkeys([f"loader-{self.loader}", *(["memtest"] if self.memtest else []), *more]))
        return [Ingredient(stage=self.live), Ingredient(stage=self.boot, parts=parts)]

    def _squashfs(self, scope: Scope) -> Node:
        return squashfs_node(scope, self.live, self.boot, self)

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node of the ISO, with the tools that these settings need."""
        node = super().node(node_id, scope)
        return replace(node, tools=(*node.tools, *self._more_tools(signs=self._keys(scope) is not None)))

    def file_name(self, node_id: str, scope: Scope) -> str:
        """Return the name of the ISO: that of the settings, or project, stage, architecture and version."""
        info = scope.project.info
        if self.name:
            return f"{self.name}.iso"
        return f"{info.name}-{node_id}-{scope.arch(self.live)}-{info.version}.iso"

    def node_context(self, node_id: str, scope: Scope) -> IsoContext:
        """Return the file name, the title and the volume id of the ISO, and the keys to sign with."""
        info = scope.project.info
        return IsoContext(
            **dict(super().node_context(node_id, scope)),
            title=self.title_for(info.name, info.version),
            volume_id=self.volume_id or info.name.upper().replace("+", "_")[:32],
            publisher=self.publisher or info.name,
            application=self.application or f"{info.name} {info.version}".encode("ascii", "replace").decode()[:128],
            secure_boot=self._keys(scope),
        )

    def node_inputs(self, scope: Scope) -> dict[str, str]:
        """Return the payload and the squashfs; the live root is an input of the squashfs."""
        return {"boot": super().node_inputs(scope)["boot"], "squashfs": self._squashfs(scope).id}

    def node_files(self, scope: Scope) -> NodeFiles:
        """Return the files that the settings name, and the certificate of the payload's keys."""
        return with_certificate(super().node_files(scope), self._keys(scope), scope)

    def _keys(self, scope: Scope) -> SecureBoot | None:
        """Return the payload's keys if this build makes an EFI program, which only the loader ``uki`` needs.

        The programs of other loaders are already signed in the payload.
        """
        return payload_keys(scope, self.boot) if self.loader is Loader.UKI else None

    def _more_tools(self, *, signs: bool) -> Iterator[str]:
        if signs:
            yield SIGN.program
        if self.verifies:
            yield IMPLANTISOMD5.program

    def build(self, work: Work[IsoContext]) -> Built:
        """Write the files and the ISO."""
        from stagewright.media.iso import implant_md5, make_iso
        from stagewright.media.layout import boot_menu, iso_contents, unsupported
        from stagewright.release.artifact_digests import DigestedFile, digest_artifact

        work.phase("assemble")
        parts, facts = self._parts(work)
        unfit = unsupported(
            parts.payload, self.compression, self.kernel_arguments, modes=self.entries, memtest=self.memtest
        )
        if unfit:
            message, hint = unfit
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, f"the payload {self.boot!r} {message}", hint=hint)
        menu = boot_menu(self, parts, work.context.title, work.context.volume_id)
        contents = iso_contents(self, menu, parts, work.new_folder("loader"), work.epoch)
        contents = replace(contents, publisher=work.context.publisher, application=work.context.application)
        if work.context.secure_boot:
            for program in contents.efi_files.values():  # see _keys
                sign(program, work.context.secure_boot, work.files, work.epoch, work.log)
        target = work.new_folder("tree") / work.context.file_name
        with DigestedFile(target) as image:
            make_iso(contents, image.write, work.new_folder("media"), work.epoch, work.log)
        digests = image.digests
        if self.verifies and any(kernel.by is InitramfsKind.DRACUT for kernel in parts.payload.kernels):
            implant_md5(target, work.log)
            work.phase("digest")
            digests = digest_artifact(target)  # implantisomd5 has changed the file
        return self.with_manifest(work, target, facts.installed, digests, payload=asdict(parts.payload))

    def _parts(self, work: Work[IsoContext]) -> tuple[MediumParts, SquashfsFacts]:
        """Return the parts of the medium, and the facts of its squashfs."""
        from stagewright.media.layout import MediumParts

        folder = work.artifact("boot")
        facts = work.facts("squashfs", SquashfsFacts)
        parts = MediumParts(
            payload=Payload.read(folder).with_first(self.kernel),
            folder=folder,
            squashfs=work.artifact("squashfs") / IMAGE,
            sha512=facts.sha512,
            verity=facts.verity,
            size=facts.bytes,
            os_release=facts.os_release,
            theme=_theme(work.files[self.theme], work) if self.theme else None,
        )
        return parts, facts


def _theme(path: Path, work: Work[IsoContext]) -> Path:
    """Return the folder of a theme. A tarball is unpacked; its first folder with a theme.txt is the theme."""
    from stagewright.confined import Tree
    from stagewright.seeds.unpack import unpack

    if path.is_dir():
        return path
    folder = work.new_folder("theme")
    unpack(path, folder, work.log)
    names = sorted(name for name, _ in Tree(folder, links=False).files() if Path(name).name == "theme.txt")
    if not names:
        message = f"theme: the tarball {path.name} has no theme for GRUB (no theme.txt)"
        raise StagewrightError(Reason.BUILD_FAILED, message, hint="see GRUB's manual, Theme file format")
    return folder / Path(names[0]).parent
