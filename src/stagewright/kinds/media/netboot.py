"""netboot: kernels whose initramfs is a whole small system, for machines that start from the network.

Input: a root with Portage and genkernel. The stage installs packages into it, copies listed files of it into an image,
and has genkernel build each kernel from sources with that image in its initramfs. Only listed files get there, and
libraries must be listed too, because these machines have little memory. The names of the files are those of Catalyst's
target netboot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from stagewright.kinds.common.artifact import ArtifactKind, Ingredient
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.kernel_environment import kernel_environment
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.parts import Part, write_parts
from stagewright.kinds.common.work import Built, Work
from stagewright.media.arguments import InitramfsKind
from stagewright.media.initramfs_contents import InitramfsContents, align
from stagewright.portage.emerge import Portage
from stagewright.portage.fetch_request import FetchRequest
from stagewright.project.fields import FilePath, FolderPath, Matching
from stagewright.root import files
from stagewright.root.local import has_program
from stagewright.root.requirements import MissingRequirement, raise_if_missing
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
from stagewright.trees import files_below

_IMAGE = "/tmp/stagewright-image"
_BUSYBOX = "/tmp/stagewright-busybox.config"
_LINUXRC = "/tmp/stagewright-linuxrc"
# Mount points inside the sandbox, on its own /tmp, which is never copied into the image.

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
"""A path of the root for the image, or a shell pattern below the first folder."""


class NetBootFacts(Facts):
    """Facts of kernels with a whole system in their initramfs."""

    kernels: dict[str, str]
    """Versions by name."""
    initramfs_bytes: dict[str, int]
    """Sizes of initramfs by name of the kernel."""


@dataclass(frozen=True)
class BuiltKernel:
    """A kernel: its version, and the paths of its image and of its sources in the root."""

    version: str
    image: str
    tree: str


class NetBoot(PackageStage, ArtifactKind, kind="netboot"):
    """A stage of kind ``netboot``."""

    facts_model = NetBootFacts

    kernels: Annotated[dict[KernelName, Kernel], Field(min_length=1)]
    """The kernels, by name, each from sources and with build = "genkernel". NAME becomes kernels/NAME,
    kernels/misc/NAME.igz (the initramfs) and, if it exists, kernels/misc/System-NAME.map."""
    files: list[InRoot] = []
    """Files of the root for the initramfs, as paths and patterns. Folders are copied with their content, links as
    links. A pattern without a match is an error. List the libraries of programs too."""
    root_overlay: list[FolderPath] = []
    """Folders to copy into the root before its files are read. Their files are owned by root there."""
    overlay: list[FolderPath] = []
    """Folders to copy into the initramfs, over the listed files."""
    busybox_config: FilePath | None = None
    """The configuration of genkernel's busybox."""
    linuxrc: FilePath | None = None
    """The first program of the initramfs, instead of genkernel's /init."""

    @model_validator(mode="after")
    def _by_genkernel(self) -> NetBoot:
        origins: dict[tuple[str | None, ...], str] = {}
        for name, kernel in self.kernels.items():
            facts = {"name": name}
            if name == "misc":
                hint = "choose another name: kernels/misc is the folder for initramfs files"
                raise PydanticCustomError("kernels", "a kernel cannot have the name {name}", {**facts, "hint": hint})
            if kernel.build is not KernelBuilder.GENKERNEL:
                facts["hint"] = 'set `sources` or `tree`, and build = "genkernel", which makes the initramfs'
                raise PydanticCustomError("kernels", "kernel {name} is not built by genkernel", facts)
            if kernel.packages:
                facts["hint"] = "list them in `packages` of the stage"
                raise PydanticCustomError(
                    "kernels", "`packages` of kernel {name} would be installed after its initramfs is made", facts
                )
            other = origins.setdefault((kernel.sources, kernel.tree, kernel.extraversion), name)
            if other != name:
                facts = {"name": name, "other": other, "hint": "set `extraversion` for one of them"}
                raise PydanticCustomError("kernels", "kernels {other} and {name} would have the same version", facts)
        return self

    @property
    def changes_packages(self) -> bool:
        """True if a setting needs emerge(1): packages, or a kernel with packages to install."""
        return bool(self.packages) or any(kernel.installs for kernel in self.kernels.values())

    def node_context(self, node_id: str, scope: Scope) -> PackageContext:
        """Return what packages need, and the channel if others must not get the kernels."""
        private = scope.private_channel(self)
        return super().node_context(node_id, scope).model_copy(update={"private_channel": private})

    def sources_to_fetch(self, portage: Portage) -> Iterator[FetchRequest]:
        """Yield the packages, and the sources of kernels."""
        yield FetchRequest(self.packages, options=_OPTIONS)
        yield FetchRequest([kernel.sources for kernel in self.kernels.values() if kernel.sources])

    def build(self, work: Work[PackageContext]) -> Built:
        """Install packages, make the image, build the kernels, and copy them out."""
        root, portage = self.mount_with_portage(work)
        portage.install(self.packages, options=_OPTIONS)
        for name in self.root_overlay:
            files.copy_in(root.path, work.files[name], epoch=work.epoch)
        found = files.find(root.path, self.files)
        missing = (
            MissingRequirement(f"{self.root!r}: {pattern} not found", _HINT)
            for pattern, paths in found.items()
            if not paths
        )
        raise_if_missing([*missing_genkernel(root, repr(self.root)), *missing])
        image = self._image(sorted({path for paths in found.values() for path in paths}), root, work)
        tree = work.new_folder("tree")
        (tree / "kernels/misc").mkdir(parents=True)
        built = {name: self._kernel(name, image, tree / "kernels", root, portage, work) for name in self._names()}
        overlays = [work.files[folder] for folder in (*self.root_overlay, *self.overlay)]
        own = [f"/{path}" for folder in overlays for path in files_below(folder)]
        own += ["/init"] if self.linuxrc else []
        parts = [part for name, kernel in built.items() for part in _parts(name, kernel, tree, own, work.folder)]
        records = write_parts(work, "root", root, portage, parts)
        files.clamp_times(tree, work.epoch)
        sizes = {name: (tree / f"kernels/misc/{name}.igz").stat().st_size for name in built}
        versions = {name: kernel.version for name, kernel in built.items()}
        facts = NetBootFacts(kernels=versions, initramfs_bytes=sizes, records=records.digest)
        return Built(tree, facts, records=records.path)

    def ingredients(self, name: str, scope: Scope) -> list[Ingredient]:
        """Return the kernels themselves, with all parts."""
        return [Ingredient(stage=name)]

    def _names(self) -> list[str]:
        """Return the names of the kernels, sorted, because the order of a table is not part of keys."""
        return sorted(self.kernels)

    def _image(self, paths: Sequence[str], root: Root, work: Work[PackageContext]) -> Path:
        """Return a folder for the initramfs: these paths of the root with stripped programs, and the overlays."""
        work.phase("image")
        image = work.new_folder("image")
        # Without Portage's binds, whose files are not part of the root.
        alone = replace(root, binds=(Bind(image, _IMAGE, writable=True),))
        for some in _portions(paths):
            alone.run("cp", "-pPRf", "--parents", "--", *some, _IMAGE)
        programs = inside(image, _programs)
        able = has_program(root, "strip")
        if programs and not able:
            work.notice(
                f"{self.root!r}: strip not found (sys-devel/binutils); programs in the initramfs keep their symbols"
            )
        for some in _portions(programs if able else []):
            if alone.run("strip", *some, check=False).code:
                work.notice("strip: some programs were not stripped (see the log)")
        for name in self.overlay:
            files.copy_in(image, work.files[name], epoch=work.epoch)
        files.clamp_times(image, work.epoch)
        return image

    def _kernel(
        self, name: str, image: Path, target: Path, root: Root, portage: Portage, work: Work[PackageContext]
    ) -> BuiltKernel:
        """Build one kernel, and copy it out before the next one is built."""
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
        found = find_image(root, version, repr(self.root))
        copy_out(root, found, target / name)
        copy_out(root, f"/boot/initramfs-{version}.img", target / f"misc/{name}.igz")
        align(target / f"misc/{name}.igz")
        if files.exists(root.path, f"/boot/System.map-{version}"):
            copy_out(root, f"/boot/System.map-{version}", target / f"misc/System-{name}.map")
        return BuiltKernel(version, found, sources.tree)


