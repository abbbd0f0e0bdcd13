"""Methods by which the image reaches a machine that boots from the network, with kernel arguments."""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import replace

from stagewright.lazy_dataclass import dataclass
from stagewright.media.arguments import InitramfsKind
from stagewright.media.netmodules import NetModule
from stagewright.media.payload import IMAGE

COMBINED = "combined.igz"
"""File of a set that is initramfs and image in one. The other files are those of the ISO, see media/payload.py."""

IN_INITRAMFS = "image.squashfs.img"
"""The image's name inside the initramfs. dracut only accepts a file named ``*.img`` as a live image."""

MIB = 1 << 20

BIOS_LIMIT = 640 * 1024
"""Largest program for BIOS machines, in bytes: it is loaded into the first 640 KiB of memory."""

TFTP_LIMITS = ((65535 * 512, "without block sizes"), (65535 * 1468, "without block numbers that roll over"))
"""Largest files, in bytes, that simple TFTP implementations transfer: 65535 blocks (RFC 1350, 2348)."""

TFTP_MOST = (1 << 32) - 1
"""Largest size, in bytes, that TFTP can announce (RFC 2349, as implemented)."""

CPIO_MOST = (1 << 32) - 1
"""Largest file in a cpio archive for the kernel, in bytes (eight hexadecimal digits)."""


class Method(enum.StrEnum):
    """The place from which the running system reads its image."""

    INITRD = "initrd"
    HTTP = "http"
    STREAM = "stream"
    NFS = "nfs"
    NBD = "nbd"

    @property
    def modules(self) -> tuple[NetModule, ...]:
        """The dracut modules that the initramfs must contain."""
        return {
            "initrd": (),
            "http": (NetModule.LIVENET,),
            "stream": (NetModule.STREAM,),
            "nfs": (NetModule.LIVENET, NetModule.NFS),
            "nbd": (NetModule.STREAM,),
        }[self.value]

    @property
    def address(self) -> str:
        """Name, in iPXE scripts, of the address that the kernel needs; empty if it needs none."""
        return {"initrd": "", "nfs": "nfs-url", "nbd": "nbd-url"}.get(self.value, "base-url")

    def image(self, address: str, path: str = IMAGE) -> str:
        """Return the address of an image with this path in the set at ``address``; an NBD address is the image's."""
        return address if self is Method.NBD or not address else f"{address}/{path}"

    @property
    def description(self) -> str:
        """Words for menus and documentation."""
        return {
            "initrd": "the image as part of the initramfs",
            "http": "the image fetched over HTTP",
            "stream": "the image read over HTTP while the system runs",
            "nfs": "the image read over NFS while the system runs",
            "nbd": "the image read over NBD while the system runs",
        }[self.value]


@dataclass(frozen=True)
class CommandLine:
    """Kernel arguments that are the same for all methods, and the initramfs that reads them; None if it is another."""

    by: InitramfsKind | None
    options: Sequence[str]
    keymap: str | None = None

    def for_method(self, method: Method, image: str) -> str:
        """Return the arguments for one method; ``image`` is the URL of the image, or "" if the method has none.

        There is always a ``root=``. Without it the kernel limits the initramfs to half of the memory and truncates a
        large image silently (measured). Sources: dracut.cmdline(7), and defaults/initrd.scripts of genkernel.
        """
        keyboard = [self.keyboard(self.keymap)] if self.keymap else []
        return " ".join([*self._root(method, image), *self.options, *keyboard])

    def without_keymap(self) -> CommandLine:
        """Return the same arguments for a boot loader in which the user chooses the keymap."""
        return replace(self, keymap=None)

    def keyboard(self, keymap: str) -> str:
        """Return the arguments for a keyboard layout."""
        if self.by is InitramfsKind.GENKERNEL:
            return f"keymap={keymap}"
        return f"rd.vconsole.keymap={keymap} vconsole.keymap={keymap}"

    def _root(self, method: Method, image: str) -> list[str]:
        if method is Method.INITRD and self.by is InitramfsKind.GENKERNEL:
            return ["root=/dev/ram0", "cdroot", "looptype=squashfs", f"loop=/{IN_INITRAMFS}"]
        if method is Method.INITRD:
            return [f"root=live:/{IN_INITRAMFS}"]
        if method in (Method.STREAM, Method.NBD):
            return ["root=live:/dev/nbd0", f"rd.stagewright.stream={image}", "ip=dhcp", "rd.neednet=1"]
        return [f"root=live:{image}", "ip=dhcp", "rd.neednet=1"]


def supported_methods(modules: Collection[NetModule]) -> list[Method]:
    """Return the methods that an initramfs with these dracut modules supports, with the most general one first."""
    return [method for method in Method if all(module in modules for module in method.modules)]


def tftp_limits(size: int) -> list[str]:
    """Return the limits of TFTP that a file of this size, in bytes, exceeds."""
    if size > TFTP_MOST:
        return ["too large for TFTP"]
    return [f"too large for TFTP {variant}" for limit, variant in TFTP_LIMITS if size > limit]
