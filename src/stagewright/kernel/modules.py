"""The kernel of a root, and packages with kernel modules that are rebuilt to fit it.

The set @module-rebuild of Portage names the packages that own files in /lib/modules. Stagewright rebuilds those that
were merged before the kernel or that have no modules for it. /var/db/pkg records which files a package owns and in
which order packages were merged (COUNTER).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.chroot import inside
from stagewright.errors import Reason, StagewrightError
from stagewright.portage.emerge import Portage
from stagewright.portage.installed import VDB
from stagewright.project.fields import Atom, Section
from stagewright.root import files
from stagewright.root.files import names_in
from stagewright.root.root import Root
from stagewright.untrusted import number, read_root_text

MODULES = "/lib/modules"
SOURCES = "/usr/src"

_DEPMOD = ("/sbin/depmod", "/bin/depmod", "/usr/sbin/depmod", "/usr/bin/depmod")
_KERNEL_FILES = ("modules.builtin", "modules.order", "kernel")  # a folder with any of them is a kernel's
_MODULE = re.compile(r"^obj (?:/usr)?/lib/modules/([^/]+)/\S+\.ko(?:\.(?:gz|xz|zst))? ", re.MULTILINE)
_KERNEL = re.compile(r"^obj (?:/usr)?/lib/modules/([^/]+)/modules\.(?:builtin|order) ", re.MULTILINE)


class KernelSettings(Section):
    """The kernel of a root; without settings, the one that the root has."""

    package: Atom | None = None
    """A package that installs a kernel. Portage installs it before all others, so that they find the kernel."""
    version: str | None = None
    """Which kernel to use if the root has several: the name of its folder in /lib/modules."""
    rebuild_modules: bool = True
    """Rebuild packages with kernel modules that were built for another kernel, as `emerge @module-rebuild` does."""


@dataclass(frozen=True)
class ModulePackage:
    """An installed package that owns kernels or kernel modules.

    ``name`` is category/package-version, ``counter`` its place in the order of merges. ``kernels`` are the versions of
    the kernels that it installs, ``modules_for`` the versions that it has modules for. ``built`` is the time of its
    build in seconds since 1970, also of a binary package.
    """

    name: str
    counter: int
    kernels: frozenset[str]
    modules_for: frozenset[str]
    built: int

    @property
    def only_modules(self) -> bool:
        """True if it has modules and no kernel."""
        return bool(self.modules_for) and not self.kernels

    def fits(self, version: str, *, merged_after: int, built_after: int) -> bool:
        """Return True if its modules are for this kernel, and not older than it."""
        return version in self.modules_for and self.counter >= merged_after and self.built >= built_after


def install_kernel(settings: KernelSettings, root: Root, portage: Portage, epoch: int) -> str:
    """Install the kernel and point /usr/src/linux at its sources, if there are any. Return its version."""
    if settings.package:
        portage.install([settings.package], options=["--newuse", "--deep", "--update"])
    version = _version(settings, root)
    if files.exists(root.path, f"{SOURCES}/linux-{version}"):
        files.make_link(root.path, f"{SOURCES}/linux", f"linux-{version}", epoch=epoch)
    return version


def rebuild_modules(settings: KernelSettings, version: str, root: Root, portage: Portage, *, since: float = 0) -> None:
    """Rebuild packages whose modules do not fit this kernel, then run depmod(8).

    ``since`` is the time, in seconds since 1970, at which a kernel with a configuration of the project was built. Two
    kernels of one version can differ then, so packages that were built earlier are rebuilt too. Raises
    ``BUILD_FAILED`` if a package still has no modules for this kernel.
    """
    packages = inside(root.path, _module_packages)
    merged = max((package.counter for package in packages if version in package.kernels), default=0)
    stale = [
        package
        for package in packages
        if package.only_modules and not package.fits(version, merged_after=merged, built_after=int(since))
    ]
    if settings.rebuild_modules and stale:
        portage.install([f"={package.name}" for package in stale], options=["--oneshot", "--usepkg=n", "--buildpkg=n"])
        packages = inside(root.path, _module_packages)
    _check_modules(packages, version)
    if any(files.exists(root.path, path) for path in _DEPMOD):
        root.run("depmod", version)


def _check_modules(packages: Sequence[ModulePackage], version: str) -> None:
    lacking = [one.name for one in packages if one.only_modules and version not in one.modules_for]
    if lacking:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"no modules for kernel {version} in {', '.join(lacking)}",
            hint="check which kernel the package builds for (/usr/src/linux), and `kernel.rebuild_modules`",
        )


def _version(settings: KernelSettings, root: Root) -> str:
    installed = inside(root.path, _kernels)
    if settings.version in installed:
        return str(settings.version)
    newest = max(inside(root.path, _module_packages), key=lambda one: (bool(one.kernels), one.counter), default=None)
    if not settings.version and settings.package and newest and len(newest.kernels) == 1:
        return min(newest.kernels)
    if not settings.version and len(installed) == 1:
        return installed[0]
    wanted = f"kernel {settings.version}" if settings.version else "exactly one kernel"
    raise StagewrightError(
        Reason.ENVIRONMENT_LACKS,
        f"the root must have {wanted} (/lib/modules has: {', '.join(installed) or 'none'})",
        hint="set kernel.package to install one, or kernel.version to choose one",
    )


def _kernels() -> list[str]:
    """Return the kernels in the root of this process whose own modules are installed."""
    if not Path(MODULES).is_dir():
        return []
    found = names_in(MODULES)
    return [name for name in found if any(Path(f"{MODULES}/{name}/{file}").exists() for file in _KERNEL_FILES)]


def _module_packages() -> list[ModulePackage]:
    """Return the packages in the root of this process that own kernels or kernel modules."""
    found = []
    for contents in sorted(Path("/", VDB).glob("*/*/CONTENTS")):
        text = read_root_text(contents, errors="replace")
        kernels, modules_for = frozenset(_KERNEL.findall(text)), frozenset(_MODULE.findall(text))
        if kernels or modules_for:
            folder = contents.parent
            counter, built = _number(folder / "COUNTER"), _number(folder / "BUILD_TIME")
            name = f"{folder.parent.name}/{folder.name}"
            found.append(ModulePackage(name, counter, kernels, modules_for, built))
    return found


def _number(path: Path) -> int:
    return number(read_root_text(path, errors="replace").strip()) or 0 if path.exists() else 0
