"""The contents of a result as a stream: a program that reads them from a tree, and one that makes a tree of them.

They run in the user namespace of builds, whose ids own the files of layers. What they read from standard input comes
from another machine, so :func:`restore` trusts nothing: each name is one name, each file is opened by its name in an
open folder without following links, device nodes are refused except the whiteouts of overlayfs, and the content of
every file is compared with the digest in the list.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from stagewright import ids
from stagewright.attributes import is_kept
from stagewright.errors import Reason, StagewrightError
from stagewright.remote.chunks import has_body
from stagewright.run import UMASK
from stagewright.store.content import FILE_NAME, PACKAGES, PARTS, Entry, read_content
from stagewright.trees import walk_tree

BLOCK = 1 << 18
"""Bytes of the buffer for contents, which is used again: the kernel would clear the memory of a new one."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 100_000
_ID_LIMIT = ids.INVOKER
_MOST_BITS = 0o7777


def send(folder: Path, sizes: Sequence[int], wanted: set[int], out: BinaryIO) -> None:
    """Write the contents of the chunks with these numbers. ``folder`` is that of a result, whose chunks have ``sizes``.

    Raises: DAMAGED if the tree is not what its list says.
    """
    cut = _Cut(sizes, wanted, out)
    entries = read_content(folder / FILE_NAME)
    for name in PARTS:
        if not os.path.lexists(folder / name):
            continue
        for step in walk_tree(folder / name):
            if step.left:
                continue
            _same(next(entries, None), step.name, folder)
            for file in step.files:
                entry = _same(next(entries, None), file.name, folder)
                if has_body(entry):
                    cut.file(step.folder, entry)
    if next(entries, None) is not None:
        raise _damaged(folder, "a file is missing")
    out.flush()


def _same(entry: Entry | None, name: str, folder: Path) -> Entry:
    if entry is None or entry.name != name:
        raise _damaged(folder, name)
    return entry


def _damaged(folder: Path, what: str) -> StagewrightError:
    hint = "stagewright verify --store sets it aside; the next build makes it again"
    return StagewrightError(Reason.DAMAGED, f"key {folder.name[:12]}: not what was built ({what})", hint=hint)


