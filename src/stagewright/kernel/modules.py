"""A kernel in a root, and packages with modules of their own built to fit it (R106).

Portage's set @module-rebuild names the packages that own files in /lib/modules; those merged before the kernel, or
without modules for it, are built again. Which packages own what, and in which order they were merged (COUNTER), is in
/var/db/pkg.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.portage.emerge import Portage
from stagewright.portage.installed import VDB
from stagewright.project.fields import Atom, Section
from stagewright.root import files
from stagewright.root.files import names_in
from stagewright.root.root import Root
from stagewright.run import inside

MODULES = "/lib/modules"
SOURCES = "/usr/src"

_MODULE = re.compile(r"^obj (?:/usr)?/lib/modules/([^/]+)/\S+\.ko(?:\.(?:gz|xz|zst))? ", re.MULTILINE)
_KERNEL = re.compile(r"^obj (?:/usr)?/lib/modules/([^/]+)/modules\.(?:builtin|order) ", re.MULTILINE)


class KernelSettings(Section):
    """The kernel of a root; without settings, the one that is there."""

    package: Atom | None = None
    """A package that installs a kernel; it goes in before all others, so that they find it."""
    version: str | None = None
    """Which one, when the root has several: the name of its folder in /lib/modules."""
    rebuild_modules: bool = True
    """Build packages with kernel modules again that were made for another kernel, as `emerge @module-rebuild` does."""


@dataclass(frozen=True)
class Owner:
    """An installed package that has to do with kernels: those that it brings, and those that it has modules for."""

    name: str  # category/package-version
    counter: int
    brings: frozenset[str]
    fits: frozenset[str]
    built: int  # seconds since 1970, of a binary package when that was made

    @property
    def only_modules(self) -> bool:
        """Whether it has modules, but is no kernel."""
        return bool(self.fits) and not self.brings


def install_kernel(settings: KernelSettings, root: Root, portage: Portage, epoch: int) -> str:
    """Install the kernel and make it the one that modules are built for. Returns its version."""
    if settings.package:
        portage.install([settings.package], options=["--newuse", "--deep", "--update"])
    version = _version(settings, root)
    if files.exists(root.path, f"{SOURCES}/linux-{version}"):
        files.make_link(root.path, f"{SOURCES}/linux", f"linux-{version}", epoch=epoch)
    return version


def rebuild_modules(settings: KernelSettings, version: str, root: Root, portage: Portage, *, since: float = 0) -> None:
    """Build packages with modules again if they were made for another kernel; see that all have some for this one.

    With a configuration of the project's own a version says little: what fits was built after the kernel, at ``since``
    (seconds since 1970) or later, and is no binary package from before.
    """
    owners = inside(root.path, _owners)
    merged = max((owner.counter for owner in owners if version in owner.brings), default=0)
    stale = [
        owner
        for owner in owners
        if owner.only_modules and (owner.counter < merged or version not in owner.fits or owner.built < int(since))
    ]
    if settings.rebuild_modules and stale:
        portage.install([f"={owner.name}" for owner in stale], options=["--oneshot", "--usepkg=n", "--buildpkg=n"])
        owners = inside(root.path, _owners)
    lacking = [owner.name for owner in owners if owner.only_modules and version not in owner.fits]
    if lacking:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"there are no modules for kernel {version} in {', '.join(lacking)}",
            hint="see which kernel the package builds for (/usr/src/linux), and kernel.rebuild_modules",
        )
    if any(files.exists(root.path, f"{folder}/depmod") for folder in ("/sbin", "/bin", "/usr/sbin", "/usr/bin")):
        root.run("depmod", version)


def _version(settings: KernelSettings, root: Root) -> str:
    there = inside(root.path, _kernels)
    if settings.version in there:
        return str(settings.version)
    newest = max(inside(root.path, _owners), key=lambda owner: (bool(owner.brings), owner.counter), default=None)
    if not settings.version and settings.package and newest and len(newest.brings) == 1:
        return min(newest.brings)
    if not settings.version and len(there) == 1:
        return there[0]
    wanted = f"kernel {settings.version}" if settings.version else "exactly one kernel"
    raise StagewrightError(
        Reason.ENVIRONMENT_LACKS,
        f"there should be {wanted} in the root; its modules are for: {', '.join(there) or 'none'}",
        hint="set kernel.package to install one, or kernel.version to choose one",
    )


def _kernels() -> list[str]:
    """Kernels whose own modules are in the root that this process is in."""
    if not Path(MODULES).is_dir():
        return []
    marks = ("modules.builtin", "modules.order", "kernel")
    found = names_in(MODULES)
    return [name for name in found if any(Path(f"{MODULES}/{name}/{mark}").exists() for mark in marks)]


def _owners() -> list[Owner]:
    """The packages in the root that this process is in which have to do with kernels."""
    found = []
    for contents in sorted(Path("/", VDB).glob("*/*/CONTENTS")):
        text = contents.read_text(errors="replace", encoding="utf-8")
        brings, fits = frozenset(_KERNEL.findall(text)), frozenset(_MODULE.findall(text))
        if brings or fits:
            folder = contents.parent
            number, built = _number(folder / "COUNTER"), _number(folder / "BUILD_TIME")
            found.append(Owner(f"{folder.parent.name}/{folder.name}", number, brings, fits, built))
    return found


def _number(path: Path) -> int:
    return int(path.read_text(encoding="utf-8")) if path.exists() else 0
