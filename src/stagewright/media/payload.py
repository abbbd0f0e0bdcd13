"""The description of a payload, in the payload itself, so that media depend only on what is there.

::

    payload.json          the description
    boot/gentoo           the first kernel; its initramfs is boot/gentoo.igz. Both paths are a public interface
    boot/NAME             further kernels; their initramfs is boot/NAME.igz
    modules/VERSION/      kernel modules
    firmware/             requested firmware
    loaders/LOADER/       programs of boot loaders
    network/LOADER/       programs for boot servers
    memtest/              memtest86+
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from stagewright.lazy_dataclass import dataclass
from stagewright.media.arguments import InitramfsKind
from stagewright.media.netmodules import NetModule

KERNEL, INITRAMFS, IMAGE = "boot/gentoo", "boot/gentoo.igz", "image.squashfs"
"""Paths of the first kernel, its initramfs and the squashfs on every medium and in every set, a public interface."""

MODULES, FIRMWARE, LOADERS, MEMTEST = "modules", "firmware", "loaders", "memtest"
FILE = "payload.json"


@dataclass(frozen=True)
class BootKernel:
    """A kernel and its initramfs.

    ``kernel`` and ``initramfs`` are paths in the payload and on media. ``by`` is the program that made the initramfs.
    ``verifies`` is True if the initramfs can check a medium, ``keymaps`` if it can set a keyboard layout. ``network``
    are its modules for network boot. ``compressions`` are the compressions of squashfs that the kernel reads, None if
    its configuration is unknown. ``verity`` is True if the initramfs can open the image through dm-verity. ``dracut``
    is the major version of the dracut that made it, 0 if it is unknown. ``reboots`` is True if the initramfs can reboot
    the machine. ``unpacked`` is the memory of the unpacked initramfs in bytes, 0 if it is unknown.
    """

    name: str
    version: str
    kernel: str
    initramfs: str
    by: InitramfsKind
    verifies: bool
    network: tuple[NetModule, ...]
    keymaps: bool
    compressions: tuple[str, ...] | None = None
    verity: bool = False
    dracut: int = 0
    reboots: bool = True
    unpacked: int = 0


@dataclass(frozen=True)
class Payload:
    """A payload.

    ``arch`` is Gentoo's name of the architecture. The first of the ``kernels`` boots by default. ``microcode`` and
    ``firmware`` are paths below /lib/firmware. ``sha512`` are the digests of kernels and initramfs, by path.
    """

    arch: str
    kernels: tuple[BootKernel, ...]
    memtest: bool = False
    signed: bool = False
    microcode: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()
    sha512: Mapping[str, str] = field(default_factory=dict)

    def without_reboot(self, arguments: Sequence[str]) -> tuple[str, str] | None:
        """Return why the payload does not support kernel arguments that reboot after a failure, and a hint.

        dracut's action for failures runs reboot(8), and the machine stays where it is without this program.
        """
        if "rd.emergency=reboot" not in arguments or all(kernel.reboots for kernel in self.kernels):
            return None
        hint = "add systemd-sysv (Debian) or sys-apps/systemd with USE=sysv-utils to the root of the payload"
        return "has an initramfs without the program reboot, which rd.emergency=reboot runs", hint

    @property
    def verity(self) -> bool:
        """True if its initramfs images open the image through dm-verity."""
        return all(kernel.verity for kernel in self.kernels)

    def with_first(self, name: str | None) -> Payload:
        """Return the same payload with this kernel first, or unchanged for None."""
        return replace(self, kernels=tuple(sorted(self.kernels, key=lambda kernel: name not in (None, kernel.name))))

    def write(self, folder: Path) -> None:
        """Write the description into the folder of the payload."""
        (folder / FILE).write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Payload:
        """Read the description in the folder of a payload."""
        data = json.loads((folder / FILE).read_text(encoding="utf-8"))
        kernels = tuple(
            BootKernel(
                **{
                    **kernel,
                    "by": InitramfsKind(kernel["by"]),
                    "network": tuple(map(NetModule, kernel["network"])),
                    "compressions": _tuple(kernel["compressions"]),
                }
            )
            for kernel in data.pop("kernels")
        )
        microcode, firmware = tuple(data.pop("microcode")), tuple(data.pop("firmware"))
        return cls(kernels=kernels, microcode=microcode, firmware=firmware, **data)


def _tuple(words: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(words)


def kernel_paths(name: str, *, first: bool) -> tuple[str, str]:
    """Return the paths of a kernel with this name and of its initramfs. Those of the first kernel are fixed."""
    return (KERNEL, INITRAMFS) if first else (f"boot/{name}", f"boot/{name}.igz")
