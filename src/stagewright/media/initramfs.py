"""Initramfs images by dracut, with a check of the environment before and of the result afterwards.

If a module's requirements are missing, dracut omits the module and only logs it. A driver that is not listed is omitted
silently. Both result in a system that does not boot.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.features import LIVE_SYSTEM_OPTIONS, KernelFeatures
from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.media import verity
from stagewright.media.dracut_modules import add_module
from stagewright.media.firmware_files import CHOSEN
from stagewright.media.initramfs_contents import InitramfsContents
from stagewright.media.netmodules import NetModule
from stagewright.project.fields import FolderPath, Section
from stagewright.root.local import has_program
from stagewright.root.requirements import MissingRequirement
from stagewright.root.sandbox import Bind

if TYPE_CHECKING:
    from stagewright.root.root import Root

COMPRESSOR = "zstd -10 -q -T0"
"""The compressor of an initramfs. Level 15, dracut's default, takes seven times as long for 1 % fewer bytes."""

TOOLS = {"mount": "mount or util-linux", "depmod": "kmod", "udevadm": "udev", "zstd": "zstd"}
"""Programs that dracut runs or copies. Without mount it silently makes an initramfs that panics."""

OVERLAY = "/tmp/stagewright-initramfs"
"""Path, inside the root, of the folder that is added to the initramfs."""

_NOT_INSTALLABLE = lazy_pattern(r"which can't be installed|cannot be found or installed")

LIVE = "dmsquash-live"

MEMORY = "stagewright-memory"
"""dracut module that stops a machine with too little memory for a live system, with a sentence."""
KEEP_NETWORK = "stagewright-network"
"""dracut module that keeps the network of a system whose image is read over it, until the machine is off."""
LABEL_MODULE = "stagewright-label"
"""The dracut module that finds a medium whose label has spaces."""

DISK_MODULES = {"stagewright-roothash": "roothash", "stagewright-grow": "grow"}
"""dracut modules for systems on disks, which `initramfs.modules` can name, and their folders in this package."""

_DISK_PROGRAMS = {
    "stagewright-roothash": {"dmsetup": "dmsetup or sys-fs/lvm2"},
    "stagewright-grow": {"sfdisk": "fdisk or sys-apps/util-linux", "partx": "util-linux", "flock": "util-linux"},
}
"""Programs that they copy from the environment, with the packages that install them."""


_OWN_MODULES = {
    MEMORY: (91, "memory"),
    KEEP_NETWORK: (91, "network"),
    NetModule.STREAM.value: (90, "stream"),
    LABEL_MODULE: (90, "labelled"),
    verity.MODULE: (91, "verified"),
    **{name: (90, folder) for name, folder in DISK_MODULES.items()},
}
"""dracut modules of Stagewright by name: the number that decides their order, and their folder in this package."""


class InitramfsSettings(Section):
    """The contents of the initramfs. Modules and drivers are for dracut(8); genkernel selects its own."""

    modules: list[str] = [LIVE, NetModule.LIVENET.value]
    """dracut modules; `dmsquash-live` mounts the system; for the network `livenet`, `nfs`, `stagewright-stream`."""
    omit: list[str] = []
    """dracut modules to leave out."""
    drivers: list[str] = []
    """Kernel drivers to include; default: all drivers. Fewer drivers boot faster."""
    arguments: list[str] = []
    """More arguments for dracut(8)."""
    overlay: FolderPath | None = None
    """A folder whose files are added to the initramfs."""

    @field_validator("modules")
    @classmethod
    def _mounts_the_system(cls, modules: Sequence[str]) -> Sequence[str]:
        if LIVE not in modules:
            facts = {"module": LIVE, "hint": f'add "{LIVE}"'}
            raise PydanticCustomError("modules", "an initramfs without {module} cannot mount a live system", facts)
        return modules

    @model_validator(mode="after")
    def _not_both(self) -> InitramfsSettings:
        if both := [name for name in self.modules if name in self.omit]:
            facts = {"names": ", ".join(both), "hint": "remove it from one of them"}
            raise PydanticCustomError("omit", "`omit`: {names} is also in `modules`", facts)
        return self

    @property
    def network(self) -> list[NetModule]:
        """Its modules for network boot."""
        return [module for module in NetModule if module in self.modules]


