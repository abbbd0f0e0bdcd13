"""livecd-stage2: the payload: kernels, initramfs, modules and boot loaders.

Input: a root that is separate from the live root, so that no compiler and no firmware of the build gets into the image.
The stage finds or builds the parts there and copies them out. No part comes from the host. Parts that cannot boot are
errors: a kernel that cannot read the image, an initramfs without the modules that the settings ask for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import Arch, without_media
from stagewright.errors import ProblemsError, Reason, StagewrightError, nearest
from stagewright.graph.file_digest import digest_of
from stagewright.graph.node import Node, NodeFiles, Yields
from stagewright.kernel.choose import (
    Kernel,
    KernelName,
    compile_kernel,
    missing_genkernel,
    prepare_sources,
    provide_kernel,
)
from stagewright.kernel.features import LiveRequirements, check_features, disabled_requirements, read_features
from stagewright.kernel.modules import install_kernel, rebuild_modules
from stagewright.kinds.common.base import Scope, arch_of
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.tools import SIGN
from stagewright.kinds.common.work import Built, Work
from stagewright.media.arguments import InitramfsKind
from stagewright.media.efi import EfiArch
from stagewright.media.firmware_files import choose_firmware, copy_firmware, missing_firmware
from stagewright.media.initramfs import DracutRun, InitramfsSettings, make_initramfs, missing_for_dracut
from stagewright.media.initramfs_contents import align
from stagewright.media.loaders import Loader
from stagewright.media.payload import FIRMWARE, LOADERS, MEMTEST, MODULES, BootKernel, Payload, kernel_paths
from stagewright.media.signing import SecureBoot, sign
from stagewright.netboot.programs import PROGRAMS, NetLoader
from stagewright.portage.fetch_request import FetchRequest
from stagewright.project.fields import ByValue, Matching
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.root import files
from stagewright.root.emulation import machine_of
from stagewright.root.requirements import MissingRequirement
from stagewright.root.sandbox import Bind

if TYPE_CHECKING:
    from stagewright.kernel.configure import KernelSources
    from stagewright.portage.emerge import Portage
    from stagewright.root.root import Root

_OUT = "/mnt/payload"

_TO_COMPILE = 4  # cores: make(1) keeps its first number of jobs, and a kernel takes longer than the nodes around it


class PayloadFacts(Facts):
    """Facts of a payload."""

    kernel: str
    """Version of the first kernel."""
    initramfs_bytes: int
    """Size of the first kernel's initramfs."""
    payload: Payload


