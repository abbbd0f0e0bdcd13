"""Kernels that a payload is made of, as a project describes them, and how each comes to be in the environment."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.build import (
    Sources,
    build_by_genkernel,
    build_by_make,
    check_configured,
    check_tools,
    configure,
)
from stagewright.kernel.find import Demand
from stagewright.kernel.modules import SOURCES, KernelSettings, install_kernel
from stagewright.kinds.common.base import Work
from stagewright.media.arguments import InitramfsKind
from stagewright.portage.confdir import CCACHE_ENV
from stagewright.portage.emerge import Portage
from stagewright.portage.installed import VDB
from stagewright.project.fields import Atom, ByValue, FilePath, Matching, package_of
from stagewright.root import files
from stagewright.root.local import has_program
from stagewright.root.requirements import MissingRequirement
from stagewright.root.root import Root
from stagewright.run import inside

CONFIG_D = "/etc/kernel/config.d/stagewright.config"
"""What kernel-build.eclass merges into the configuration of a distribution kernel."""


KernelName = Annotated[str, Matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,29}", "up to 30 letters, digits and _ . -")]
"""The name of a kernel among several: that of its file, and part of its line in boot menus."""


class Builder(enum.StrEnum):
    """What compiles a kernel."""

    MAKE = "make"
    GENKERNEL = "genkernel"


class Kernel(KernelSettings):
    """A kernel: from a package, from sources, or without settings the one that the environment has."""

    sources: Atom | None = None
    """A package that installs sources, such as sys-kernel/gentoo-sources, to build the kernel from."""
    tree: (
        Annotated[str, Matching(r"/\S+", "an absolute path inside the environment, such as /usr/src/linux")] | None
    ) = None
    """The folder of sources that the environment has already, to build the kernel from."""
    config: FilePath | None = None
    """The configuration of sources, made complete by `make olddefconfig`; default: what they have, or `make defconfig`.
    With `package`, what Gentoo's distribution kernels merge into their own (/etc/kernel/config.d)."""
    extraversion: Annotated[str, Matching(r"[A-Za-z0-9._+-]{1,40}", "letters, digits and . _ + -")] | None = None
    """What is added to the version of a kernel from sources."""
    build: Annotated[Builder, ByValue()] = Builder.MAKE
    """What builds sources: `make`, or `genkernel`, which makes the initramfs too."""
    genkernel_arguments: list[str] = []
    """More arguments for genkernel(8); `--b2sum` lets its initramfs verify media."""
    packages: list[Atom] = []
    """Packages to install after this kernel, such as those with modules that are built against it."""
    dracut_arguments: list[str] = []
    """More arguments for dracut(8), for this kernel's initramfs."""

    @model_validator(mode="after")
    def _one_origin(self) -> Kernel:
        origins = [name for name in ("package", "sources", "tree") if getattr(self, name)]
        if len(origins) > 1:
            facts = {"two": " and ".join(origins), "hint": "leave one of them"}
            raise PydanticCustomError("kernel", "a kernel cannot come from {two}", facts)
        for name in ("config", "extraversion", "genkernel_arguments"):
            if getattr(self, name) and not self.from_sources and not (name == "config" and self.package):
                facts = {"name": name, "hint": "set `sources` or `tree`"}
                raise PydanticCustomError("kernel", "`{name}` is for kernels that are built from sources", facts)
        if self.build is Builder.GENKERNEL and not self.from_sources:
            facts = {"hint": "set `sources` or `tree`"}
            raise PydanticCustomError("kernel", "genkernel builds kernels from sources, and there are none", facts)
        if self.from_sources and self.version:
            facts = {"hint": "leave `version` out; `sources` can be an atom with a version"}
            raise PydanticCustomError("kernel", "`version` chooses among kernels that are there already", facts)
        for name, other in (("genkernel_arguments", Builder.MAKE), ("dracut_arguments", Builder.GENKERNEL)):
            if getattr(self, name) and self.build is other:
                facts = {"name": name, "build": self.build.value, "hint": "see `build`"}
                raise PydanticCustomError("kernel", "`{name}` has no use with build = {build}", facts)
        return self

    @property
    def from_sources(self) -> bool:
        """Whether it is compiled here."""
        return bool(self.sources or self.tree)

    @property
    def installs(self) -> bool:
        """Whether Portage has something to do for it."""
        return bool(self.package or self.sources or self.packages)

    @property
    def initramfs_by(self) -> InitramfsKind:
        """Who makes its initramfs."""
        return InitramfsKind.GENKERNEL if self.build is Builder.GENKERNEL else InitramfsKind.DRACUT


