"""Walks through trees that builds and archives have written: they can be deep, sealed, and full of links.

A walk holds one open folder, so neither the depth nor the length of a path has a limit. It follows no link: each folder
is opened by its name in its parent (openat(2) with O_NOFOLLOW), and the way back by ``..`` is checked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stagewright import ids
from stagewright.errors import StagewrightError
from stagewright.interpreter import python
from stagewright.lazy_dataclass import dataclass
from stagewright.run import run

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

LONGEST_PATH = 3500
"""Bytes of a path inside a tree that can be opened as a whole; the kernel takes 4095 (path_resolution(7))."""

_LONG = struct.calcsize("l")
_GET_FLAGS = 2 << 30 | _LONG << 16 | ord("f") << 8 | 1
_SET_FLAGS = 1 << 30 | _LONG << 16 | ord("f") << 8 | 2
_IMMUTABLE, _APPEND = 0x10, 0x20
"""FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and two of their flags (ioctl_iflags(2))."""


@dataclass(frozen=True)
class Step:
    """One step of a walk, valid until the next one.

    The walk entered ``folder``, a descriptor, with the entries ``files`` that are not folders. Or it came back to
    ``folder`` from its subfolder ``left``. ``names`` are the folders from the first one, without that, to ``folder``.
    ``name`` is the name of the folder in its parent.
    """

    folder: int
    files: list[os.DirEntry[str]]
    names: Sequence[str]
    left: str = ""
    name: str = ""

    def path(self, name: str = "") -> str:
        """Return the path of ``folder``, or of an entry in it, relative to the first folder."""
        return "/".join([*self.names, name] if name else self.names)


def walk(parent: int, name: str, enter: Callable[[int, str], int | None], *, strict: bool = False) -> Iterator[Step]:
    """Walk through the folder ``name`` of the open folder ``parent``, each folder before and after its content.

    Entries come sorted by name: those of a folder that are not folders, then its folders.
    ``enter`` opens a folder, or returns None to leave out one below the first one. A folder that may not be opened, or
    is gone, is left out, too; with ``strict`` it is an error.
    """
    first = enter(parent, name)
    assert first is not None
    current = first
    try:
        files, folders = _entries(current)
        above = [(_identity(current), folders, name)]
        names: list[str] = []
        yield Step(current, files, names, name=name)
        while True:
            if above[-1][1]:
                inner = above[-1][1].popleft()
                try:
                    descriptor = enter(current, inner)
                except (PermissionError, FileNotFoundError):
                    if strict:
                        raise
                    continue
                if descriptor is None:
                    continue
                os.close(current)
                current = descriptor
                files, folders = _entries(current)
                above.append((_identity(current), folders, inner))
                names.append(inner)
                yield Step(current, files, names, name=inner)
            else:
                left = above.pop()[2]
                if not above:
                    return
                names.pop()
                outer = os.open("..", _FOLDER, dir_fd=current)
                os.close(current)
                current = outer
                if _identity(current) != above[-1][0]:
                    raise OSError(errno.ESTALE, "moved meanwhile", left)
                yield Step(current, [], names, left, above[-1][2])
    finally:
        os.close(current)


def walk_tree(path: Path) -> Iterator[Step]:
    """Walk through the folder ``path``, as :func:`walk` does, but raise OSError for a folder that cannot be opened."""
    with parent_folder(path) as parent:
        yield from walk(parent, path.name or ".", _open, strict=True)


def _entries(folder: int) -> tuple[list[os.DirEntry[str]], deque[str]]:
    """Return the entries of a folder that are not folders, and the names of its folders."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    folders = deque(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    return [entry for entry in entries if not entry.is_dir(follow_symlinks=False)], folders


def _identity(folder: int) -> tuple[int, int]:
    info = os.fstat(folder)
    return info.st_dev, info.st_ino


def files_below(path: Path) -> list[str]:
    """Return the paths below a folder of all files, sorted by name in each folder. Links to folders are left out.

    The list is empty if the folder does not exist, or is a link. Raises: OSError (ENAMETOOLONG) for a file whose path
    the kernel does not take.
    """
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for step in walk_tree(path):
            names = [file.name for file in step.files if not leads_to_folder(file)]
            inner = step.path() if names else ""
            if len(os.fsencode(inner)) > LONGEST_PATH:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), inner)
            found += [f"{inner}/{name}" if inner else name for name in names]
    return found


def leads_to_folder(file: os.DirEntry[str]) -> bool:
    """Return True for a symbolic link to a folder."""
    try:
        return file.is_symlink() and file.is_dir()
    except OSError:  # a loop
        return False


def _open(parent: int, name: str) -> int:
    return os.open(name, _FOLDER, dir_fd=parent)


def _open_to_remove(parent: int, name: str) -> int:
    """Open a folder; its owner, if that is not root, first gets the permission to change it."""
    if os.geteuid() != 0:
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if os.fstat(handle).st_mode & stat.S_IRWXU != stat.S_IRWXU:
                with contextlib.suppress(PermissionError):  # of a foreign owner
                    os.chmod(f"/proc/self/fd/{handle}", stat.S_IRWXU)  # noqa: PTH101
        finally:
            os.close(handle)
    return _open(parent, name)


