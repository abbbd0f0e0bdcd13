"""netboot: kernels whose initramfs is a whole small system, for machines that start from the network.

Takes a root with Portage and genkernel; installs packages into it, gathers listed files of it in an image, and has each
kernel built from sources with that image in its initramfs. Only what is listed gets there, libraries included: the
machines that this is for have little memory. The files are called as Catalyst's target of this name calls them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.chroot import inside
from stagewright.kernel.choose import (
    Kernel,
    KernelBuilder,
    KernelName,
    compile_kernel,
    missing_genkernel,
    prepare_sources,
)
from stagewright.kernel.find import copy_out, find_image
from stagewright.kinds.common.artifact import ArtifactKind
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.kernel_environment import kernel_environment
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.emerge import InstallRequest, Portage
from stagewright.project.fields import FilePath, FolderPath, Matching
from stagewright.root import files
from stagewright.root.local import has_program
from stagewright.root.requirements import MissingRequirement, raise_missing
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind

_IMAGE = "/tmp/stagewright-image"
_BUSYBOX = "/tmp/stagewright-busybox.config"
_LINUXRC = "/tmp/stagewright-linuxrc"
# Where these show up inside: on the sandbox's own /tmp, of which nothing is ever copied into the image.

_OPTIONS = ("--newuse",)

_AT_ONCE = 500  # paths in one command line

_ELF, _BIG, _PROGRAMS = b"\x7fELF", 2, (2, 3)  # EI_DATA, e_type of programs and of shared objects, see elf(5)

InRoot = Annotated[
    str,
    Matching(
        r"/(?!(?:dev|proc|run|tmp|\.\.?)(?:/|$))[^/*?\[\s][^/*?\[]*(?:/(?!\.\.(?:/|$))[^/]+)*/?",
        "a path or pattern inside the root, such as /usr/lib64/libz.so.*, and not below /dev, /proc, /run or /tmp",
    ),
]
"""What goes into the image: a path of the root, or a shell pattern below its first folder."""


class NetBootFacts(Facts):
    """Facts of kernels with a whole system in their initramfs."""

    kernels: dict[str, str]
    """Versions by name."""
    initramfs_bytes: dict[str, int]
    """Sizes of initramfs by name of the kernel."""


class NetBoot(PackageStage, ArtifactKind, kind="netboot"):
    """A stage of kind ``netboot``."""

    facts_model = NetBootFacts

    kernels: Annotated[dict[KernelName, Kernel], Field(min_length=1)]
    """The kernels, by name, each from sources and with build = "genkernel". NAME becomes kernels/NAME,
    kernels/misc/NAME.igz (the initramfs) and, where there is one, kernels/misc/System-NAME.map."""
    files: list[InRoot] = []
    """What of the root the initramfs gets, as paths and patterns; folders with all that is in them, links as links.
    One that matches nothing is an error. Programs need their libraries listed too."""
    root_overlay: list[FolderPath] = []
    """Folders copied into the root before files are taken from it; what they hold is owned by root there."""
    overlay: list[FolderPath] = []
    """Folders copied into the initramfs, over the listed files."""
    busybox_config: FilePath | None = None
    """The configuration of genkernel's busybox."""
    linuxrc: FilePath | None = None
    """The program that the initramfs starts with, instead of genkernel's own /init."""

    @model_validator(mode="after")
    def _by_genkernel(self) -> NetBoot:
        origins: dict[tuple[str | None, ...], str] = {}
        for name, kernel in self.kernels.items():
            facts = {"name": name}
            if name == "misc":
                hint = "choose another name: kernels/misc is the folder of the initramfs"
                raise PydanticCustomError("kernels", "a kernel cannot be called {name}", {**facts, "hint": hint})
            if kernel.build is not KernelBuilder.GENKERNEL:
                facts["hint"] = 'set `sources` or `tree`, and build = "genkernel", which makes the initramfs'
                raise PydanticCustomError("kernels", "the kernel {name} is not built by genkernel", facts)
            if kernel.packages:
                facts["hint"] = "list them in the stage's own `packages`"
                raise PydanticCustomError("kernels", "`packages` of {name} would come after its initramfs", facts)
            other = origins.setdefault((kernel.sources, kernel.tree, kernel.extraversion), name)
            if other != name:
                facts = {"name": name, "other": other, "hint": "set `extraversion` of one of them"}
                raise PydanticCustomError("kernels", "{other} and {name} would have the same version", facts)
        return self

    @property
    def uses_portage(self) -> bool:
        """Not where the root has everything already, the sources of the kernels too."""
        return bool(self.packages) or any(kernel.installs for kernel in self.kernels.values())

    def installs(self, portage: Portage) -> Iterator[InstallRequest]:
        """The packages, and the sources of kernels."""
        yield InstallRequest(self.packages, options=_OPTIONS)
        yield InstallRequest([kernel.sources for kernel in self.kernels.values() if kernel.sources])

    def build(self, work: Work[PackageContext]) -> Built:
        """Fill the root, gather the image, have the kernels built, copy them out."""
        root, portage = self.portage(work)
        portage.install(self.packages, options=_OPTIONS)
        for name in self.root_overlay:
            files.copy_in(root.path, work.files[name], epoch=work.epoch)
        found = files.find(root.path, self.files)
        missing = (
            MissingRequirement(f"{self.root!r} has no {pattern}", _HINT)
            for pattern, paths in found.items()
            if not paths
        )
        raise_missing([*missing_genkernel(root, repr(self.root)), *missing])
        image = self._image(sorted({path for paths in found.values() for path in paths}), root, work)
        tree = work.new_folder("tree")
        (tree / "kernels/misc").mkdir(parents=True)
        versions = {name: self._kernel(name, image, tree / "kernels", root, portage, work) for name in self._names()}
        files.clamp_times(tree, work.epoch)
        sizes = {name: (tree / f"kernels/misc/{name}.igz").stat().st_size for name in versions}
        return Built(tree, NetBootFacts(kernels=versions, initramfs_bytes=sizes))

    def _names(self) -> list[str]:
        """The kernels in an order of their own, since that of a table is no part of keys."""
        return sorted(self.kernels)

    def _image(self, paths: Sequence[str], root: Root, work: Work[PackageContext]) -> Path:
        """A folder of what the initramfs gets: these paths of the root, its programs stripped, and the overlays."""
        work.phase("image")
        image = work.new_folder("image")
        # Without Portage's binds: what lies on them is no part of the root.
        alone = replace(root, binds=(Bind(image, _IMAGE, writable=True),))
        for some in _portions(paths):
            alone.run("cp", "-pPRf", "--parents", "--", *some, _IMAGE)
        programs = inside(image, _programs)
        able = has_program(root, "strip")
        if programs and not able:
            work.notice(f"{self.root!r} has no strip (sys-devel/binutils): symbols of programs stay in the initramfs")
        for some in _portions(programs if able else []):
            if alone.run("strip", *some, check=False).code:
                work.notice("strip left some programs as they are, see the log")
        for name in self.overlay:
            files.copy_in(image, work.files[name], epoch=work.epoch)
        files.clamp_times(image, work.epoch)
        return image

    def _kernel(
        self, name: str, image: Path, target: Path, root: Root, portage: Portage, work: Work[PackageContext]
    ) -> str:
        """Have one kernel built, and copy it out before the next one is. Returns its version."""
        work.phase(f"kernel {name}")
        given = [("--busybox-config", self.busybox_config, _BUSYBOX), ("--linuxrc", self.linuxrc, _LINUXRC)]
        own = [(option, work.files[file], place) for option, file, place in given if file]
        words = ["--netboot", *(f"{option}={place}" for option, _, place in own)]
        arguments = [*words, *self.kernels[name].genkernel_arguments]
        settings = self.kernels[name].model_copy(update={"genkernel_arguments": arguments})
        with_files = root.with_binds(*(Bind(file, place) for _, file, place in own))
        environment = kernel_environment(self, with_files, portage, work)
        sources = prepare_sources(settings, environment, None)
        version = compile_kernel(settings, sources, environment, image)
        copy_out(root, find_image(root, version, repr(self.root)), target / name)
        copy_out(root, f"/boot/initramfs-{version}.img", target / f"misc/{name}.igz")
        if files.exists(root.path, f"/boot/System.map-{version}"):
            copy_out(root, f"/boot/System.map-{version}", target / f"misc/System-{name}.map")
        return version


_HINT = "mend the path in `files`, or install in `packages` what has it"


def _portions(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """Paths, some at a time: a command line has an end."""
    return (paths[first : first + _AT_ONCE] for first in range(0, len(paths), _AT_ONCE))


def _programs() -> list[str]:
    """ELF programs and shared objects in the image, which is the root of this process, as the sandbox has them."""
    every = (path for path in Path("/").rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(f"{_IMAGE}{path}" for path in every if _is_program(path))


def _is_program(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(18)
    return head[:4] == _ELF and int.from_bytes(head[16:18], "big" if head[5] == _BIG else "little") in _PROGRAMS