class LiveStage2(PackageStage, kind="livecd-stage2"):
    """A stage of kind ``livecd-stage2``."""

    facts_model = PayloadFacts

    yields = Yields.ARTIFACT
    optional_tools = (SIGN,)

    kernel: Kernel = Kernel()
    """The kernel; without settings, the one in the environment."""
    kernels: dict[KernelName, Kernel] = {}
    """Several kernels instead, by name. The first one, or `default`, becomes boot/gentoo, others become boot/NAME."""
    default: str | None = None
    """The name of the kernel in `kernels` that becomes boot/gentoo."""
    initramfs: InitramfsSettings = InitramfsSettings()
    """The content of the initramfs."""
    loaders: list[Annotated[Loader, ByValue()]] = [Loader.SYSTEMD_BOOT]
    """The boot loaders to take from the environment."""
    network_loaders: list[Annotated[NetLoader, ByValue()]] = []
    """Programs for network boot to take from the environment, for pxeboot stages: `ipxe`, `pxelinux`, `grub`."""
    memtest: bool = False
    """Take memtest86+ from the environment."""
    microcode: bool = False
    """Add the microcode in /lib/firmware of the environment to the initramfs."""
    firmware: list[Annotated[str, Matching(r"[^/\s][^\s]*", "a pattern below /lib/firmware, such as iwlwifi-*")]] = []
    """Firmware for initramfs and image: patterns below /lib/firmware of the environment; `*` is all of it."""
    verity: bool = True
    """Let the initramfs open the image through dm-verity. The boot arguments then have the image's root hash, and a
    changed image is an error on the console. False, for genkernel's initramfs, uses the image unchecked."""
    secure_boot: SecureBoot | None = None
    """Sign kernels and boot loaders. Firmware that has the certificate starts them."""

    @model_validator(mode="after")
    def _one_way(self) -> LiveStage2:
        if self.kernels and self.kernel != Kernel():
            facts = {"hint": "move `kernel` into `kernels`, with a name"}
            raise PydanticCustomError("kernels", "`kernel` and `kernels` cannot both be set", facts)
        if self.default is not None and self.default not in self.kernels:
            facts = {"name": repr(self.default), "hint": f"known names: {', '.join(self.kernels) or 'none'}"}
            raise PydanticCustomError("kernels", "`default`: kernel {name} not found in `kernels`", facts)
        if "gentoo" in self._named() and self.first_kernel != "gentoo":
            facts = {"hint": 'choose another name, or set default = "gentoo"'}
            raise PydanticCustomError(
                "kernels", "the name gentoo is for the first kernel, which becomes boot/gentoo", facts
            )
        if self.microcode and any(kernel.has_own_initramfs for kernel in self._named().values()):
            facts = {"hint": 'set genkernel_arguments = ["--microcode-initramfs"] for that kernel'}
            raise PydanticCustomError(
                "microcode", "`microcode` needs dracut, and a kernel is built by genkernel", facts
            )
        if self.verity and any(kernel.has_own_initramfs for kernel in self._named().values()):
            facts = {"hint": "set verity = false; the image is then used unchecked"}
            raise PydanticCustomError("verity", "`verity` needs dracut, and a kernel has genkernel's initramfs", facts)
        if self.secure_boot and (unfit := [loader for loader in self.loaders if not loader.verifies_kernels]):
            facts = {"loader": str(unfit[0]), "hint": "use systemd-boot or uki, where the firmware checks the kernel"}
            raise PydanticCustomError(
                "secure_boot", "`secure_boot`: {loader} does not support Secure Boot with your own keys", facts
            )
        return self

    @property
    def changes_packages(self) -> bool:
        """True if a setting needs emerge(1): packages, or a kernel with packages to install."""
        return bool(self.packages) or any(kernel.installs for kernel in self._named().values())

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node. The program that signs is one of its tools if something is signed.

        Its settings name the first kernel, because the order of a table is not part of keys.
        """
        node = super().node(node_id, scope)
        compiles = any(kernel.from_sources for kernel in self._named().values())
        return replace(
            node,
            settings=self.model_copy(update={"default": self.first_kernel if self.kernels else None}),
            tools=(*node.tools, *([SIGN.program] if self.secure_boot else [])),
            demand=replace(node.demand, cores=_TO_COMPILE) if compiles else node.demand,
        )

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that media exist for the architecture, and that kernel configurations have what they require."""
        yield from super().check(project)
        if problem := without_media(arch_of(project, self.root)):
            message, hint = problem
            yield ("root",), StagewrightError(Reason.NOT_SUPPORTED, message, hint=hint)
        for name, kernel in self._named().items():
            path = project.path(kernel.config) if kernel.config else None
            text = path.read_text(errors="replace", encoding="utf-8") if path and path.is_file() else ""
            if disabled := disabled_requirements(text, verity=self.verity):
                where = ("kernels", name, "config") if self.kernels else ("kernel", "config")
                options = ", ".join(f"CONFIG_{option}" for option in disabled)
                message = f"{'.'.join(where)}: {kernel.config} disables what every live system requires: {options}"
                yield where, StagewrightError(Reason.INVALID_VALUE, message, hint="set these options to y or m there")

    def unknown_kernel(self, name: str | None, called: str) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Yield an error if this payload, with the name ``called``, does not have a kernel with that name."""
        if name is not None and name not in self._named():
            what = f"kernel: {name!r} not found in payload {called!r}"
            yield ("kernel",), StagewrightError(Reason.UNKNOWN_NAME, what, hint=nearest(name, self._named()))

    def _named(self) -> dict[str, Kernel]:
        return self.kernels or {"gentoo": self.kernel}

    @property
    def first_kernel(self) -> str:
        """The name of the kernel that becomes boot/gentoo."""
        return self.default or next(iter(self._named()))

    def _ordered(self) -> list[str]:
        """Return the names of the kernels: the first kernel, then the others by name."""
        return sorted(self._named(), key=lambda name: (name != self.first_kernel, name))

    def sources_to_fetch(self, portage: Portage) -> Iterator[FetchRequest]:
        """Yield the packages, and the packages of each kernel."""
        yield FetchRequest(self.packages)
        for kernel in self._named().values():
            yield FetchRequest([*filter(None, [kernel.package, kernel.sources]), *kernel.packages])

    def build(self, work: Work[PackageContext]) -> Built:
        """Install packages, make kernels and initramfs, and copy the parts out."""
        from stagewright.kinds.common.parts import write_parts
        from stagewright.kinds.media.payload_parts import payload_parts

        payload = work.new_folder("payload")
        root, portage = self.mount_with_portage(work, [Bind(work.new_folder("nothing"), _OUT)])
        if self.packages:
            portage.install(self.packages)
        machine = machine_of(root.path)
        efi = EfiArch.of(machine.arch if machine else Arch.AMD64)
        prepared = self._check_environment(root, efi, portage, work)
        firmware = choose_firmware(root, self.firmware, microcode=self.microcode)
        (payload / "boot").mkdir()
        kernels = self._make_kernels(root, portage, work, prepared)
        if firmware.files:
            copy_firmware(root, firmware, payload / FIRMWARE)
        self._take_loaders(root, payload, efi, work)
        made = Payload(
            arch=str(machine.arch if machine else Arch.AMD64),
            kernels=kernels,
            memtest=self.memtest,
            signed=self.secure_boot is not None,
            microcode=firmware.microcode,
            firmware=firmware.files,
            sha512={
                path: digest_of(payload / path, "sha512") for one in kernels for path in (one.kernel, one.initramfs)
            },
        )
        made.write(payload)
        trees = {name: sources.tree for name, sources in prepared.items()}
        overlay = work.files[self.initramfs.overlay] if self.initramfs.overlay else None
        parts = payload_parts(root, made, payload, trees, overlay, work.folder)
        records = write_parts(work, "root", root, portage, parts)
        files.clamp_times(payload, work.epoch)
        size = (payload / kernels[0].initramfs).stat().st_size
        version = kernels[0].version
        facts = PayloadFacts(kernel=version, initramfs_bytes=size, payload=made, records=records.digest)
        return Built(payload, facts, records=records.path)

    def shell_root(self, work: Work[PackageContext]) -> Root:
        """Return the environment of the payload, with the finished parts at /mnt/payload."""
        (work.folder / "payload").mkdir(exist_ok=True)
        return self.mount_with_portage(work, [Bind(work.folder / "payload", _OUT, writable=True)])[0]

    def _check_environment(
        self, root: Root, efi: EfiArch, portage: Portage, work: Work[PackageContext]
    ) -> dict[str, KernelSources]:
        """Report everything that is missing in the environment, before the slow steps. Return sources, by kernel.

        Sources are installed and configured, but not compiled. Raises: ENVIRONMENT_LACKS.
        """
        from stagewright.kernel.find import find_image
        from stagewright.kinds.common.kernel_environment import kernel_environment
        from stagewright.media.memtest import missing_memtest

        where = repr(self.root)
        missing = [one for loader in self.loaders for one in loader.missing(root, efi)]
        missing += [one for loader in self.network_loaders for one in loader.missing(root, efi)]
        missing += missing_memtest(root, efi) if self.memtest else []
        kernels = self._named()
        if not all(kernel.has_own_initramfs for kernel in kernels.values()):
            missing += missing_for_dracut(self.initramfs, root, where, verity_too=self.verity)
        if any(kernel.has_own_initramfs for kernel in kernels.values()):
            missing += missing_genkernel(root, where)
        if self.microcode and efi.is_arm:
            missing.append(MissingRequirement("`microcode` is only for amd64 and x86", "remove `microcode`"))
        missing += missing_firmware(root, self.firmware, microcode=self.microcode and not efi.is_arm, where=where)
        errors = [one.error() for one in missing]
        environment = kernel_environment(self, root, portage, work)
        prepared: dict[str, KernelSources] = {}
        for name in self._ordered():
            kernel = kernels[name]
            try:
                if kernel.from_sources:
                    prepared[name] = prepare_sources(kernel, environment, self._requirements(kernel))
                elif not kernel.package:
                    find_image(root, install_kernel(kernel, root, portage, work.epoch), where)
            except ProblemsError as several:
                errors += several.problems
            except StagewrightError as error:
                errors.append(error)
        if errors:
            raise ProblemsError(list({str(error): error for error in errors}.values()))
        return prepared

    def _requirements(self, kernel: Kernel) -> LiveRequirements:
        """Return what the payload requires of a kernel."""
        compressor = "" if kernel.has_own_initramfs else "ZSTD"
        return LiveRequirements(compressor, any(loader.is_efi for loader in self.loaders), self.verity)

    def _make_kernels(
        self, root: Root, portage: Portage, work: Work[PackageContext], prepared: Mapping[str, KernelSources]
    ) -> tuple[BootKernel, ...]:
        """Make all kernels in order. Raises: BUILD_FAILED if two of them have the same version."""
        made: list[BootKernel] = []
        for name in self._ordered():
            kernel = self._kernel(name, root, portage, work, prepared.get(name))
            same = [other.name for other in made if other.version == kernel.version]
            if same and self._named()[name].from_sources:
                message = (
                    f"kernels {same[0]} and {name}: same version {kernel.version}, so their modules would be mixed"
                )
                raise StagewrightError(Reason.BUILD_FAILED, message, hint="set `extraversion` for one of them")
            made.append(kernel)
        return tuple(made)

    def _kernel(
        self, name: str, root: Root, portage: Portage, work: Work[PackageContext], sources: KernelSources | None
    ) -> BootKernel:
        """Make one kernel with its packages and its initramfs, and copy it out before the next one is made."""
        from stagewright.kernel.find import copy_image, copy_out, find_image
        from stagewright.kinds.common.kernel_environment import kernel_environment
        from stagewright.kinds.media.payload_files import copy_modules

        settings, payload = self._named()[name], work.folder / "payload"
        kernel, initramfs = kernel_paths(name, first=name == self.first_kernel)
        work.phase(f"kernel {name}")
        overlay = work.files[self.initramfs.overlay] if self.initramfs.overlay else None
        environment = kernel_environment(self, root, portage, work)
        if sources:
            version = compile_kernel(settings, sources, environment, overlay)
        else:
            version = provide_kernel(settings, environment)
        made = time.time()
        if settings.packages:
            portage.install(settings.packages)
        if settings.installs:
            configured_here = settings.from_sources or settings.config is not None
            rebuild_modules(settings, version, root, portage, since=made if configured_here else 0)
        root.run("depmod", version)
        features, requirements = read_features(root, version), self._requirements(settings)
        check_features(version, features, requirements)
        copy_image(root, find_image(root, version, repr(self.root)), payload / kernel, efi=requirements.efi)
        if self.secure_boot:
            sign(payload / kernel, self.secure_boot, work.files, work.epoch, work.log)
        work.phase(f"initramfs for {version}")
        if settings.has_own_initramfs:
            contents = None
            copy_out(root, f"/boot/initramfs-{version}.img", payload / initramfs)
        else:
            output = work.new_folder(f"initramfs-{name}")
            result = output / "initramfs"
            more, target = settings.dracut_arguments, f"{_OUT}/{result.name}"
            run = DracutRun(version, target, result, self.microcode, work.epoch, more, overlay, self.verity)
            contents = make_initramfs(self.initramfs, _with_output(root, output), run, features)
            result.rename(payload / initramfs)
        align(payload / initramfs)
        copy_modules(root, version, payload / MODULES / version)
        return BootKernel(
            name=name,
            version=version,
            kernel=kernel,
            initramfs=initramfs,
            by=InitramfsKind.GENKERNEL if settings.has_own_initramfs else InitramfsKind.DRACUT,
            verifies=contents.has_program("checkisomd5") if contents else "--b2sum" in settings.genkernel_arguments,
            network=contents.network if contents else (),
            keymaps=contents is None or contents.sets_keymaps,
            compressions=features.compressions,
            verity=self.verity and contents is not None,
            dracut=contents.dracut if contents else 0,
            reboots=contents is None or contents.has_program("reboot"),
            unpacked=contents.unpacked if contents else 0,
        )

    def _take_loaders(self, root: Root, payload: Path, efi: EfiArch, work: Work[PackageContext]) -> None:
        from stagewright.kinds.media.payload_files import take_over
        from stagewright.media.memtest import take_memtest

        work.phase("boot loaders")
        for loader in self.loaders:
            taken = work.new_folder(f"loader-{loader}")
            loader.take(_with_output(root, taken), efi, taken, _OUT)
            folder = take_over(taken, payload / LOADERS / loader)
            if self.secure_boot:
                for program in sorted(folder.glob("BOOT*.EFI")):
                    sign(program, self.secure_boot, work.files, work.epoch, work.log)
        for server in self.network_loaders:
            taken = work.new_folder(f"network-{server}")
            server.take(_with_output(root, taken), efi, taken, _OUT)
            take_over(taken, payload / PROGRAMS / server)
        if self.memtest:
            (payload / MEMTEST).mkdir()
            take_memtest(root, payload / MEMTEST)


def payload_keys(scope: Scope, payload: str) -> SecureBoot | None:
    """Return the keys of a payload with this name, for media that make an EFI program of it; None if it has none."""
    model = scope.entry(payload).model
    return model.secure_boot if isinstance(model, LiveStage2) else None


def with_certificate(given: NodeFiles, keys: SecureBoot | None, scope: Scope) -> NodeFiles:
    """Return the files of a node, with the certificate of these keys."""
    if keys is None:
        return given
    certificate = {keys.certificate: scope.project.path(keys.certificate)}
    return given.model_copy(update={"settings": {**given.settings, **certificate}})


def _with_output(root: Root, folder: Path) -> Root:
    """Return the root with a folder for the output of its commands. They never see the payload."""
    return root.with_binds(Bind(folder, _OUT, writable=True))
