"""Kernels as projects describe them, and the steps that provide a kernel in an environment.

A kernel comes from a package, from sources, or from what the environment has. :class:`Kernel` holds the settings. The
functions below install, configure and compile; each takes a :class:`KernelEnvironment`, the place where this happens.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stagewright.chroot import inside
from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.features import LiveRequirements
from stagewright.kernel.modules import INSTALL_CONF, SOURCES, KernelSettings, install_conf, install_kernel
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.confdir import CCACHE_ENV
from stagewright.portage.installed import VDB
from stagewright.project.fields import Atom, ByValue, FilePath, Matching, package_of
from stagewright.root import files
from stagewright.root.local import has_program
from stagewright.root.requirements import MissingRequirement
from stagewright.untrusted import number, read_root_text

if TYPE_CHECKING:
    from stagewright.kernel.configure import KernelSources
    from stagewright.portage.emerge import Portage
    from stagewright.root.root import Root

CONFIG_D = "/etc/kernel/config.d/stagewright.config"
"""File that kernel-build.eclass merges into the configuration of a distribution kernel."""

_FEW = 8  # options in one message

KernelName = Annotated[str, Matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,29}", "up to 30 letters, digits and _ . -")]
"""The name of a kernel among several: the name of its file, and part of its line in boot menus."""


class KernelBuilder(enum.StrEnum):
    """The program that compiles a kernel."""

    MAKE = "make"
    GENKERNEL = "genkernel"


class Kernel(KernelSettings):
    """A kernel: from a package, from sources, or without settings the one that the environment has."""

    sources: Atom | None = None
    """A package that installs sources, such as sys-kernel/gentoo-sources, to build the kernel from."""
    tree: (
        Annotated[str, Matching(r"/\S+", "an absolute path inside the environment, such as /usr/src/linux")] | None
    ) = None
    """A folder of kernel sources in the environment, to build the kernel from."""
    config: FilePath | None = None
    """The configuration of sources, completed by `make olddefconfig`; default: their .config, or `make defconfig`.
    With `package`, what Gentoo's distribution kernels merge into their own (/etc/kernel/config.d)."""
    extraversion: Annotated[str, Matching(r"[A-Za-z0-9._+-]{1,40}", "letters, digits and . _ + -")] | None = None
    """A suffix for the version of a kernel from sources."""
    build: Annotated[KernelBuilder, ByValue()] = KernelBuilder.MAKE
    """The program that builds sources: `make`, or `genkernel`, which also makes the initramfs."""
    genkernel_arguments: list[str] = []
    """More arguments for genkernel(8); with `--b2sum` its initramfs can verify media."""
    packages: list[Atom] = []
    """Packages to install after this kernel, such as those with modules that are built against it."""
    dracut_arguments: list[str] = []
    """More arguments for dracut(8), for this kernel's initramfs."""

    @model_validator(mode="after")
    def _one_origin(self) -> Kernel:
        origins = [name for name in ("package", "sources", "tree") if getattr(self, name)]
        if len(origins) > 1:
            facts = {"origins": " and ".join(origins), "hint": "keep one of them"}
            raise PydanticCustomError("kernel", "a kernel can have one origin only (found: {origins})", facts)
        for name in ("config", "extraversion", "genkernel_arguments"):
            if getattr(self, name) and not self.from_sources and not (name == "config" and self.package):
                facts = {"name": name, "hint": "set `sources` or `tree`"}
                raise PydanticCustomError("kernel", "`{name}` is only for kernels from sources", facts)
        if self.build is KernelBuilder.GENKERNEL and not self.from_sources:
            facts = {"hint": "set `sources` or `tree`"}
            raise PydanticCustomError("kernel", 'build = "genkernel" requires sources', facts)
        if self.from_sources and self.version:
            facts = {"hint": "remove `version`; `sources` can be an atom with a version"}
            raise PydanticCustomError("kernel", "`version` is only for kernels that the environment has", facts)
        unused = (("genkernel_arguments", KernelBuilder.MAKE), ("dracut_arguments", KernelBuilder.GENKERNEL))
        for name, builder in unused:
            if getattr(self, name) and self.build is builder:
                facts = {"name": name, "build": self.build.value, "hint": "change `build`, or remove the arguments"}
                raise PydanticCustomError("kernel", '`{name}` has no effect with build = "{build}"', facts)
        return self

    @property
    def from_sources(self) -> bool:
        """True if Stagewright compiles it."""
        return bool(self.sources or self.tree)

    @property
    def installs(self) -> bool:
        """True if Portage installs packages for it."""
        return bool(self.package or self.sources or self.packages)

    @property
    def has_own_initramfs(self) -> bool:
        """True if genkernel makes the initramfs together with the kernel; dracut makes it afterwards otherwise."""
        return self.build is KernelBuilder.GENKERNEL


@dataclass(frozen=True)
class KernelEnvironment:
    """The root in which kernels are made, and what the caller grants and hears.

    ``name`` is the root's name in messages, ``files`` are the project's files by the path in the settings, ``epoch`` is
    the time stamp in seconds since 1970. ``on_phase`` takes the name of each step that begins, ``on_notice`` takes
    warnings.
    """

    root: Root
    portage: Portage
    name: str
    files: Mapping[str, Path]
    cores: int
    epoch: int
    ccache: bool
    on_phase: Callable[[str], None]
    on_notice: Callable[[str], None]


