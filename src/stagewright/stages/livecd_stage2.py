"""livecd-stage2: the payload, which is kernel, initramfs, modules and boot loaders (R20).

Takes a root of its own, separate from the live root, so that neither compilers nor firmware for the build ever reach
the image (R18, R43). What it finds or builds there is copied out; nothing comes from the host (R26).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Yields
from stagewright.media.loaders import Loader
from stagewright.portage.emerge import Portage, Wanted
from stagewright.project.fields import Atom, Section, Word
from stagewright.root import files
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
from stagewright.run import inside
from stagewright.stages.base import Built, Work
from stagewright.stages.packages import PackageStage

KERNEL, INITRAMFS, MODULES, LOADERS = "boot/gentoo", "boot/gentoo.igz", "modules", "loaders"
"""Where the parts lie in a payload; the first two are also their paths on media, a public interface (R45)."""

_OUT = "/mnt/payload"
_IMAGES = (
    "/boot/vmlinuz-{version}",
    "/lib/modules/{version}/vmlinuz",
    "/boot/kernel-{version}",
    "/usr/src/linux-{version}/arch/x86/boot/bzImage",
)

TOOLS = {"mount": "mount or util-linux", "depmod": "kmod", "udevadm": "udev"}
"""What every initramfs copies from the environment. Without mount dracut makes one that panics, and says nothing."""

NETWORK_TOOLS = {"ip": "iproute2", "arping": "iputils", "dhclient": "dhcp", "curl": "curl", "pgrep": "procps"}
"""What the dracut modules for network boot copy from the environment, and the packages that bring it."""


class Kernel(Section):
    """Which kernel; without settings, the one that the environment has."""

    package: Atom | None = None
    """A package that installs the kernel."""
    version: str | None = None
    """Which one, when the environment has several: the name of its folder in /lib/modules."""


class Initramfs(Section):
    """What dracut(8) puts into the initramfs."""

    modules: list[str] = ["dmsquash-live", "livenet"]
    """dracut modules to add; `livenet` is for network boot."""
    omit: list[str] = []
    """dracut modules to leave out."""
    drivers: list[str] = []
    """Kernel drivers to include; without any, all that a machine could need. Fewer drivers boot faster."""
    arguments: list[str] = []
    """More arguments for dracut(8), as they are."""


class LiveStage2(PackageStage, kind="livecd-stage2"):
    """A stage of kind ``livecd-stage2``."""

    yields = Yields.ARTIFACT

    kernel: Kernel = Kernel()
    """Which kernel."""
    initramfs: Initramfs = Initramfs()
    """What the initramfs holds."""
    loaders: list[Annotated[Loader, Word()]] = [Loader.SYSTEMD_BOOT]
    """The boot loaders to take from the environment."""

    @property
    def uses_portage(self) -> bool:
        """Only where packages are to be installed."""
        return bool(self.packages or self.kernel.package)

    def installs(self, portage: Portage) -> Iterator[Wanted]:
        """The packages and the kernel."""
        yield Wanted([*self.packages, *filter(None, [self.kernel.package])])

    def build(self, work: Work) -> Built:
        """Install what is asked for, make the initramfs, copy the parts out."""
        payload = work.new_folder("payload")
        root, portage = self.portage(work, [Bind(payload, _OUT, writable=True)])
        portage.install([*self.packages, *([self.kernel.package] if self.kernel.package else [])])
        version = self._version(root)
        work.phase(f"kernel {version}")
        (payload / "boot").mkdir()
        _copy(root, self._image(root, version), payload / KERNEL)
        self._check_environment(root)
        root.run("depmod", version)
        work.phase("initramfs")
        self._dracut(root, version, work)
        modules = inside(root.path, os.path.realpath, f"/lib/modules/{version}")
        shutil.copytree(
            root.path / modules.lstrip("/"),
            payload / MODULES / version,
            symlinks=True,
            ignore=shutil.ignore_patterns("build", "source", "vmlinuz"),
        )
        work.phase("boot loaders")
        for loader in self.loaders:
            (payload / LOADERS / loader).mkdir(parents=True)
            loader.take(root, payload / LOADERS / loader, f"{_OUT}/{LOADERS}/{loader}")
        files.clamp_times(payload, work.epoch)
        return Built(payload, (), {"kernel": version, "initramfs_bytes": (payload / INITRAMFS).stat().st_size})

    def open(self, work: Work) -> Root:
        """The payload's environment, with the parts made so far at /mnt/payload."""
        (work.folder / "payload").mkdir(exist_ok=True)
        return self.portage(work, [Bind(work.folder / "payload", _OUT, writable=True)])[0]

    def _version(self, root: Root) -> str:
        versions = inside(root.path, _listing, "/lib/modules")
        if self.kernel.version in versions:
            return self.kernel.version
        found = ", ".join(versions) or "none"
        if self.kernel.version or len(versions) != 1:
            wanted = f"kernel {self.kernel.version}" if self.kernel.version else "exactly one kernel"
            raise StagewrightError(
                Reason.ENVIRONMENT_LACKS,
                f"{self.root!r} should have {wanted}; its modules are for: {found}",
                hint="set kernel.package to install one, or kernel.version to choose one",
            )
        return versions[0]

    def _image(self, root: Root, version: str) -> str:
        candidates = [path.format(version=version) for path in _IMAGES]
        for path in candidates:
            if files.exists(root.path, path):
                return path
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS,
            f"{self.root!r} has modules of kernel {version} but not its image",
            detail="\n".join(f"  looked for {path}" for path in candidates),
        )

    def _check_environment(self, root: Root) -> None:
        """Name what dracut would miss, before it drops a module with a word in a log or makes a dead initramfs."""
        if not _program(root, "dracut"):
            raise StagewrightError(
                Reason.ENVIRONMENT_LACKS, f"{self.root!r} has no dracut", hint="add dracut to this environment"
            )
        wanted = {**TOOLS, **(NETWORK_TOOLS if "livenet" in self.initramfs.modules else {})}
        missing = [f"{program} ({package})" for program, package in wanted.items() if not _program(root, program)]
        if missing:
            raise StagewrightError(
                Reason.ENVIRONMENT_LACKS,
                f"{self.root!r} lacks what the initramfs needs: {', '.join(missing)}",
                hint='add these; without network boot, leave "livenet" out of initramfs.modules',
            )

    def _dracut(self, root: Root, version: str, work: Work) -> None:
        settings = self.initramfs
        words = ["dracut", "--force", "--reproducible", "--no-hostonly", "--no-hostonly-cmdline", "--no-machineid"]
        words += ["--nolvmconf", "--nomdadmconf", "--no-early-microcode", "--zstd", "--tmpdir", "/var/tmp"]
        words += ["--kver", version]
        for option, names in (("--add", settings.modules), ("--omit", settings.omit), ("--drivers", settings.drivers)):
            words += [option, " ".join(names)] if names else []
        root.run(
            *words,
            *settings.arguments,
            f"{_OUT}/{INITRAMFS}",
            env={"SOURCE_DATE_EPOCH": str(work.epoch)},
        )


def _listing(path: str) -> list[str]:
    return sorted(entry.name for entry in Path(path).iterdir()) if Path(path).is_dir() else []


def _program(root: Root, name: str) -> bool:
    return any(files.exists(root.path, f"{folder}/{name}") for folder in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"))


def _copy(root: Root, path: str, target: Path) -> None:
    real = inside(root.path, os.path.realpath, path)
    shutil.copyfile(root.path / real.lstrip("/"), target)
