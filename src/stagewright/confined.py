"""Files of a tree that others wrote, opened so that no link leads out of the tree.

A build runs as root inside its root, and can put a link, a pipe or a device anywhere. A path that Stagewright opens on
the host would follow that link onto the host. :class:`Tree` has the kernel resolve each path below one folder
(openat2(2), RESOLVE_IN_ROOT). A kernel without that call resolves the path in a thread inside the folder
(``chroot.inside``).

Only regular files are read or written. Opening one never blocks, and reading one has a limit.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from stagewright.chroot import inside
from stagewright.lazy_dataclass import dataclass
from stagewright.untrusted import TEXT_LIMIT, regular

_OPENAT2 = 437
"""Number of the system call on all architectures but those of ``_OTHER_NUMBERS``, which do without it."""

_OTHER_NUMBERS = ("alpha", "mips", "mips64")

_ATTEMPTS = 1000

_NO_MAGICLINKS, _NO_SYMLINKS, _IN_ROOT = 0x02, 0x04, 0x10

_c_library = ctypes.CDLL(None, use_errno=True)

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""Errors of paths at which nothing can be."""

CHUNK = 1 << 20


@dataclass(frozen=True)
class Tree:
    """A folder whose content others wrote. Names are paths below it; a leading ``/`` means the folder itself.

    Links in the tree are followed as a process inside the tree would follow them. With ``links=False`` a link anywhere
    in a path is an error (ELOOP).
    """

    folder: Path
    links: bool = True

    # opening

    @contextlib.contextmanager
    def descriptor(self, name: str | os.PathLike[str], flags: int, mode: int = 0) -> Iterator[int]:
        """Yield a descriptor of an entry, opened with flags of open(2). Opening never blocks.

        Raises: OSError with the name in the tree.
        """
        if not flags & os.O_PATH:  # openat2 refuses both together
            flags |= os.O_NONBLOCK | os.O_NOCTTY
        try:
            found = self._open(os.fspath(name), flags | os.O_CLOEXEC, mode)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(name)) from None
        try:
            yield found
        finally:
            os.close(found)

    def _open(self, name: str, flags: int, mode: int) -> int:
        path = name.strip("/") or "."
        if "\0" in path:  # the kernel would see the part before it
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        base = os.open(self.folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = _openat2(base, path, flags, mode, _NO_MAGICLINKS | _IN_ROOT | (0 if self.links else _NO_SYMLINKS))
            if found is not None:
                return found
            if self.links:
                return inside(self.folder, os.open, f"/{path}", flags, mode)
            return _by_component(base, path, flags, mode)
        finally:
            os.close(base)

    def open(self, name: str | os.PathLike[str]) -> IO[bytes]:
        """Open a regular file to read. Raises OSError if it is missing or not a regular file."""
        with self.descriptor(name, os.O_PATH) as found:  # to open a device could have an effect
            regular(found, str(name))
            try:
                return os.fdopen(os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
            except OSError as error:
                raise OSError(error.errno, error.strerror, os.fspath(name)) from None

    def read(self, name: str | os.PathLike[str], limit: int = TEXT_LIMIT) -> bytes:
        """Return the content of a regular file. Raises OSError as :meth:`open`, and EFBIG above ``limit`` bytes."""
        with self.open(name) as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(name))
        return data

    def text(self, name: str | os.PathLike[str], *, errors: str = "strict", limit: int = TEXT_LIMIT) -> str:
        """Return the UTF-8 text of a regular file, with the errors of :meth:`read`."""
        return self.read(name, limit).decode(errors=errors)

    def tail(self, name: str | os.PathLike[str], size: int) -> str:
        """Return the last ``size`` bytes of a regular file as text, with the errors of :meth:`open`."""
        with self.open(name) as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - size))
            return stream.read(size).decode(errors="replace")

    def link(self, name: str) -> str:
        """Return the target of a symbolic link. Raises OSError if the entry is something else."""
        with self.descriptor(name, os.O_PATH | os.O_NOFOLLOW) as found:
            return os.readlink("", dir_fd=found)

    # looking

    def stat(self, name: str | os.PathLike[str], *, follow: bool = True) -> os.stat_result | None:
        """Return the stat(2) of an entry; None if it does not exist."""
        try:
            with self.descriptor(name, os.O_PATH | (0 if follow else os.O_NOFOLLOW)) as found:
                return os.fstat(found)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise

    def is_dir(self, name: str | os.PathLike[str]) -> bool:
        """Return True for a folder."""
        info = self.stat(name)
        return info is not None and stat.S_ISDIR(info.st_mode)

    def is_file(self, name: str | os.PathLike[str]) -> bool:
        """Return True for a regular file."""
        info = self.stat(name)
        return info is not None and stat.S_ISREG(info.st_mode)

    def is_link(self, name: str | os.PathLike[str]) -> bool:
        """Return True for a symbolic link."""
        info = self.stat(name, follow=False)
        return info is not None and stat.S_ISLNK(info.st_mode)

    def names(self, name: str | os.PathLike[str] = ".") -> list[str]:
        """Return the sorted names in a folder; none if it does not exist."""
        try:
            with self.descriptor(name, os.O_RDONLY | os.O_DIRECTORY) as found:
                return sorted(os.listdir(found))  # noqa: PTH208  a descriptor
        except OSError as error:
            if error.errno in _ABSENT:
                return []
            raise

    def files(self, name: str = "") -> Iterator[tuple[str, os.stat_result]]:
        """Yield the regular files below a folder: path and stat(2). No link is followed."""
        waiting = [name]
        while waiting:
            folder = waiting.pop()
            for entry in self.names(folder or "."):
                path = f"{folder}/{entry}" if folder else entry
                info = self.stat(path, follow=False)
                if info and stat.S_ISDIR(info.st_mode):
                    waiting.append(path)
                elif info and stat.S_ISREG(info.st_mode):
                    yield path, info

    # changing

    def write(self, name: str | os.PathLike[str], data: bytes, mode: int = 0o644) -> None:
        """Write a file. It replaces an entry of that name, also a link, which is not followed."""
        folder, _, last = os.fspath(name).strip("/").rpartition("/")
        temporary = f".{secrets.token_hex(8)}"
        with self.descriptor(folder or ".", os.O_PATH | os.O_DIRECTORY) as parent:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=parent), "wb") as stream:
                stream.write(data)
                os.fchmod(stream.fileno(), mode)
            os.rename(temporary, last, src_dir_fd=parent, dst_dir_fd=parent)

    def chmod(self, name: str | os.PathLike[str], mode: int) -> None:
        """Set the mode of a regular file or a folder."""
        with self.descriptor(name, os.O_PATH) as found:
            if not stat.S_ISDIR(os.fstat(found).st_mode):
                regular(found, str(name))
            os.chmod(f"/proc/self/fd/{found}", mode)  # noqa: PTH101

    def copy_out(self, name: str | os.PathLike[str], target: Path, limit: int) -> None:
        """Copy a regular file and its time to ``target``, a new file outside of the tree.

        Raises OSError, EFBIG above ``limit``.
        """
        with self.open(name) as source, target.open("xb") as copy:
            size = 0
            while chunk := source.read(CHUNK):
                size += len(chunk)
                if size > limit:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(name))
                copy.write(chunk)
            copy.flush()
            time = os.fstat(source.fileno()).st_mtime_ns
            os.utime(copy.fileno(), ns=(time, time))

    def copy_tree_out(self, name: str, target: Path, ignored: Callable[[str], bool], limit: int) -> None:
        """Copy a folder to ``target``: folders, regular files and links, with modes and times.

        ``ignored`` returns True for paths below the folder that are left out; ``limit`` is for each file (bytes).
        Raises: OSError with the name for anything else, such as a device.
        """
        target.mkdir(parents=True, exist_ok=True)
        waiting, times = [""], []
        while waiting:
            folder = waiting.pop()
            for entry in self.names(f"{name}/{folder}"):
                inner = f"{folder}{entry}"
                path, place = f"{name}/{inner}", target / inner
                info = self.stat(path, follow=False)
                if info is None or ignored(inner):
                    continue
                if stat.S_ISDIR(info.st_mode):
                    place.mkdir()
                    waiting.append(f"{inner}/")
                elif stat.S_ISLNK(info.st_mode):
                    place.symlink_to(self.link(path))
                else:
                    self.copy_out(path, place, limit)
                    place.chmod(stat.S_IMODE(info.st_mode))
                times.append((place, info))
        for place, info in reversed(times):  # a folder after its content
            os.utime(place, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)

    def move_out(self, name: str, target: Path) -> None:
        """Move an entry, also a link, to a path outside of the tree. Raises OSError if the entry is missing."""
        folder, _, last = name.strip("/").rpartition("/")
        with self.descriptor(folder or ".", os.O_PATH | os.O_DIRECTORY) as parent:
            os.rename(last, target, src_dir_fd=parent)


