"""Copy folders to and from a guest: as a tar archive, which the guest's tar(1) unpacks or makes."""

from __future__ import annotations

import secrets
import shlex
import tarfile
import tempfile
from pathlib import Path
from typing import Protocol

from stagewright.testing.shell import failed


class Copier(Protocol):
    """A guest that copies files and runs commands, both over the same way; see ``guest.py``."""

    folder: Path

    def put(self, source: Path, target: str, timeout: float | None = None) -> None:
        """Copy a file to the guest."""

    def get(self, source: str, target: Path, timeout: float | None = None) -> None:
        """Copy a file of the guest."""

    def ask(self, command: str, timeout: float | None = None) -> tuple[int, str]:
        """Run a command. Return its exit status and its output."""


def folder_to(guest: Copier, source: Path, target: str, timeout: float | None = None) -> None:
    """Copy the content of a folder of this computer into a folder of the guest, which is made if it is missing.

    All files belong to root there. Raises ``BOOT_FAILED`` if the guest cannot unpack the archive.
    """
    place, archive = shlex.quote(target), shlex.quote(there := f"{target.rstrip('/')}.{_random()}.tar")
    with tempfile.TemporaryDirectory(prefix=".copy-", dir=guest.folder) as name:
        packed = Path(name) / "folder.tar"
        with tarfile.open(packed, "w", format=tarfile.GNU_FORMAT) as stream:
            stream.add(source, ".", filter=_of_root)
        guest.put(packed, there, timeout)
    command = f"mkdir -p {place} && tar -x -f {archive} -C {place}; code=$?; rm -f {archive}; (exit $code)"
    status, output = guest.ask(command, timeout)
    if status:
        raise failed(f"{target}: the folder cannot be unpacked there by tar", output)


def folder_from(guest: Copier, source: str, target: Path, timeout: float | None = None) -> None:
    """Copy the content of a folder of the guest into a folder of this computer, without owners and device nodes.

    Raises ``BOOT_FAILED`` if the guest cannot pack it, or if a name or a link leads out of the folder.
    """
    there = f"/tmp/copy.{_random()}.tar"
    status, output = guest.ask(f"tar -c -f {there} -C {shlex.quote(source)} .", timeout)
    if status:
        guest.ask(f"rm -f {there}", timeout)
        raise failed(f"{source}: the folder cannot be packed by tar", output)
    with tempfile.TemporaryDirectory(prefix=".copy-", dir=guest.folder) as name:
        packed = Path(name) / "folder.tar"
        guest.get(there, packed, timeout)
        guest.ask(f"rm -f {there}", timeout)
        target.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(packed, "r:") as stream:
                stream.extractall(target, filter="data")
        except tarfile.TarError as error:
            raise failed(f"{source}: the archive of the folder is refused", str(error)) from error


def is_folder(guest: Copier, path: str, timeout: float | None = None) -> bool:
    """Return True if a path of the guest is a folder."""
    return guest.ask(f"test -d {shlex.quote(path)}", timeout)[0] == 0


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _random() -> str:
    return secrets.token_hex(4)