@contextlib.contextmanager
def parent_folder(path: Path) -> Iterator[int]:
    """Yield a descriptor of the folder that a path is in."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _opened(folder: int, name: str) -> Iterator[int]:
    """Yield a descriptor of an entry of a folder."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove a folder with its content, or a file, also if it is immutable. A missing path is not an error.

    An ordinary user removes the files of builds in their user namespace.
    """
    try:
        with contextlib.suppress(FileNotFoundError), parent_folder(path) as parent:
            _remove(parent, path.name)
    except OSError as error:  # a folder that may not be entered is left out, and its parent is not empty
        denied = error.errno in (errno.EACCES, errno.EPERM, errno.ENOTEMPTY)
        if not denied or os.geteuid() == 0 or _inside("remove", str(path.absolute())) is None:
            raise


def _inside(*words: str) -> str | None:
    """Run this module in the user namespace of builds. Return its output, or None if that failed."""
    if ids.as_host_root():
        return None
    try:
        command = [*ids.enter(), "setpriv", "--pdeathsig", "KILL", "--", *ids.marked()]
        done = run([*command, *python("stagewright.trees", *words)], check=False)
    except StagewrightError:
        return None
    return done.stdout if done.code == 0 else None


def _remove(parent: int, name: str) -> None:
    try:
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(info.st_mode):
        _unsealing(os.unlink, parent, name)
        return
    for step in walk(parent, name, _open_to_remove):
        for file in step.files:
            _unsealing(os.unlink, step.folder, file.name)
        if step.left:
            _unsealing(os.rmdir, step.folder, step.left)
    _unsealing(os.rmdir, parent, name)


def _unsealing(remove: Callable[..., None], folder: int, name: str) -> None:
    """Remove an entry of a folder. If that is not permitted, make both mutable and try again (chattr(1))."""
    with contextlib.suppress(FileNotFoundError):
        try:
            remove(name, dir_fd=folder)
        except PermissionError:
            _unseal(folder)
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # to open a device or a pipe could have an effect
                with _opened(folder, name) as descriptor:
                    _unseal(descriptor)
            remove(name, dir_fd=folder)


def _unseal(descriptor: int) -> None:
    """Take the flags "immutable" and "append only" from a file or folder, if the file system has them."""
    with contextlib.suppress(OSError):
        (flags,) = struct.unpack_from("I", fcntl.ioctl(descriptor, _GET_FLAGS, bytes(_LONG)))
        if flags & (_IMMUTABLE | _APPEND):
            fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("I", flags & ~(_IMMUTABLE | _APPEND)).ljust(_LONG, b"\0"))


def tree_size(path: Path) -> int:
    """Return the size of a tree on disk in bytes. Hard links count once; folders that cannot be read count as empty.

    If folders are moved meanwhile, only a part is counted.
    """
    return measure(path)[0]


def measure(path: Path, *, only_own: bool = False) -> tuple[int, bool]:
    """Return the size of a tree as :func:`tree_size` does, and False if a part is missing.

    ``only_own`` leaves out files that have hard links outside of the tree, too. An ordinary user measures trees of
    builds that have closed folders in the user namespace of builds.
    """
    closed: list[str] = []
    found = _measured(path, only_own, closed)
    if closed and os.geteuid() != 0 and (said := _inside("measure", str(path.absolute()), "own" * only_own)):
        size, whole = said.split()
        return int(size), whole == "True"
    return found


def _measured(path: Path, only_own: bool, closed: list[str]) -> tuple[int, bool]:
    """Return what :func:`measure` returns, and append the folders that cannot be opened to ``closed``."""

    def enter(parent: int, name: str) -> int:
        try:
            return _open(parent, name)
        except PermissionError:
            closed.append(name)
            raise

    total, whole = 0, True
    links: dict[tuple[int, int], int] = {}
    sizes: dict[tuple[int, int], int] = {}
    try:
        with parent_folder(path) as parent:
            for step in walk(parent, path.name, enter):
                total += 0 if step.left else os.fstat(step.folder).st_blocks * 512
                for info in _each_stat(step.files):
                    if info.st_nlink == 1:
                        total += info.st_blocks * 512
                    else:
                        identity = info.st_dev, info.st_ino
                        links[identity] = links.get(identity, info.st_nlink) - 1
                        sizes[identity] = info.st_blocks * 512
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ESTALE):
            raise
        whole = False
    total += sum(size for identity, size in sizes.items() if not (only_own and links[identity]))
    return total, whole


def _each_stat(entries: list[os.DirEntry[str]]) -> Iterator[os.stat_result]:
    for entry in entries:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            yield entry.stat(follow_symlinks=False)


def make_read_only(path: Path) -> None:
    """Take all rights to write and to execute from the regular files of a tree (mode 0444). No link is followed."""
    with parent_folder(path) as parent:
        for step in walk(parent, path.name, _open):
            for file in step.files:
                if file.is_file(follow_symlinks=False):
                    with _opened(step.folder, file.name) as descriptor:
                        os.fchmod(descriptor, 0o444)


def give(path: Path, uid: int, gid: int) -> None:
    """Make a user and a group the owners of a tree. No link is followed."""
    with parent_folder(path) as parent:
        for step in walk(parent, path.name, _open):
            if not step.left:
                os.fchown(step.folder, uid, gid)
            for file in step.files:
                os.chown(file.name, uid, gid, dir_fd=step.folder, follow_symlinks=False)


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        sys.stdout.write("{} {}".format(*measure(Path(sys.argv[2]), only_own=bool(sys.argv[3]))))
    else:
        remove_tree(Path(sys.argv[2]))