def missing_genkernel(root: Root, where: str) -> list[MissingRequirement]:
    """Return what a kernel with build = "genkernel" requires and the root, named ``where``, does not have."""
    missing = MissingRequirement(f"{where} has no genkernel", "add sys-kernel/genkernel to this environment")
    return [] if has_program(root, "genkernel") else [missing]


def prepare_sources(
    settings: Kernel, environment: KernelEnvironment, requirements: LiveRequirements | None
) -> KernelSources:
    """Install kernel sources, configure them and check the result before they are compiled.

    ``requirements`` is None if the kernel is not for a live system. Raises ``ENVIRONMENT_LACKS`` with everything that
    is missing.
    """
    from stagewright.kernel.configure import (  # noqa: PLC0415  only builds configure kernels
        KernelSources,
        check_build_tools,
        check_configuration,
        configure,
    )

    root, where = environment.root, environment.name
    if settings.sources:
        environment.portage.install([settings.sources])
    tree = settings.tree or _tree_of(settings.sources or "", root)
    check_build_tools(root, tree, where)
    config = environment.files[settings.config] if settings.config else None
    ccache = CCACHE_ENV if environment.ccache else {}
    suffix = settings.extraversion or ""
    tokens = environment.portage.tokens
    sources = KernelSources(tree, config, suffix, environment.cores, environment.epoch, ccache, tokens)
    if config or settings.build is KernelBuilder.MAKE:  # otherwise genkernel uses its own configuration
        environment.on_phase(f"configure {tree}")
        done = configure(root, sources)
        if done.dropped:
            name = settings.config or tree
            environment.on_notice(f"{name}: Kconfig removed, because of other options: {_few(done.dropped)}")
        check_configuration(root, tree, done, requirements, where)
    return sources


def compile_kernel(
    settings: Kernel, sources: KernelSources, environment: KernelEnvironment, overlay: Path | None
) -> str:
    """Compile and install a kernel from prepared sources. Return its version.

    ``overlay`` is a folder whose files genkernel adds to the initramfs.
    """
    from stagewright.kernel.build import build_with_genkernel, build_with_make  # noqa: PLC0415
    from stagewright.kernel.configure import configure  # noqa: PLC0415

    root = environment.root
    environment.on_phase(f"compile {sources.tree}")
    if settings.build is KernelBuilder.GENKERNEL:
        version = build_with_genkernel(root, sources, settings.genkernel_arguments, overlay)
    else:  # configured again, since another kernel may have been configured in the same folder
        version = build_with_make(root, sources, configure(root, sources))
    link, parent = f"{SOURCES}/linux", f"{SOURCES}/"
    if sources.tree != link and sources.tree.startswith(parent):  # packages with modules look for sources there
        files.make_link(root.path, link, sources.tree.removeprefix(parent), epoch=sources.epoch)
    return version


def provide_kernel(settings: Kernel, environment: KernelEnvironment) -> str:
    """Install a kernel that is not from sources, unless the environment has it. Return its version."""
    root, portage, epoch = environment.root, environment.portage, environment.epoch
    if settings.package:  # the payload has its own initramfs, and this root is not shipped
        files.write_file(root.path, INSTALL_CONF, install_conf("compat", "none", "none"), epoch=epoch)
    if settings.config and settings.package:
        _install_configured(settings.package, environment.files[settings.config], environment)
    return install_kernel(settings, root, portage, epoch)


def _few(options: Sequence[str]) -> str:
    names = [f"CONFIG_{option}" for option in options]
    return ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")


def _install_configured(package: str, config: Path, environment: KernelEnvironment) -> None:
    """Compile a distribution kernel with more configuration. Binary packages do not record it, so none is used."""
    text = config.read_text(encoding="utf-8", errors="surrogateescape")
    files.write_file(environment.root.path, CONFIG_D, text, epoch=environment.epoch)
    environment.portage.install([package], options=["--newuse", "--deep", "--usepkg=n", "--buildpkg=n"])


def _tree_of(atom: str, root: Root) -> str:
    """Return the folder of the sources that a package installed last."""
    trees = inside(root.path, _trees, package_of(atom) or "")
    if not trees:
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS,
            f"{atom} installed no kernel sources (no folder /usr/src/linux*)",
            hint="set `sources` to a package of kernel sources, or `tree` to the folder",
        )
    return trees[-1]


def _trees(package: str) -> list[str]:
    """Return the folders of a package's sources in the root of this process, the last installed last."""
    found = []
    for contents in Path("/", VDB).glob(f"{package}-*/CONTENTS"):
        counter = contents.with_name("COUNTER")
        counted = number(read_root_text(counter, errors="replace").strip()) or 0 if counter.exists() else 0
        lines = read_root_text(contents, errors="replace").splitlines()
        found += [
            (counted, line[4:]) for line in lines if line.startswith("dir /usr/src/linux") and line.count("/") == 3
        ]
    return [path for _, path in sorted(found)]
