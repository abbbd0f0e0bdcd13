"""How the image reaches a machine that starts from the network: what each way takes, of the kernel and of memory."""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from stagewright.media.arguments import InitramfsKind
from stagewright.media.netmodules import NetModule

KERNEL, INITRAMFS, IMAGE, COMBINED = "boot/gentoo", "boot/gentoo.igz", "image.squashfs", "combined.igz"
"""Files of a set; the first three are also those of the ISO, a public interface (R45, R54)."""

IN_INITRAMFS = "image.squashfs.img"
"""The image's name inside the initramfs. dracut takes a file for a live image only when it is called ``*.img``."""

MIB = 1 << 20

BIOS_LIMIT = 640 * 1024
"""Bytes that a program for BIOS machines may have: it is loaded below the first 640 KiB (R73)."""

TFTP_LIMITS = ((65535 * 512, "without block sizes"), (65535 * 1468, "without block numbers that roll over"))
"""The largest files, in bytes, that simple TFTP servers and clients can transfer: 65535 blocks (RFC 1350, 2348)."""

TFTP_MOST = (1 << 32) - 1
"""What TFTP can tell the size of at all, in bytes (RFC 2349, as it is implemented)."""

CPIO_MOST = (1 << 32) - 1
"""The largest file in an archive of the kind that the kernel unpacks, in bytes (eight hexadecimal digits)."""


STREAMING = 300
"""MiB that a small system takes when its image stays on the server, whatever the size of that (measured)."""


class Method(enum.StrEnum):
    """Where the running system finds its image."""

    INITRD = "initrd"
    HTTP = "http"
    STREAM = "stream"
    NFS = "nfs"
    NBD = "nbd"

    @property
    def modules(self) -> tuple[NetModule, ...]:
        """The modules of dracut that the initramfs must have for it."""
        return {
            "initrd": (),
            "http": (NetModule.LIVENET,),
            "stream": (NetModule.STREAM,),
            "nfs": (NetModule.LIVENET, NetModule.NFS),
            "nbd": (NetModule.STREAM,),
        }[self.value]

    @property
    def address(self) -> str:
        """What iPXE's scripts call the address that the kernel must be told; empty where there is none."""
        return {"initrd": "", "nfs": "nfs-url", "nbd": "nbd-url"}.get(self.value, "base-url")

    def image(self, address: str) -> str:
        """The image's own address: what a folder's address ends in, but for NBD, which knows no folders."""
        return address if self is Method.NBD or not address else f"{address}/{IMAGE}"

    def memory(self, image: int, initramfs: int) -> int:
        """The least memory, in MiB and rounded up to 64, for an image and a packed initramfs of these sizes in bytes.

        From measurements with an image of 208 MB and a dracut initramfs of 50 MB: as part of the initramfs the image is
        in memory twice while the kernel unpacks (worked with 768 MiB, not with 512); over HTTP it is there once
        (worked with 512 MiB). A small image takes no less than what kernel, initramfs and system need beside it.
        """
        match self:
            case Method.INITRD:
                need = max(2 * image + initramfs + 100 * MIB, image + 300 * MIB)
            case Method.HTTP:
                need = image + 300 * MIB
            case Method.STREAM | Method.NFS | Method.NBD:
                need = STREAMING * MIB
        return -(-need // (64 * MIB)) * 64

    @property
    def what(self) -> str:
        """What people call it."""
        return {
            "initrd": "the image as part of the initramfs",
            "http": "the image fetched over HTTP",
            "stream": "the image read over HTTP while the system runs",
            "nfs": "the image read over NFS while the system runs",
            "nbd": "the image read over NBD while the system runs",
        }[self.value]


@dataclass(frozen=True)
class CommandLine:
    """The kernel's arguments, whichever way it starts: who reads them, and those that are the same for all ways."""

    by: InitramfsKind
    options: Sequence[str]
    keymap: str | None = None

    def for_method(self, method: Method, image: str) -> str:
        """The arguments for one way; ``image`` is the URL of the image where there is one.

        There is always a ``root=``: without, the kernel keeps half of the memory from the initramfs, and a large image
        is cut off silently (measured). By dracut.cmdline(7), and genkernel's defaults/initrd.scripts.
        """
        keyboard = [self.keyboard(self.keymap)] if self.keymap else []
        return " ".join([*self._root(method, image), *self.options, *keyboard])

    def without_keymap(self) -> CommandLine:
        """The same for a loader that lets people choose the keymap."""
        return replace(self, keymap=None)

    def keyboard(self, keymap: str) -> str:
        """The arguments for a keyboard's layout."""
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


def possible(modules: Collection[NetModule]) -> list[Method]:
    """The ways that an initramfs with these modules knows, the one that always works first."""
    return [method for method in Method if all(module in modules for module in method.modules)]


def tftp_limits(size: int) -> list[str]:
    """What may go wrong when a file of this size is loaded over TFTP, in words."""
    if size > TFTP_MOST:
        return ["too large for TFTP at all"]
    return [f"too large for TFTP {what}" for limit, what in TFTP_LIMITS if size > limit]
