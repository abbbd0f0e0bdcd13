"""What a payload holds, as a file in it: media are made by what is there, whatever stage or version made it.

::

    payload.json          this
    boot/gentoo           the first kernel, and its initramfs boot/gentoo.igz; both are a public interface (R45)
    boot/NAME             further kernels, and their boot/NAME.igz
    modules/VERSION/      their modules
    firmware/             firmware that was asked for
    loaders/LOADER/       programs of boot loaders
    memtest/              memtest86+
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from stagewright.media.arguments import InitramfsKind
from stagewright.media.netmodules import NetModule

KERNEL, INITRAMFS = "boot/gentoo", "boot/gentoo.igz"
MODULES, FIRMWARE, LOADERS, MEMTEST = "modules", "firmware", "loaders", "memtest"
FILE = "payload.json"


@dataclass(frozen=True)
class BootKernel:
    """A kernel and its initramfs.

    ``kernel`` and ``initramfs`` are paths in the payload and on media. ``verifies`` says whether the initramfs can
    check a medium, ``network`` its modules for network boot, ``keymaps`` whether it can set a keyboard's layout;
    ``compressions`` are those of squashfs that the kernel reads, None where its configuration is unknown.
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


@dataclass(frozen=True)
class Payload:
    """A payload: its kernels, the first one first; the architecture by Gentoo's name; what came in on request."""

    arch: str
    kernels: tuple[BootKernel, ...]
    memtest: bool = False
    signed: bool = False
    microcode: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()
    sha512: Mapping[str, str] = field(default_factory=dict)  # of kernels and initramfs, by path

    def led_by(self, name: str | None) -> Payload:
        """The same with this kernel first, as a medium or a set wants it that names one."""
        return replace(self, kernels=tuple(sorted(self.kernels, key=lambda kernel: name not in (None, kernel.name))))

    def write(self, folder: Path) -> None:
        """Write the file into a payload's folder."""
        (folder / FILE).write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Payload:
        """What the folder of a payload holds."""
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


def paths_of(name: str, *, first: bool) -> tuple[str, str]:
    """Where a kernel of this name and its initramfs lie; the first one's paths are fixed."""
    return (KERNEL, INITRAMFS) if first else (f"boot/{name}", f"boot/{name}.igz")
