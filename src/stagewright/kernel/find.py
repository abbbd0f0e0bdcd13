"""Kernel images: the paths at which a root can have them, and copies outside the root."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.confined import CHUNK, Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.root import files

if TYPE_CHECKING:
    from stagewright.root.root import Root

IMAGES = (
    "/boot/vmlinuz-{version}",
    "/lib/modules/{version}/vmlinuz",
    "/boot/kernel-{version}",
    "/boot/kernel-genkernel-x86_64-{version}",
    "/boot/kernel-genkernel-arm64-{version}",
    "/boot/vmlinux-{version}",
    "/lib/modules/{version}/vmlinux",
    "/usr/src/linux-{version}/arch/x86/boot/bzImage",
    "/usr/src/linux-{version}/arch/arm64/boot/vmlinuz.efi",
    "/usr/src/linux-{version}/arch/arm64/boot/Image",
)
"""Paths where packages and tools install a kernel image. On arm64 ``vmlinuz.efi`` unpacks itself (CONFIG_EFI_ZBOOT).

On ppc64, sparc and hppa, machines start ``vmlinux`` itself (dist-kernel-utils.eclass).
"""

_GZIP, _EFI_PROGRAM = b"\x1f\x8b", b"MZ"
"""First bytes of gzip files (RFC 1952) and of EFI programs (PE format)."""


LARGEST_IMAGE = 2 << 30
"""The largest kernel, initramfs or module that is copied out of a root (bytes)."""


def find_image(root: Root, version: str, where: str) -> str:
    """Return the path, in the root, of the image of the kernel with this version.

    ``where`` names the root in messages. Raises ``ENVIRONMENT_LACKS`` if there is no image.
    """
    candidates = [path.format(version=version) for path in IMAGES]
    for path in candidates:
        if files.exists(root.path, path):
            return path
    raise StagewrightError(
        Reason.ENVIRONMENT_LACKS,
        f"{where} has the modules of kernel {version} but not its image",
        detail="\n".join(f"  not found: {path}" for path in candidates),
        hint="install a kernel package, or build installed sources with `kernel.sources` or `kernel.tree`",
    )


def copy_out(root: Root, path: str, target: Path) -> None:
    """Copy a regular file of a root to ``target`` outside, which it replaces. Links are resolved inside the root.

    Raises ``BUILD_FAILED`` if it is missing, too large, or not a regular file.
    """
    target.unlink(missing_ok=True)  # a command of the root may have made a link there
    try:
        Tree(root.path).copy_out(path, target, LARGEST_IMAGE)
    except OSError as error:
        if error.filename != path:
            raise
        raise StagewrightError(Reason.BUILD_FAILED, f"{path} in the root cannot be copied: {error.strerror}") from error


def copy_image(root: Root, path: str, target: Path, *, efi: bool) -> None:
    """Copy a kernel image out of a root, and decompress it if it is a gzip file.

    gzip is the default format on arm64, and UEFI cannot start it. Raises ``ENVIRONMENT_LACKS`` if ``efi`` is set and
    UEFI cannot start the image (Documentation/admin-guide/efi-stub.rst).
    """
    copy_out(root, path, target)
    if _begins_with(target, _GZIP):
        part = target.with_name(f"{target.name}.part")
        with gzip.open(target) as source, part.open("wb") as plain:
            plain.writelines(_decompressed(source, path))
        part.replace(target)
    if efi and not _begins_with(target, _EFI_PROGRAM):
        message = f"kernel image {path}: UEFI cannot start it (it is not an EFI program)"
        hint = "set CONFIG_EFI_STUB in its configuration, or use another kernel"
        raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint=hint)


def _decompressed(source: gzip.GzipFile, path: str) -> Iterator[bytes]:
    """Yield the content of a gzip file. Raises ``ENVIRONMENT_LACKS`` if it is damaged or too large."""
    size, problem = 0, "damaged"
    try:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > LARGEST_IMAGE:
                problem = "too large after decompression"
                break
            yield chunk
        else:
            return
    except (gzip.BadGzipFile, EOFError, zlib.error):
        pass
    raise StagewrightError(Reason.ENVIRONMENT_LACKS, f"kernel image {path}: {problem}", hint="install the kernel again")


def _begins_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic
