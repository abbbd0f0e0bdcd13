"""Copies of folders of the host as roots: each file is read once, for its copy and for its digest.

A copy has what the digest of a folder covers (``graph/file_digest.py``): files, folders, links and permission bits. All
times are those of the build. Hard links become separate files, and holes stay holes. No link is followed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import IGNORED, open_untouched, strange
from stagewright.seeds.unpack import foreign_owners
from stagewright.store.content import KnownDigest
from stagewright.trees import parent_folder, walk

_CHUNK = 1 << 20
_READ = os.O_NOFOLLOW | os.O_NONBLOCK
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_FICLONE = 0x40049409
"""Request of ioctl_ficlone(2), which shares the blocks of a file (Btrfs, XFS)."""

_SHARED = 1 << 16
"""Least size in bytes of a file whose blocks are shared: the request costs more than to write a small file."""

Owner = tuple[int, int]
"""A user id and a group id."""


def _root(_: os.stat_result) -> Owner:
    return 0, 0


def _nothing(_: int) -> Mapping[str, bytes]:
    return {}


@dataclass(slots=True)
class FolderCopy:
    """A copy of ``source`` into the empty folder ``target``, which the caller owns.

    ``epoch`` is the time of all files, in seconds. ``owner`` returns the owner of a copy, and ``attributes`` the
    extended attributes of the copy of an open file. ``most`` is the largest size of all files together, in bytes.
    """

    source: Path
    target: Path
    epoch: int
    owner: Callable[[os.stat_result], Owner] = _root
    attributes: Callable[[int], Mapping[str, bytes]] = _nothing
    most: int | None = None
    digested: list[KnownDigest] = field(default_factory=list)
    """The files of the copy, with their digests."""
    _size: int = 0

    def make(self) -> None:
        """Copy the folder.

        Raises: INVALID_VALUE for sockets, devices and pipes; ARCHIVE_TOO_LARGE; BAD_ARCHIVE for owners that builds do
        not have; HOST_FEATURE for attributes that the file system of the store does not take; OSError, with the path.
        """
        target = os.open(self.target, _FOLDER)
        above: list[_Facts] = []
        where, name = "", ""
        try:
            with parent_folder(self.source) as parent:
                for step in walk(parent, self.source.name or ".", _enter, strict=True):
                    where = step.path()
                    if step.left:
                        self._finish(target, above.pop())
                        target = _moved(target, "..")
                        continue
                    if above:
                        os.mkdir(step.name, 0o700, dir_fd=target)
                        target = _moved(target, step.name)
                    above.append(self._facts(step.folder))
                    for file in step.files:
                        name = file.name
                        if name not in IGNORED:
                            self._entry(file, step.folder, target, where)
                    name = ""
            self._finish(target, above.pop())
        except OSError as error:
            raise self._explained(
                error, f"{where}/{error.filename if isinstance(error.filename, str) else name}"
            ) from error
        finally:
            os.close(target)

    def _entry(self, entry: os.DirEntry[str], folder: int, target: int, where: str) -> None:
        name = entry.name
        try:
            if entry.is_symlink():
                self._link(name, folder, target)
                return
            source = open_untouched(name, folder, _READ) if entry.is_file(follow_symlinks=False) else -1
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EINVAL):  # a link came or went since the folder was listed
                raise
            raise self._replaced(where, name) from error
        if source < 0:
            raise self._odd(folder, where, name)
        try:
            facts = self._facts(source)
            if not stat.S_ISREG(facts.info.st_mode):
                raise self._odd(folder, where, name)
            copy = os.open(name, _NEW, facts.info.st_mode & 0o755, dir_fd=target)  # often right: then without chmod
            try:
                self._file(source, facts, copy)
            finally:
                os.close(copy)
        finally:
            os.close(source)

    def _link(self, name: str, folder: int, target: int) -> None:
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        os.symlink(os.readlink(name, dir_fd=folder), name, dir_fd=target)
        user, group = self.owner(info)
        os.chown(name, user, group, dir_fd=target, follow_symlinks=False)
        os.utime(name, (self.epoch, self.epoch), dir_fd=target, follow_symlinks=False)

    def _odd(self, folder: int, where: str, name: str) -> StagewrightError:
        """Return the error for an entry that is neither a file nor a folder nor a link, or that has been replaced."""
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        known = stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
        return self._replaced(where, name) if known else strange(self.source / where / name)

    def _replaced(self, where: str, name: str) -> StagewrightError:
        what = f"{self.source / where / name}: replaced by another program while the folder was copied"
        return StagewrightError(Reason.INVALID_VALUE, what, hint="run the same command again")

    def _file(self, source: int, facts: _Facts, copy: int) -> None:
        self._size += facts.info.st_size
        if self.most is not None and self._size > self.most:
            what = f"{self.source}: too large (more than {self.most} bytes)"
            raise StagewrightError(Reason.ARCHIVE_TOO_LARGE, what, hint="set `limits = { size = ... }`")
        sha256 = _copied(source, copy, facts.info)
        self.digested.append(KnownDigest.with_time(self._finish(copy, facts), self.epoch * 10**9, sha256))

    def _facts(self, source: int) -> _Facts:
        return _Facts(os.fstat(source), self.attributes(source))

    def _finish(self, copy: int, facts: _Facts) -> os.stat_result:
        """Give a copy the owner, the permission bits, the attributes and the time. A new owner clears some of them.

        Return what was known of the copy before.
        """
        found, owner = os.fstat(copy), self.owner(facts.info)
        given = (found.st_uid, found.st_gid) != owner
        if given:
            try:
                os.fchown(copy, *owner)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    raise foreign_owners(str(self.source), f"owner {owner[0]}, group {owner[1]}") from error
                raise
        if given or found.st_mode != facts.info.st_mode:
            os.fchmod(copy, stat.S_IMODE(facts.info.st_mode))
        for name, value in facts.attributes.items():
            os.setxattr(copy, name, value)
        os.utime(copy, (self.epoch, self.epoch))
        return found

    def _explained(self, error: OSError, place: str) -> Exception:
        path = self.source / place.strip("/")
        if error.errno == errno.EOPNOTSUPP:
            hint = "put the store on a file system with attributes, such as ext4, xfs or btrfs (--store)"
            return StagewrightError(Reason.HOST_FEATURE, f"{path}: its attributes cannot be written", hint=hint)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return OSError(error.errno, error.strerror, str(self.target if full else path))


@dataclass(slots=True)
class _Facts:
    """Properties of a file that its copy gets."""

    info: os.stat_result
    attributes: Mapping[str, bytes]


def _copied(source: int, copy: int, info: os.stat_result) -> str:
    """Copy the content of a file, and return the SHA-256 of the copy, also if another program changes the file."""
    total = hashlib.sha256()
    whole = info.st_size >= _SHARED and _share(source, copy)
    if not whole and info.st_blocks * 512 < info.st_size:
        _copy_data(source, copy, info.st_size)
        os.lseek(copy, 0, os.SEEK_SET)
        whole = True
    wanted = min(_CHUNK, info.st_size + 1)  # the byte more shows the end of a small file
    while data := os.read(copy if whole else source, wanted):
        total.update(data)
        if not whole:
            _write(copy, data)
        if len(data) == info.st_size < wanted < _CHUNK:
            break
        wanted = _CHUNK  # it is large, or has grown
    return total.hexdigest()


def _share(source: int, copy: int) -> bool:
    """Share the blocks of a file with its copy. Return False if the file system cannot."""
    try:
        fcntl.ioctl(copy, _FICLONE, source)
    except OSError:
        return False
    return True


def _copy_data(source: int, copy: int, size: int) -> None:
    """Copy a file with holes: only its data (lseek(2), SEEK_DATA)."""
    place = 0
    while place < size:
        try:
            place = os.lseek(source, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # the rest is a hole
                break
            raise
        end = os.lseek(source, place, os.SEEK_HOLE)
        os.lseek(source, place, os.SEEK_SET)
        os.lseek(copy, place, os.SEEK_SET)
        while place < end and (data := os.read(source, min(_CHUNK, end - place))):
            _write(copy, data)
            place += len(data)
        place = end
    os.ftruncate(copy, size)


def _write(copy: int, data: bytes) -> None:
    written = os.write(copy, data)
    while written < len(data):
        written += os.write(copy, data[written:])


def _enter(parent: int, name: str) -> int | None:
    return None if name in IGNORED else os.open(name, _FOLDER, dir_fd=parent)


def _moved(folder: int, name: str) -> int:
    """Open a folder from another one, and close that."""
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    finally:
        os.close(folder)