def missing_for_dracut(
    settings: InitramfsSettings, root: Root, where: str, *, verity_too: bool = False
) -> list[MissingRequirement]:
    """Return what the root, named ``where``, lacks for an initramfs by dracut with these settings.

    ``verity_too`` is True if the initramfs opens the image through dm-verity.
    """
    if not has_program(root, "dracut"):
        return [MissingRequirement(f"{where} has no dracut", "add dracut to this environment")]
    found = [missing for module in settings.network for missing in module.missing(root)]
    wanted = TOOLS | (verity.PROGRAMS if verity_too else {})
    wanted |= {program: package for module in settings.network for program, package in module.tools.items()}
    for name in settings.modules:
        wanted |= _DISK_PROGRAMS.get(name, {})
    missing = [f"{program} ({package})" for program, package in wanted.items() if not has_program(root, program)]
    if missing:
        names = " and ".join(f'"{module}"' for module in settings.network)
        hint = f"add these, or remove {names} from initramfs.modules" if names else "add these"
        found.append(MissingRequirement(f"{where} lacks programs for the initramfs: {', '.join(missing)}", hint))
    return found


@dataclass(frozen=True)
class DracutRun:
    """One run of dracut for the kernel with this version.

    ``target`` is the initramfs as a path in the root, ``result`` the same file outside. ``overlay`` is a folder whose
    files are added, ``epoch`` the time stamp in seconds since 1970. ``verity`` is True if the initramfs opens the image
    through dm-verity.
    """

    version: str
    target: str
    result: Path
    microcode: bool
    epoch: int
    arguments: Sequence[str] = ()
    overlay: Path | None = None
    verity: bool = False

    def command(self, settings: InitramfsSettings) -> list[str]:
        """Return the command line."""
        words = ["dracut", "--force", "--reproducible", "--no-hostonly", "--no-hostonly-cmdline", "--no-machineid"]
        words += ["--nolvmconf", "--nomdadmconf", "--compress", COMPRESSOR, "--tmpdir", "/var/tmp", "--fwdir", CHOSEN]
        words += ["--early-microcode" if self.microcode else "--no-early-microcode", "--kver", self.version]
        network = [name for module in settings.network for name in module.drivers]
        drivers = [*settings.drivers, *network] if settings.drivers else []
        programs = [name for module in settings.network for name in module.installs]
        for option, names in (("--add", self.modules(settings)), ("--omit", settings.omit), ("--drivers", drivers)):
            words += [option, " ".join(names)] if names else []
        words += ["--install", " ".join(programs)] if programs else []
        words += ["--include", OVERLAY, "/"] if self.overlay else []
        return [*words, *settings.arguments, *self.arguments, self.target]

    def modules(self, settings: InitramfsSettings) -> list[str]:
        """Return the dracut modules to add."""
        network = [KEEP_NETWORK] if settings.network else []
        return [*settings.modules, MEMORY, *network, LABEL_MODULE, *([verity.MODULE] if self.verity else [])]

    @property
    def binds(self) -> list[Bind]:
        """Bind mount of the folder that is added."""
        return [Bind(self.overlay, OVERLAY, whole=True)] if self.overlay else []