def missing_genkernel(root: Root, where: str) -> list[MissingRequirement]:
    """What a kernel with build = genkernel misses in the root, which ``where`` names for people."""
    missing = MissingRequirement(f"{where} has no genkernel", "add sys-kernel/genkernel to this environment")
    return [] if has_program(root, "genkernel") else [missing]


def prepare_sources(
    settings: Kernel, root: Root, portage: Portage, work: Work, demand: Demand | None, *, where: str, ccache: bool
) -> Sources:
    """Install sources and configure them; see, before they are compiled, that they can be and are of use.

    Raises ``ENVIRONMENT_LACKS`` with all that is amiss. ``demand`` is what a live system asks of its kernel.
    """
    if settings.sources:
        portage.install([settings.sources])
    tree = settings.tree or _tree_of(settings.sources or "", root)
    check_tools(root, tree, where)
    config = work.files[settings.config] if settings.config else None
    sources = Sources(
        tree, config, settings.extraversion or "", work.cores, work.epoch, ccache=CCACHE_ENV if ccache else {}
    )
    if config or settings.build is Builder.MAKE:  # else genkernel has a configuration of its own
        work.phase(f"configure {tree}")
        done = configure(root, sources)
        if done.dropped:
            work.notice(f"{settings.config or tree}: not in effect, as others rule them out: {_few(done.dropped)}")
        check_configured(root, tree, done, demand, where)
    return sources


def compile_kernel(settings: Kernel, sources: Sources, root: Root, work: Work, overlay: Path | None) -> str:
    """Compile and install a kernel from sources that were prepared. Returns its version."""
    work.phase(f"compile {sources.tree}")
    if settings.build is Builder.GENKERNEL:
        version = build_by_genkernel(root, sources, settings.genkernel_arguments, overlay)
    else:  # once more, since another kernel may have been configured in the same folder
        version = build_by_make(root, sources, configure(root, sources))
    link, parent = f"{SOURCES}/linux", f"{SOURCES}/"
    if sources.tree != link and sources.tree.startswith(parent):  # where packages with modules look for it
        files.make_link(root.path, link, sources.tree.removeprefix(parent), epoch=sources.epoch)
    return version


def provide_kernel(settings: Kernel, root: Root, portage: Portage, work: Work) -> str:
    """See to it that a kernel which is not from sources is installed, with its modules. Returns its version."""
    if settings.config and settings.package:
        _install_configured(settings.package, work.files[settings.config], root, portage, work.epoch)
    return install_kernel(settings, root, portage, work.epoch)


def _few(options: Sequence[str]) -> str:
    names = [f"CONFIG_{option}" for option in options]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _install_configured(package: str, config: Path, root: Root, portage: Portage, epoch: int) -> None:
    """Install a kernel that is built with more configuration, which no binary package of it tells."""
    text = config.read_text(encoding="utf-8", errors="surrogateescape")
    files.write_file(root.path, CONFIG_D, text, epoch=epoch)
    portage.install([package], options=["--newuse", "--deep", "--usepkg=n", "--buildpkg=n"])


def _tree_of(atom: str, root: Root) -> str:
    """The folder that a package of sources installed."""
    trees = inside(root.path, _trees, package_of(atom) or "")
    if not trees:
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS,
            f"{atom} installed no folder /usr/src/linux*",
            hint="name a package of kernel sources, or the folder by `tree`",
        )
    return trees[-1]


def _trees(package: str) -> list[str]:
    """Folders of sources of a package in the root that this process is in, the last installed last."""
    found = []
    for contents in Path("/", VDB).glob(f"{package}-*/CONTENTS"):
        counter = contents.with_name("COUNTER")
        number = int(counter.read_text(encoding="utf-8")) if counter.exists() else 0
        lines = contents.read_text(errors="replace", encoding="utf-8").splitlines()
        found += [
            (number, line[4:]) for line in lines if line.startswith("dir /usr/src/linux") and line.count("/") == 3
        ]
    return [path for _, path in sorted(found)]
