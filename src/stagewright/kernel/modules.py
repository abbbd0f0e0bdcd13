"""The kernel of a root, and packages with kernel modules that are rebuilt to fit it.

The set @module-rebuild of Portage names the packages that own files in /lib/modules. Stagewright rebuilds those that
were merged before the kernel or that have no modules for it. /var/db/pkg records which files a package owns and in
which order packages were merged (COUNTER).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stagewright.chroot import inside
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.portage.installed import VDB
from stagewright.project.fields import Atom, ByValue, Matching, Section
from stagewright.root import files
from stagewright.root.files import names_in
from stagewright.root.sourced import values_of
from stagewright.untrusted import number, read_root_text

if TYPE_CHECKING:
    from stagewright.portage.emerge import Portage
    from stagewright.root.root import Root

MODULES = "/lib/modules"
SOURCES = "/usr/src"

_DEPMOD = ("/sbin/depmod", "/bin/depmod", "/usr/sbin/depmod", "/usr/bin/depmod")
_KERNEL_FILES = ("modules.builtin", "modules.order", "kernel")  # a folder with any of them is a kernel's
_MODULE = lazy_pattern(r"^obj (?:/usr)?/lib/modules/([^/]+)/\S+\.ko(?:\.(?:gz|xz|zst))? ", re.MULTILINE)
_KERNEL = lazy_pattern(r"^obj (?:/usr)?/lib/modules/([^/]+)/modules\.(?:builtin|order) ", re.MULTILINE)


class KernelSettings(Section):
    """The kernel of a root; without settings, the one that the root has."""

    package: Atom | None = None
    """A package that installs a kernel. Portage installs it before all others, so that they find the kernel."""
    version: str | None = None
    """Which kernel to use if the root has several: the name of its folder in /lib/modules."""
    rebuild_modules: bool = True
    """Rebuild packages with kernel modules that were built for another kernel, as `emerge @module-rebuild` does."""


class KernelLayout(enum.StrEnum):
    """How kernel-install(8) and Gentoo's installkernel arrange kernels in /boot."""

    BLS = "bls"
    COMPAT = "compat"
    EFISTUB = "efistub"
    GRUB = "grub"
    UKI = "uki"

    @property
    def needs_cmdline(self) -> bool:
        """True if installing a kernel writes its arguments to a boot entry or an image."""
        return self not in (KernelLayout.COMPAT, KernelLayout.GRUB)

    @property
    def named_by_token(self) -> bool:
        """True if names of files in /boot begin with the entry token, by default the machine id."""
        return self in (KernelLayout.BLS, KernelLayout.UKI)


class SystemKernel(KernelSettings):
    """The kernel of a system, and how kernels are installed in it: in the build, and later on the machine."""

    cmdline: Annotated[str, Matching(r"[^\x00-\x1f\x7f]*", "one line")] | None = None
    """The kernel arguments, in /etc/kernel/cmdline: for boot entries and unified kernel images."""
    layout: Annotated[KernelLayout, ByValue()] | None = None
    """The layout of /boot, in /etc/kernel/install.conf: bls (systemd-boot), uki, efistub, grub or compat. `bls`, `uki`
    and `efistub` need `cmdline`. Default: what the root's installkernel was built for."""
    initrd_generator: Literal["booster", "dracut", "mkinitcpio", "none", "ugrd"] | None = None
    """With `layout`: the program that makes the initramfs when a kernel is installed. Default: `dracut`."""
    uki_generator: Literal["dracut", "mkinitcpio", "none", "ugrd", "ukify"] | None = None
    """With `layout`: the program that makes unified kernel images. Default: `ukify` for the layout uki, else `none`."""

    @model_validator(mode="after")
    def _fits(self) -> SystemKernel:
        if self.layout and self.layout.needs_cmdline and self.cmdline is None:
            facts = {"layout": self.layout.value, "hint": 'write cmdline = "...", such as "root=LABEL=root rw"'}
            raise PydanticCustomError("kernel", "layout `{layout}` needs the kernel arguments in `cmdline`", facts)
        for name in ("initrd_generator", "uki_generator"):
            if getattr(self, name) is not None and self.layout is None:
                facts = {"name": name, "hint": "set `layout`"}
                raise PydanticCustomError("kernel", "`{name}` has no effect without `layout`", facts)
        if self.uki_generator not in (None, "none") and self.layout is not KernelLayout.UKI:
            raise PydanticCustomError("kernel", "`uki_generator` is for the layout uki", {"hint": 'layout = "uki"'})
        return self

    @property
    def install_conf(self) -> str | None:
        """The text of /etc/kernel/install.conf, or None without ``layout``."""
        if self.layout is None:
            return None
        uki = self.uki_generator or ("ukify" if self.layout is KernelLayout.UKI else "none")
        return install_conf(self.layout, self.initrd_generator or "dracut", uki)


INSTALL_CONF = "/etc/kernel/install.conf"
CMDLINE, CMDLINE_D = "/etc/kernel/cmdline", "/etc/cmdline.d/kernel.conf"
ENTRY_TOKEN = "/etc/kernel/entry-token"  # noqa: S105  the beginning of file names


def install_conf(layout: str, initrd_generator: str, uki_generator: str) -> str:
    """Return the text of an install.conf of kernel-install(8). It replaces that of /usr/lib/kernel as a whole."""
    return f"layout={layout}\ninitrd_generator={initrd_generator}\nuki_generator={uki_generator}\n"


def configure_installation(settings: SystemKernel, root: Root, epoch: int) -> None:
    """Write the files in /etc/kernel, before a kernel is installed.

    The entry token is the ``ID`` of os-release(5): the machine id differs in each build, and is not shipped.
    """
    if settings.cmdline is not None:
        files.write_file(root.path, CMDLINE, f"{settings.cmdline}\n", epoch=epoch)
        if settings.uki_generator == "dracut":  # dracut reads no /etc/kernel/cmdline
            files.write_file(root.path, CMDLINE_D, f"{settings.cmdline}\n", epoch=epoch)
    if text := settings.install_conf:
        files.write_file(root.path, INSTALL_CONF, text, epoch=epoch)
    if settings.layout and settings.layout.named_by_token and not files.exists(root.path, ENTRY_TOKEN):
        release = values_of(files.read_file(root.path, "/etc/os-release") or "", ["ID"])
        files.write_file(root.path, ENTRY_TOKEN, f"{release.get('ID') or 'linux'}\n", epoch=epoch)


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


def check_kernel(settings: KernelSettings, root: Root) -> str:
    """Return the version of the kernel in a root without Portage. Raises ``BUILD_FAILED`` as :func:`rebuild_modules`.

    The packages of the root were merged with it, so none of their modules can be built again. depmod(8) runs if the
    root has it.
    """
    version = _version(settings, root)
    _check_modules(inside(root.path, _module_packages), version)
    if any(files.exists(root.path, path) for path in _DEPMOD):
        root.run("depmod", version)
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
