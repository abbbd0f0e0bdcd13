"""Valid and hostile tarballs for tests."""

from __future__ import annotations

import io
import lzma
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

Add = Callable[[tarfile.TarFile], None]


def member(name: str, content: bytes | None = None, **values: object) -> Add:
    """Return a member: a file with ``content``, or another type by the attributes of TarInfo in ``values``."""

    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.mode = 0o755
        info.size = len(content or b"")
        for key, value in values.items():
            setattr(info, key, value)
        archive.addfile(info, io.BytesIO(content or b""))

    return add


def folder(name: str, **values: object) -> Add:
    """Return a folder."""
    return member(name, type=tarfile.DIRTYPE, **values)


def link(name: str, target: str) -> Add:
    """Return a symbolic link."""
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> Add:
    """Return a hard link."""
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def records(name: str, **facts: str) -> list[Add]:
    """Return the records of an installed package in Portage's database."""
    base = f"var/db/pkg/{name}"
    values = {"PF": name.partition("/")[2], "SLOT": "0", "USE": "", "repository": "demo", "LICENSE": "MIT", **facts}
    return [member(f"{base}/{key}", f"{value}\n".encode(), mode=0o644) for key, value in values.items()]


ROOT = (folder("etc"), folder("usr"), member("etc/os-release", b"NAME=test\n", mode=0o644))
"""The members of the smallest valid root."""


def write_tar(path: Path, members: Iterable[Add]) -> Path:
    """Write an uncompressed tarball: a small root, then these members."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for add in (*ROOT, *members):
            add(archive)
    return path


def compressed(path: Path, program: str) -> Path:
    """Compress a file and return the compressed file; the original stays."""
    target = path.with_suffix(f".{program}")
    if program == "xz":
        target.write_bytes(lzma.compress(path.read_bytes()))
    else:
        with target.open("wb") as stream:
            subprocess.run([program, "-c", path], stdout=stream, check=True)
    return target


def busybox_root(path: Path, busybox: Path, members: Iterable[Add] = ()) -> Path:
    """Write a tarball of a root in which a static busybox is the only program."""
    names = ("sh", "ls", "cat", "mkdir", "echo", "touch", "ln", "chmod", "test", "false")
    binary = member("bin/busybox", busybox.read_bytes())
    return write_tar(path, [folder("bin"), binary, *(link(f"bin/{name}", "busybox") for name in names), *members])