_HINT = "correct the path in `files`, or add its package to `packages`"


def _parts(name: str, kernel: BuiltKernel, tree: Path, own: Sequence[str], work: Path) -> Iterator[Part]:
    """Yield a kernel and its initramfs as parts, for bills of materials."""
    sources = f"{kernel.tree}/Makefile"
    yield Part(f"kernel-{name}", "kernel", [kernel.image], name, sources)
    contents = InitramfsContents.of(tree / f"kernels/misc/{name}.igz", work)
    regular = sorted(f"/{path}" for path in contents.regular)
    yield Part(f"initramfs-{name}", "initramfs", regular, name, sources, InitramfsKind.GENKERNEL, own)


def _portions(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split paths into portions, because the length of a command line is limited."""
    return (paths[first : first + _AT_ONCE] for first in range(0, len(paths), _AT_ONCE))


def _programs() -> list[str]:
    """Return the ELF programs and shared objects below the root of this process, by their paths in the sandbox."""
    paths = (Path("/", name) for name in files_below(Path("/")))
    every = (path for path in paths if path.is_file() and not path.is_symlink())
    return sorted(f"{_IMAGE}{path}" for path in every if _is_program(path))


def _is_program(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(18)
    return head[:4] == _ELF and int.from_bytes(head[16:18], "big" if head[5] == _BIG else "little") in _PROGRAMS