def _openat2(base: int, path: str, flags: int, mode: int, resolve: int) -> int | None:
    """Call openat2(2). Return None if the kernel does not have it, or if a filter of system calls forbids it."""
    if os.uname().machine in _OTHER_NUMBERS:
        return None
    how = struct.pack("QQQ", flags, mode, resolve)
    attempts = 0
    while True:
        found: int = _c_library.syscall(_OPENAT2, base, os.fsencode(path), how, len(how))
        if found >= 0:
            return found
        number = ctypes.get_errno()
        if number in (errno.ENOSYS, errno.EPERM):
            return None
        attempts += 1
        # EAGAIN: a folder above was renamed meanwhile. A build can do this all the time.
        if number not in (errno.EAGAIN, errno.EINTR) or attempts == _ATTEMPTS:
            raise OSError(number, os.strerror(number), path)


def _by_component(base: int, path: str, flags: int, mode: int) -> int:
    """Open a path by one part after the other. Raises OSError for a link or for ``..``."""
    parts = [part for part in path.split("/") if part not in ("", ".")] or ["."]
    if ".." in parts:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    current = os.dup(base)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = inner
        found = os.open(parts[-1], flags | os.O_NOFOLLOW, mode, dir_fd=current)
        if flags & os.O_PATH and not flags & os.O_NOFOLLOW and stat.S_ISLNK(os.fstat(found).st_mode):
            os.close(found)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        return found
    finally:
        os.close(current)