@dataclass
class _Cut:
    """The stream of all contents, of which only the wanted chunks are written."""

    sizes: Sequence[int]
    wanted: set[int]
    out: BinaryIO
    chunk: int = 0
    left: int = -1
    block: memoryview = field(default_factory=lambda: memoryview(bytearray(BLOCK)))

    def file(self, folder: int, entry: Entry) -> None:
        """Pass on the content of a file. A file of which no chunk is wanted is not read."""
        if not self._is_wanted(entry.size):
            self._skip(entry.size)
            return
        total, size = hashlib.sha256(), 0
        descriptor = os.open(entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            while count := stream.readinto(self.block):
                total.update(self.block[:count])
                size += count
                if size > entry.size:
                    break
                self._pass(self.block[:count])
        if size != entry.size or total.hexdigest() != entry.content:
            raise StagewrightError(Reason.DAMAGED, f"{entry.name}: not what was built")

    def _is_wanted(self, size: int) -> bool:
        chunk, left = self.chunk, self.left
        while size > 0:
            left = self.sizes[chunk] if left < 0 else left
            if chunk in self.wanted:
                return True
            taken = min(size, left)
            size, left = size - taken, left - taken
            if left == 0:
                chunk, left = chunk + 1, -1
        return False

    def _skip(self, size: int) -> None:
        while size > 0:
            size -= self._advance(size)

    def _pass(self, data: memoryview) -> None:
        at = 0
        while at < len(data):
            wanted = self.chunk in self.wanted
            taken = self._advance(len(data) - at)
            if wanted:
                self.out.write(data[at : at + taken])
            at += taken

    def _advance(self, most: int) -> int:
        """Move on by up to ``most`` bytes, at most to the end of the chunk. Return how far."""
        if self.left < 0:
            self.left = self.sizes[self.chunk]
        taken = min(most, self.left)
        self.left -= taken
        if self.left == 0:
            self.chunk, self.left = self.chunk + 1, -1
        return taken


def restore(folder: Path, source: BufferedReader, *, owners: bool, when: float) -> None:
    """Make the trees that the list in a folder describes, with the contents from a stream.

    ``owners`` says if owners and times are those of the list (a layer); else the files belong to the user, and have the
    time ``when`` (an artifact). Raises: UNSAFE_ARCHIVE, DIGEST_MISMATCH or WRONG_LENGTH.
    """
    targets = {int(entry.content[1:]) for entry in read_content(folder / FILE_NAME) if entry.is_again}
    tree = _Tree(folder, source, targets, owners, when)
    try:
        for number, entry in enumerate(read_content(folder / FILE_NAME)):
            _check(entry)
            tree.add(number, entry)
        tree.finish()
    finally:
        tree.close()
    if source.read(1):
        raise StagewrightError(Reason.WRONG_LENGTH, "more content than the list has")


def _check(entry: Entry) -> None:
    """Raise UNSAFE_ARCHIVE for an entry that no build has made."""
    numbers = (entry.depth, entry.mode, entry.owner, entry.group, entry.size, entry.time)
    valid = (
        all(isinstance(one, int) and not isinstance(one, bool) for one in numbers)
        and isinstance(entry.name, str)
        and isinstance(entry.content, str)
        and isinstance(entry.attributes, dict)
        and 0 <= entry.depth < _DEEPEST
        and 0 <= entry.mode <= _MOST_BITS
        and 0 <= entry.owner < _ID_LIMIT
        and 0 <= entry.group < _ID_LIMIT
        and entry.size >= 0
    )
    if not valid:
        raise _unsafe(entry, "invalid numbers")
    name = os.fsencode(entry.name)
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise _unsafe(entry, "invalid name")
    if entry.type in ("char", "block") and (entry.type, entry.content) != ("char", "0:0"):
        raise _unsafe(entry, "device node")
    if odd := [one for one in entry.attributes if not (isinstance(one, str) and is_kept(one))]:
        raise _unsafe(entry, f"attribute {odd[0]}")


def _unsafe(entry: Entry, why: str) -> StagewrightError:
    return StagewrightError(Reason.UNSAFE_ARCHIVE, f"refused: {str(entry.name)[:80]!r} ({why})")


@dataclass
class _Tree:
    """A tree that is being made. ``above`` are the folders from the top to the open one, which ``current`` is."""

    folder: Path
    source: BufferedReader
    targets: set[int]
    owners: bool
    when: float
    above: list[Entry] = field(default_factory=list)
    places: dict[int, list[str]] = field(default_factory=dict)
    current: int = -1
    block: memoryview = field(default_factory=lambda: memoryview(bytearray(BLOCK)))

    def __post_init__(self) -> None:
        self.top = os.open(self.folder, _FOLDER)
        self.current = os.dup(self.top)

    def close(self) -> None:
        """Close the open folders."""
        for descriptor in (self.current, self.top):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def add(self, number: int, entry: Entry) -> None:
        """Make one entry."""
        if entry.depth > len(self.above):
            raise _unsafe(entry, "not in a folder")
        while len(self.above) > entry.depth:
            self._leave()
        if entry.depth == 0 and (entry.name not in PARTS or entry.type != "folder"):
            raise _unsafe(entry, "not a part of a result")
        if number in self.targets:
            self.places[number] = [*(one.name for one in self.above), entry.name]
        try:
            self._make(entry)
        except FileExistsError as error:
            raise _unsafe(entry, "a second entry of the same name") from error

    def finish(self) -> None:
        """Set the times of the folders that are still open."""
        while self.above:
            self._leave()

    def _make(self, entry: Entry) -> None:
        here, name = self.current, entry.name
        if entry.type == "folder":
            os.mkdir(name, 0o700, dir_fd=here)
            self.current = os.open(name, _FOLDER, dir_fd=here)
            os.close(here)
            self.above.append(entry)
            return
        if entry.is_again:
            self._link(entry)
            return
        if entry.type == "file":
            self._file(entry)
        elif entry.type == "link":
            os.symlink(entry.content, name, dir_fd=here)
        elif entry.type in _NODES:
            os.mknod(name, _NODES[entry.type] | 0o600, os.makedev(0, 0), dir_fd=here)
        else:
            raise _unsafe(entry, "unknown type")
        if entry.type != "file":
            self._set(f"/proc/self/fd/{here}/{name}", entry)

    def _file(self, entry: Entry) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(entry.name, flags, 0o600, dir_fd=self.current)
        try:
            total, left = hashlib.sha256(), entry.size
            while left:
                count = self.source.readinto(self.block[: min(BLOCK, left)])
                if not count:
                    raise StagewrightError(Reason.FETCH_CUT, f"{entry.name}: the content ended too early")
                view = self.block[:count]
                total.update(view)
                while view:
                    view = view[os.write(descriptor, view) :]
                left -= count
            if total.hexdigest() != entry.content:
                what = f"{entry.name}: not the content that the list names"
                raise StagewrightError(Reason.DIGEST_MISMATCH, what)
            self._set(descriptor, entry)
        finally:
            os.close(descriptor)

    def _link(self, entry: Entry) -> None:
        names = self.places.get(int(entry.content[1:]))
        if names is None:
            raise _unsafe(entry, "a link to nothing")
        folder = os.dup(self.top)
        try:
            for name in names[:-1]:
                inner = os.open(name, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            os.link(names[-1], entry.name, src_dir_fd=folder, dst_dir_fd=self.current, follow_symlinks=False)
        finally:
            os.close(folder)

    def _leave(self) -> None:
        self._set(self.current, self.above.pop())
        outer = os.open("..", _FOLDER, dir_fd=self.current)
        os.close(self.current)
        self.current = outer

    def _set(self, place: int | str, entry: Entry) -> None:
        """Set owner, attributes, mode and time: in this order, because a new owner takes capabilities and setuid."""
        follow = isinstance(place, int)
        packages = (self.above[0] if self.above else entry).name == PACKAGES
        if self.owners:
            owner, group = (ids.INVOKER if ids.is_private() else 0,) * 2 if packages else (entry.owner, entry.group)
            os.chown(place, owner, group, follow_symlinks=follow)
        for name, value in entry.attributes.items():
            self._attribute(place, name, bytes.fromhex(value), entry)
        if entry.type != "link":
            os.chmod(place, entry.mode)
        when = entry.time if self.owners else int(self.when * 1_000_000_000)
        os.utime(place, ns=(when, when), follow_symlinks=follow)

    def _attribute(self, place: int | str, name: str, value: bytes, entry: Entry) -> None:
        try:
            os.setxattr(place, name, value, follow_symlinks=isinstance(place, int))
        except OSError as error:
            what = f"{entry.name}: the attribute {name} cannot be written ({error.strerror})"
            hint = "it was made with other ids: see --as-host-root"
            if error.errno == errno.ENOTSUP:
                hint = "put the store on a file system with attributes, such as ext4, xfs or btrfs (--store)"
            raise StagewrightError(Reason.HOST_FEATURE, what, hint=hint) from error


_NODES = {"char": stat.S_IFCHR, "pipe": stat.S_IFIFO, "socket": stat.S_IFSOCK}


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Return sorted numbers as pairs of first and last."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def numbers(pairs: Iterable[Iterable[int]]) -> Iterator[int]:
    """Yield the numbers of pairs of first and last."""
    for first, last in pairs:
        yield from range(first, last + 1)


def _send(arguments: list[str]) -> None:
    asked = sys.stdin.buffer.read()
    if asked:  # else nothing is wanted, or the other side has ended
        data = json.loads(asked)
        send(Path(arguments[0]), data["sizes"], set(numbers(data["wanted"])), sys.stdout.buffer)


def _restore(arguments: list[str]) -> None:
    restore(
        Path(arguments[0]),
        cast("BufferedReader", sys.stdin.buffer),
        owners=arguments[1] == "layer",
        when=float(arguments[2]),
    )


_ACTIONS: dict[str, Callable[[list[str]], None]] = {"send": _send, "restore": _restore}


def main(words: list[str]) -> int:
    """Run one action. An error goes to standard error, as JSON."""
    os.umask(UMASK)
    try:
        _ACTIONS[words[0]](words[1:])
    except StagewrightError as error:
        sys.stderr.write(json.dumps(error.to_dict()))
        return 1
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = Reason.DISK_FULL if full else Reason.STORE_FAILED
        hint = "stagewright gc removes results that no project needs" if full else ""
        sys.stderr.write(json.dumps(StagewrightError(reason, str(error), hint=hint).to_dict()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
