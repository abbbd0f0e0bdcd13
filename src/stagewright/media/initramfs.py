"""The initramfs: made by dracut, or taken from genkernel; what it holds is looked up, not believed.

dracut leaves out a module that it cannot serve with a word in a log, and a driver that was not named without any; both
end in a black screen. So the environment is asked before, and the initramfs afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.options import LIVE_SYSTEM_OPTIONS, KernelFeatures
from stagewright.media import netmodules
from stagewright.media.contents import Contents
from stagewright.media.firmware import CHOSEN
from stagewright.media.netmodules import NetModule
from stagewright.project.fields import FolderPath, Section
from stagewright.root.local import has_program
from stagewright.root.requirements import MissingRequirement
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind

TOOLS = {"mount": "mount or util-linux", "depmod": "kmod", "udevadm": "udev", "zstd": "zstd"}
"""What every initramfs is made with, or copies. Without mount dracut makes one that panics, and says nothing."""

OVERLAY = "/tmp/stagewright-initramfs"
"""Where the folder that is added to the initramfs shows up inside."""

_NOT_THERE = re.compile(r"which can't be installed|cannot be found or installed")

LIVE = "dmsquash-live"


class Initramfs(Section):
    """What goes into the initramfs. Modules and drivers are dracut(8)'s; genkernel decides these by itself."""

    modules: list[str] = [LIVE, NetModule.LIVENET.value]
    """dracut modules; `dmsquash-live` finds the system; for the network `livenet`, `nfs`, `stagewright-stream`."""
    omit: list[str] = []
    """dracut modules to leave out."""
    drivers: list[str] = []
    """Kernel drivers to include; without any, all that a machine could need. Fewer drivers boot faster."""
    arguments: list[str] = []
    """More arguments for dracut(8), as they are."""
    overlay: FolderPath | None = None
    """A folder whose files are put into the initramfs."""

    @field_validator("modules")
    @classmethod
    def _finds_the_system(cls, modules: Sequence[str]) -> Sequence[str]:
        if LIVE not in modules:
            facts = {"module": LIVE, "hint": f'add "{LIVE}"'}
            raise PydanticCustomError("modules", "an initramfs without {module} finds no live system", facts)
        return modules

    @model_validator(mode="after")
    def _not_both(self) -> Initramfs:
        if both := [name for name in self.modules if name in self.omit]:
            facts = {"names": ", ".join(both), "hint": "take it out of one of them"}
            raise PydanticCustomError("omit", "`omit`: {names} is in `modules` too", facts)
        return self

    @property
    def network(self) -> list[NetModule]:
        """The modules for network boot among them."""
        return [module for module in NetModule if module in self.modules]


def missing_environment(settings: Initramfs, root: Root, where: str) -> list[MissingRequirement]:
    """What dracut would miss, before it drops a module with a word in a log or makes a dead initramfs."""
    if not has_program(root, "dracut"):
        return [MissingRequirement(f"{where} has no dracut", "add dracut to this environment")]
    lacks = [lack for module in settings.network for lack in module.missing(root)]
    wanted = TOOLS | {program: package for module in settings.network for program, package in module.tools.items()}
    missing = [f"{program} ({package})" for program, package in wanted.items() if not has_program(root, program)]
    if missing:
        names = " and ".join(f'"{module}"' for module in settings.network)
        hint = f"add these; without network boot, leave {names} out of initramfs.modules" if names else "add these"
        lacks.append(MissingRequirement(f"{where} lacks what the initramfs needs: {', '.join(missing)}", hint))
    return lacks


@dataclass(frozen=True)
class Making:
    """One run of dracut: kernel, where the result goes, as a path in the root and here, what else the project says."""

    version: str
    target: str
    result: Path
    microcode: bool
    epoch: int
    arguments: Sequence[str] = ()
    overlay: Path | None = None

    def words(self, settings: Initramfs) -> list[str]:
        """The command line."""
        words = ["dracut", "--force", "--reproducible", "--no-hostonly", "--no-hostonly-cmdline", "--no-machineid"]
        words += ["--nolvmconf", "--nomdadmconf", "--zstd", "--tmpdir", "/var/tmp", "--fwdir", CHOSEN]
        words += ["--early-microcode" if self.microcode else "--no-early-microcode", "--kver", self.version]
        network = [name for module in settings.network for name in module.drivers]
        drivers = [*settings.drivers, *network] if settings.drivers else []
        programs = [name for module in settings.network for name in module.installs]
        for option, names in (("--add", settings.modules), ("--omit", settings.omit), ("--drivers", drivers)):
            words += [option, " ".join(names)] if names else []
        words += ["--install", " ".join(programs)] if programs else []
        words += ["--include", OVERLAY, "/"] if self.overlay else []
        return [*words, *settings.arguments, *self.arguments, self.target]

    @property
    def binds(self) -> list[Bind]:
        """The folder that is added, inside."""
        return [Bind(self.overlay, OVERLAY)] if self.overlay else []


def make_initramfs(settings: Initramfs, root: Root, making: Making, features: KernelFeatures) -> Contents:
    """Run dracut, then see that all is in that a live system starts by. Raises ``BUILD_FAILED`` with the remedy."""
    said: list[str] = []
    if NetModule.STREAM in settings.modules:
        netmodules.add_to(root, making.epoch)
    try:
        env = {"SOURCE_DATE_EPOCH": str(making.epoch)}
        root.run(*making.words(settings), binds=making.binds, env=env, on_line=said.append)
    except StagewrightError as error:
        missing = [line for line in said if _NOT_THERE.search(line)]
        if error.reason is not Reason.COMMAND_FAILED or not missing:
            raise
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"dracut made no initramfs for kernel {making.version}: it lacks modules of its own",
            detail="\n".join(f"  {line}" for line in missing),
            hint="take what is needed out of initramfs.omit, or install what brings it",
        ) from error
    contents = Contents.of(making.result, making.result.parent)
    dropped = [name for name in settings.modules if name not in (contents.modules or ())]
    if dropped:
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS,
            f"dracut left {', '.join(dropped)} out of the initramfs of kernel {making.version}",
            hint="the log says what each misses; or it is omitted, or no dracut module is called so",
        )
    _check_drivers(making.version, contents, features, settings.network)
    return contents


def _check_drivers(version: str, contents: Contents, features: KernelFeatures, network: Sequence[NetModule]) -> None:
    """What the kernel has as a module must be in the initramfs, or it is not there when the image is to be mounted."""
    missing = [module for option, module in LIVE_SYSTEM_OPTIONS.items() if features.is_module(option, module)]
    missing = ["iso9660" if name == "isofs" else name for name in missing if name not in contents.drivers]
    if missing:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"the initramfs of kernel {version} lacks drivers that every live system takes: {', '.join(missing)}",
            hint="add them to initramfs.drivers, or leave that out for all drivers",
        )
    for module in network:
        if missing := module.missing_drivers(features, contents.drivers):
            raise StagewrightError(
                Reason.BUILD_FAILED,
                f"the initramfs of kernel {version} lacks drivers that {module} takes: {', '.join(missing)}",
                hint=f"the kernel's configuration must have them, or leave {module} out of initramfs.modules",
            )