def make_initramfs(
    settings: InitramfsSettings, root: Root, dracut: DracutRun, features: KernelFeatures
) -> InitramfsContents:
    """Run dracut and check that the initramfs contains everything that the live system requires.

    Raises ``ENVIRONMENT_LACKS`` if dracut omitted a module, ``BUILD_FAILED`` if drivers are missing.
    """
    _check_names(settings.drivers, dracut.version, features)
    output: list[str] = []
    for name in dracut.modules(settings):
        if name in _OWN_MODULES:
            number, folder = _OWN_MODULES[name]
            add_module(root, folder, f"{number}{name}", dracut.epoch)
    try:
        env = {"SOURCE_DATE_EPOCH": str(dracut.epoch)}
        root.run(*dracut.command(settings), binds=dracut.binds, env=env, on_line=output.append)
    except StagewrightError as error:
        missing = [line for line in output if _NOT_INSTALLABLE.search(line)]
        if error.reason is not Reason.COMMAND_FAILED or not missing:
            raise
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"dracut made no initramfs for kernel {dracut.version}: modules that it requires cannot be installed",
            detail="\n".join(f"  {line}" for line in missing),
            hint="remove the modules from initramfs.omit, or install the packages that they require",
        ) from error
    if not stat.S_ISREG(os.lstat(dracut.result).st_mode):
        raise StagewrightError(Reason.BUILD_FAILED, f"dracut made no regular file for kernel {dracut.version}")
    contents = InitramfsContents.of(dracut.result, dracut.result.parent)
    dropped = [name for name in dracut.modules(settings) if name not in (contents.modules or ())]
    if dropped:
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS,
            f"dracut omitted {', '.join(dropped)} from the initramfs of kernel {dracut.version}",
            hint="the log has the reason; also check initramfs.omit and the names of the modules",
        )
    _check_drivers(dracut, contents, features, settings)
    if dracut.verity and not contents.has_program(verity.LIVE_ROOT):
        message = (
            f"the initramfs of kernel {dracut.version} would not verify the image: dracut has no dmsquash-live-root"
        )
        raise StagewrightError(
            Reason.BUILD_FAILED, message, hint="use another version of dracut, or set verity = false"
        )
    return contents


def _check_names(drivers: Sequence[str], version: str, features: KernelFeatures) -> None:
    """Check that the kernel has these drivers: dracut omits unknown ones silently."""
    names = [name for name in drivers if not name.startswith("=")]  # folders of drivers, see dracut(8)
    if unknown := [name for name in names if features.module_of(name) is None]:
        close = [near for name in unknown for near in difflib.get_close_matches(name, features.drivers, 1)]
        meant = f"; did you mean {', '.join(close)}?" if close else ""
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS,
            f"initramfs.drivers: kernel {version} does not have {', '.join(unknown)}, as a module or compiled in",
            hint=f"remove them, or use a kernel that has these drivers{meant}",
        )


def _check_drivers(
    dracut: DracutRun, contents: InitramfsContents, features: KernelFeatures, settings: InitramfsSettings
) -> None:
    """Check that the initramfs contains the drivers of the settings and those that mounting the image requires."""
    version, options = dracut.version, LIVE_SYSTEM_OPTIONS | (verity.OPTIONS if dracut.verity else {})
    wanted = [module for name in settings.drivers if (module := features.module_of(name)) in features.modules]
    if lost := sorted({module for module in wanted if module and module not in contents.drivers}):
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"dracut omitted drivers from the initramfs of kernel {version}: {', '.join(lost)}",
            hint="the log has the reason; also check initramfs.omit and initramfs.arguments",
        )
    missing = [module for option, module in options.items() if features.is_module(option, module)]
    missing = ["iso9660" if name == "isofs" else name for name in missing if name not in contents.drivers]
    if missing:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"the initramfs of kernel {version} lacks drivers that every live system requires: {', '.join(missing)}",
            hint="add them to initramfs.drivers, or remove that setting to include all drivers",
        )
    for module in settings.network:
        if missing := module.missing_drivers(features, contents.drivers):
            raise StagewrightError(
                Reason.BUILD_FAILED,
                f"the initramfs of kernel {version} lacks drivers that {module} requires: {', '.join(missing)}",
                hint=f"enable them in the kernel's configuration, or remove {module} from initramfs.modules",
            )
