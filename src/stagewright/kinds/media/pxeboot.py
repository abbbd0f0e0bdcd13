"""pxeboot: a folder for network boot, made of a payload and a live root, for any web server.

Inputs: a payload and a live root, as for livecd-stage3. The squashfs is the same node too. Kernel, initramfs and image
are hard links to the files of the payload and of the squashfs. The stage compiles nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Node, NodeFiles
from stagewright.kinds.common.artifact import ArtifactKind, Ingredient, manifest_of
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import ReleasedContext
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.tools import OPENSSL, SIGN
from stagewright.kinds.common.work import Built, Work
from stagewright.kinds.media.livecd_stage2 import LiveStage2, payload_keys, with_certificate
from stagewright.kinds.media.squashfs import SquashfsFacts, SquashfsSettings, squashfs_node
from stagewright.media.loaders import Loader
from stagewright.media.netmodules import NetModule
from stagewright.media.payload import IMAGE, INITRAMFS, KERNEL, LOADERS, BootKernel, Payload
from stagewright.media.settings import LiveSettings
from stagewright.media.signing import SecureBoot, sign
from stagewright.netboot.methods import COMBINED, CommandLine, Method, supported_methods
from stagewright.netboot.programs import PROGRAMS, NetLoader, check_payload
from stagewright.netboot.signatures import ImageSigning, check_certificate, sign_file
from stagewright.project.fields import ByValue, FilesRef, Matching, StageRef
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.root.budget import Size
from stagewright.root.sourced import titled_os_release
from stagewright.store.content import KnownDigest
from stagewright.units import parse_size

if TYPE_CHECKING:
    from stagewright.netboot.writer import NetSet, NetSetParts

Url = Annotated[str, Matching(r"https?://[^\s/]+(/[^\s]*)?", "a URL such as http://server/folder")]


NfsUrl = Annotated[
    str, Matching(r"nfs://[^\s/:]+(/[^\s]*)?|nfs4?:\S+:/\S*", "nfs://server/folder, or nfs:OPTIONS:server:/folder")
]
"""An address in a form of dracut.cmdline(7). Only the second form can have options, such as port=."""

NbdUrl = Annotated[str, Matching(r"nbd://[^\s/]+(/[^\s]*)?", "a URL such as nbd://server:10809/name")]


class NetSetContext(ReleasedContext):
    """Context of a folder for network boot."""

    title: str
    secure_boot: SecureBoot | None = None
    """The keys to sign the EFI programs that this build makes; None if it makes none, or if the payload has no keys."""


class NetSetFacts(Facts):
    """Facts of a folder for network boot."""

    script: str
    """Name of the script that iPXE runs."""
    base_url: str
    """The address of the folder on the web; empty if the stage does not set it."""
    files: dict[str, int]
    """Sizes in bytes by path."""
    memory: dict[str, int]
    """The memory that a machine needs, in MiB, by method."""
    limits: tuple[str, ...]
    """Notes for users about limits of the set."""


class PxeBoot(ArtifactKind, SquashfsSettings, LiveSettings, kind="pxeboot"):
    """A stage of kind ``pxeboot``."""

    optional_tools = (SIGN, OPENSSL)
    context_model = NetSetContext
    facts_model = NetSetFacts

    live: StageRef
    """The live root, a livecd-stage1."""
    boot: FilesRef
    """The payload, a livecd-stage2."""
    methods: list[Annotated[Method, ByValue()]] = []
    """Methods to get the image: `initrd`, `http`, `stream`, `nfs`, `nbd`. Machines use the first unless users select
    another. Default: all methods that the payload supports."""
    base_url: Url | None = None
    """The address of the folder on the web. PXELINUX and GRUB need it to fetch the image; iPXE does not."""
    nfs_url: NfsUrl | None = None
    """The address of the folder on an NFS server, for method `nfs`. A script of iPXE can set `nfs-url` instead."""
    nbd_url: NbdUrl | None = None
    """The address of the image on an NBD server, for method `nbd`. A script of iPXE can set `nbd-url` instead."""
    combined: bool = True
    """Also make one file of initramfs and image, for PXELINUX, GRUB and old versions of iPXE on UEFI machines."""
    uki: bool = False
    """Also make `boot.efi` for UEFI HTTP Boot. It fetches the image from `base_url`. The payload needs `uki`; its
    `secure_boot` signs the file."""
    single_file: bool = False
    """Also make `single.efi` for UEFI, which contains the image. The payload needs `uki`; its `secure_boot` signs the
    file."""
    loaders: list[Annotated[NetLoader, ByValue()]] | None = None
    """Boot loaders to copy into the folder; default: all `network_loaders` of the payload."""
    sign: ImageSigning | None = Field(default=None, exclude_if=lambda keys: keys is None)
    """Sign kernel, initramfs and script, so that an iPXE with `imgverify` starts no other ones."""
    budget: dict[str, Size] = {}
    """The largest permitted sizes of files, by pattern: { "combined.igz" = "600M" }. Larger files are an error."""

    @field_validator("methods")
    @classmethod
    def _once(cls, methods: list[Method]) -> list[Method]:
        if len(set(methods)) != len(methods):
            raise PydanticCustomError("methods", "a method is listed twice", {"hint": "list each method once"})
        return methods

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that the payload will contain the kernel, the programs and the dracut modules of this set."""
        if self.uki and not self.base_url:
            problem = "uki: it needs `base_url`, the address of the image"
            yield (
                ("uki",),
                StagewrightError(Reason.MISSING_KEY, problem, hint="set `base_url`, or `single_file` instead of `uki`"),
            )
        entry = project.entry(self.boot)
        if not entry or not isinstance(entry.model, LiveStage2):
            if entry:
                problem, hint = f"boot: {self.boot!r} is not a payload", "name a stage of kind livecd-stage2"
                yield ("boot",), StagewrightError(Reason.INVALID_VALUE, problem, hint=hint)
            return
        yield from entry.model.unknown_kernel(self.kernel, self.boot)
        yield from self.without_loader(entry.model, self.boot)
        lacking = [module for module in self._modules() if module not in entry.model.initramfs.modules]
        if lacking:
            named = [name for name in ("methods", "uki") if getattr(self, name)]
            yield (named[0],), _cannot_fetch(self.boot, lacking)
        if (self.uki or self.single_file) and Loader.UKI not in entry.model.loaders:
            problem = f"uki not found in `loaders` of payload {self.boot!r}"
            hint = f'add "uki" to `loaders` of {self.boot!r}'
            yield ("uki" if self.uki else "single_file",), StagewrightError(Reason.INVALID_VALUE, problem, hint=hint)
        missing = [loader for loader in self.loaders or [] if loader not in entry.model.network_loaders]
        if missing:
            problem = f"loaders: {', '.join(missing)} not found in payload {self.boot!r}"
            hint = f"add it to `network_loaders` of {self.boot!r}"
            yield ("loaders",), StagewrightError(Reason.INVALID_VALUE, problem, hint=hint)
        if self.sign and not entry.model.verity:
            problem = f"sign: machines do not verify the image of payload {self.boot!r} (verity = false)"
            hint = f"remove `verity = false` from {self.boot!r}, or `sign`"
            yield ("sign",), StagewrightError(Reason.INVALID_VALUE, problem, hint=hint)

    def expand(self, name: str, scope: Scope) -> None:
        """Add two nodes: the squashfs, which an ISO with the same settings also uses, and the folder."""
        scope.add(self._squashfs(scope))
        super().expand(name, scope)

    def ingredients(self, name: str, scope: Scope) -> list[Ingredient]:
        """Return the live root, and the parts of the payload that are in the set."""
        loaders = [f"network-{loader}" for loader in NetLoader if self.loaders is None or loader in self.loaders]
        payload = scope.entry(self.boot).model
        assert isinstance(payload, LiveStage2), "the project was checked"
        unified = [f"loader-{Loader.UKI}"] if self.uki or self.single_file else []
        parts = tuple(dict.fromkeys([*loaders, *unified, *self.installed_parts(payload)]))
        kernel = self.kernel or payload.first_kernel
        return [Ingredient(stage=self.live), Ingredient(stage=self.boot, kernels=(kernel,), parts=parts)]

    def _squashfs(self, scope: Scope) -> Node:
        return squashfs_node(scope, self.live, self.boot, self)

    def node_context(self, node_id: str, scope: Scope) -> NetSetContext:
        """Return the title of boot menus, and the project."""
        info = scope.project.info
        title = self.title_for(info.name, info.version)
        keys = self._keys(scope)
        return NetSetContext(
            source_date_epoch=scope.project.epoch,
            project=scope.version,
            private_channel=scope.private_channel(self),
            title=title,
            secure_boot=keys,
        )

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node. The program that signs is one of its tools if something is signed."""
        node = super().node(node_id, scope)
        signs = [*([SIGN] if self._keys(scope) else []), *([OPENSSL] if self.sign else [])]
        return replace(node, tools=(*node.tools, *(tool.program for tool in signs)))

    def node_files(self, scope: Scope) -> NodeFiles:
        """Return the files that the settings name, and the certificate of the payload's keys."""
        return with_certificate(super().node_files(scope), self._keys(scope), scope)

    def _keys(self, scope: Scope) -> SecureBoot | None:
        """Return the payload's keys if this build makes an EFI program."""
        return payload_keys(scope, self.boot) if self.uki or self.single_file else None

    def node_inputs(self, scope: Scope) -> dict[str, str]:
        """Return the payload and the squashfs; the live root is an input of the squashfs."""
        return {"boot": super().node_inputs(scope)["boot"], "squashfs": self._squashfs(scope).id}

    def build(self, work: Work[NetSetContext]) -> Built:
        """Link the parts, write the generated files, and write the digests of all files."""
        from stagewright.media.initramfs_contents import InitramfsContents
        from stagewright.media.layout import unsupported
        from stagewright.netboot.writer import SCRIPT, NetSetParts, write_set
        from stagewright.release.manifest import write_manifest

        work.phase("assemble")
        folder = work.artifact("boot")
        payload = Payload.read(folder).with_first(self.kernel)
        check_payload(folder, self.loaders or [], self.boot)
        if unfit := unsupported(payload, self.compression, self.kernel_arguments.for_network()):
            message, hint = unfit
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, f"the payload {self.boot!r} {message}", hint=hint)
        kernel = payload.kernels[0]
        squashfs = work.facts("squashfs", SquashfsFacts)
        net_set = self._net_set(kernel, work.context.title, squashfs.verity, squashfs.bytes)
        parts = NetSetParts(
            kernel=folder / kernel.kernel,
            initramfs=folder / kernel.initramfs,
            image=work.artifact("squashfs") / IMAGE,
            programs=_programs(folder, self.loaders),
            unpacked=kernel.unpacked or InitramfsContents.of(folder / kernel.initramfs, work.folder).unpacked,
            digests={
                KERNEL: {"sha512": payload.sha512.get(kernel.kernel, "")},
                INITRAMFS: {"sha512": payload.sha512.get(kernel.initramfs, "")},
                IMAGE: squashfs.digests.digests,
            },
        )
        if self.uki or self.single_file:
            parts = self._unify(parts, net_set, payload, work)
        tree = work.new_folder("tree")
        report = write_set(parts, net_set, tree, work.epoch, self._signer(work))
        write_manifest(tree / IMAGE, manifest_of(work, report.digests[IMAGE]), squashfs.installed)
        work.notice(report.summary)
        facts = NetSetFacts(script=SCRIPT, base_url=net_set.base_url, **report.to_dict())
        digested = [KnownDigest.of(tree / name, file.digests["sha256"]) for name, file in report.digests.items()]
        return Built(tree, facts, digested=tuple(digested))

    def _signer(self, work: Work[NetSetContext]) -> Callable[[Path], None] | None:
        """Return the function that signs a file, or None. Raises ``BUILD_FAILED`` if the certificate does not fit."""
        if self.sign is None:
            return None
        check_certificate(work.files[self.sign.certificate])
        keys = self.sign
        return lambda path: sign_file(path, keys, work.files, work.epoch, work.log)

    def _modules(self) -> list[NetModule]:
        """Return the dracut modules that the initramfs must contain for the methods and for `uki`."""
        asked = [*self.methods, *([Method.HTTP] if self.uki else [])]
        return list(dict.fromkeys(module for method in asked for module in method.modules))

    def _net_set(self, kernel: BootKernel, title: str, verity: str = "", size: int = 0) -> NetSet:
        """Return the definition of the set. ``size`` is that of the image in bytes, for one that is not verified."""
        from stagewright.netboot.writer import NetSet

        if lacking := [module for module in self._modules() if module not in kernel.network]:
            raise _cannot_fetch(self.boot, lacking)
        if self.sign and not verity:
            what = f"sign: machines do not verify the image of payload {self.boot!r}"
            hint = "let dracut make its initramfs, without `verity = false`; or remove `sign`"
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, what, hint=hint)
        arguments = kernel.by.for_network(self.kernel_arguments, kernel.dracut)
        options = [*arguments, *kernel.by.about_image(verity, size)]
        return NetSet(
            title=title,
            command=CommandLine(kernel.by, options, self.kernel_arguments.keymap),
            methods=self.methods or supported_methods(kernel.network),
            base_url=(self.base_url or "").rstrip("/"),
            nfs_url=(self.nfs_url or "").rstrip("/"),
            nbd_url=self.nbd_url or "",
            timeout=self.timeout,
            combined=self.combined,
            signed=self.sign is not None,
            budgets={pattern: parse_size(size) for pattern, size in self.budget.items()},
        )

    def _unify(self, parts: NetSetParts, net_set: NetSet, payload: Payload, work: Work[NetSetContext]) -> NetSetParts:
        """Make the unified kernel images of the settings, and return the parts with them."""
        from stagewright.media.efi import EfiArch
        from stagewright.media.uki import UkiParts, make_uki
        from stagewright.netboot.combined import write_combined
        from stagewright.netboot.writer import SINGLE, UNIFIED

        work.phase("unified kernel images")
        kernel, folder, efi = payload.kernels[0], work.new_folder("unified"), EfiArch.of(Arch(payload.arch))
        stub = work.artifact("boot") / LOADERS / Loader.UKI / efi.stub
        release = titled_os_release(net_set.title, work.facts("squashfs", SquashfsFacts).os_release)
        made: dict[str, tuple[Path, Method]] = {}
        if self.uki:
            made[UNIFIED] = parts.initramfs, Method.HTTP
        if self.single_file:
            parts = replace(parts, combined=folder / COMBINED)
            digests = write_combined(parts.initramfs, parts.image, folder / COMBINED).digests
            parts = replace(parts, digests={**parts.digests, COMBINED: digests})
            os.utime(folder / COMBINED, (work.epoch, work.epoch))
            made[SINGLE] = folder / COMBINED, Method.INITRD
        for name, (initramfs, method) in made.items():
            line = net_set.command.for_method(method, f"{net_set.base_url}/{IMAGE}")
            unified = UkiParts(stub, parts.kernel, initramfs, line, release, kernel.version)
            make_uki(unified, folder / name, work.epoch)
            if work.context.secure_boot:
                sign(folder / name, work.context.secure_boot, work.files, work.epoch, work.log)
        return replace(parts, programs={**parts.programs, **{name: folder / name for name in made}})


def _cannot_fetch(payload: str, modules: Sequence[str]) -> StagewrightError:
    names = ", ".join(f'"{module}"' for module in modules)
    what = f"payload {payload!r}: its initramfs cannot get an image over the network without {names}"
    hint = f'add {names} to `initramfs.modules` of {payload!r} (dracut), or set methods = ["initrd"]'
    return StagewrightError(Reason.ENVIRONMENT_LACKS, what, hint=hint)


def _programs(folder: Path, wanted: list[NetLoader] | None) -> Mapping[str, Path]:
    """Return the programs of a payload, by their name in the set."""
    loaders = [loader for loader in NetLoader if wanted is None or loader in wanted]
    found = {name: folder / PROGRAMS / loader / name for loader in loaders for name in loader.names}
    return {name: path for name, path in found.items() if path.exists()}
