"""Changes to the files of a root, made from inside it, where no link can lead outside (``chroot.inside``)."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stagewright.chroot import inside
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import IGNORED
from stagewright.trees import LONGEST_PATH, remove_tree, walk, walk_tree
from stagewright.untrusted import read_text

_NANO = 1_000_000_000
_STARTED = int(time.time())


def copy_in(root: Path, source: Path, *, epoch: int, target: str = "/", also: int = 0) -> None:
    """Copy the content of a folder into a root: owned by root, permission bits kept, times set to ``epoch``.

    ``also`` are permission bits that all files get: files of artifacts are read-only.
    Files replace existing files. A folder is copied into the target of a link of the same name (merged /usr).
    Raises: BUILD_FAILED if a folder would replace a file, or a file a folder.
    """
    descriptor = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    try:
        inside(root, _copy_folder, descriptor, target, epoch, also)
    finally:
        os.close(descriptor)


def _copy_folder(source: int, target: str, epoch: int, also: int) -> None:
    for step in walk(source, ".", _enter, strict=True):
        inner = step.path(step.left)
        place = os.path.join(target, inner) if inner else target
        if step.left:
            os.utime(place, (epoch, epoch))
            continue
        if not os.path.isdir(place):
            if os.path.lexists(place):
                raise _clash(place, "a folder", "a file")
            os.makedirs(place)
        if step.names or target != "/":
            os.chmod(place, stat.S_IMODE(os.fstat(step.folder).st_mode))
        for file in step.files:
            if file.name not in IGNORED:
                _copy_entry(step.folder, file.name, os.path.join(place, file.name), epoch, also)
    os.utime(target, (epoch, epoch))


def _enter(parent: int, name: str) -> int | None:
    """Open a folder to be copied."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    return None if name in IGNORED else os.open(name, flags, dir_fd=parent)


def _copy_entry(source: int, name: str, target: str, epoch: int, also: int) -> None:
    info = os.stat(name, dir_fd=source, follow_symlinks=False)
    if os.path.isdir(target) and not os.path.islink(target):
        raise _clash(target, "a file", "a folder")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), target)
    else:
        if not stat.S_ISREG(info.st_mode):
            raise StagewrightError(
                Reason.BUILD_FAILED, f"overlay: {name}: not a file, folder or link", hint="remove it from the overlay"
            )
        reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=source)
        with os.fdopen(reader, "rb") as content, open(target, "xb") as copy:
            shutil.copyfileobj(content, copy)
            os.fchmod(copy.fileno(), stat.S_IMODE(info.st_mode) | also)
    os.utime(target, (epoch, epoch), follow_symlinks=False)


def _clash(target: str, new: str, old: str) -> StagewrightError:
    return StagewrightError(
        Reason.BUILD_FAILED,
        f"{target} is {old} in the root and {new} in the overlay",
        hint="change the overlay, so that both are files or both are folders",
    )


def write_file(root: Path, path: str, text: str, *, epoch: int, mode: int = 0o644) -> None:
    """Write one file of a root, with its folders."""
    inside(root, _write, path, text, mode, epoch)


def _write(path: str, text: str, mode: int, epoch: int) -> None:
    target = Path("/", path.lstrip("/"))
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    target.write_text(text, encoding="utf-8")
    target.chmod(mode)
    os.utime(target, (epoch, epoch))


def make_link(root: Path, path: str, target: str, *, epoch: int) -> None:
    """Make a symbolic link in a root, with its folders. It replaces an existing file or link."""
    inside(root, _link, path, target, epoch)


def _link(path: str, target: str, epoch: int) -> None:
    place = Path("/", path.lstrip("/"))
    place.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        place.unlink()
    place.symlink_to(target)
    os.utime(place, (epoch, epoch), follow_symlinks=False)


def make_folder(root: Path, path: str, *, epoch: int) -> None:
    """Make a folder in a root, with its parents. An existing folder is not changed."""
    inside(root, _folder, path, epoch)


def _folder(path: str, epoch: int) -> None:
    if not os.path.isdir(path):
        os.makedirs(path)
        os.utime(path, (epoch, epoch))


def read_file(root: Path, path: str) -> str | None:
    """Return the text of a file of a root, with links followed inside the root; None if it does not exist."""
    return inside(root, _read, path)


def _read(path: str) -> str | None:
    try:
        return read_text("/" + path.lstrip("/"), errors="replace")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
            return None
        message = f"{path} in the root cannot be read: {error.strerror}"
        raise StagewrightError(Reason.BUILD_FAILED, message, hint="replace it with a text file") from error


def find(root: Path, patterns: Sequence[str]) -> dict[str, list[str]]:
    """Return the paths that match each shell pattern. Patterns are absolute paths inside the root.

    ``*`` also matches hidden names. The last part of a path is not followed if it is a link.
    """
    return inside(root, _find, list(patterns))


def _find(patterns: list[str]) -> dict[str, list[str]]:
    return {pattern: list(_matches("", _parts(pattern))) for pattern in patterns}


def _parts(pattern: str) -> list[str]:
    """Return the names between the slashes of a pattern."""
    return [part for part in pattern.split("/") if part not in ("", ".")]


def remove(root: Path, patterns: Sequence[str]) -> list[str]:
    """Remove everything that matches shell patterns (absolute inside the root). Return patterns without a match.

    ``*`` also matches hidden names. ``**`` matches any number of folders and follows no links.
    Raises: INVALID_VALUE for a pattern that means the root itself or contains ``..``.
    """
    return inside(root, _remove, list(patterns), False)


def empty(root: Path, folders: Sequence[str]) -> list[str]:
    """Remove the content of folders, not the folders. Return the patterns without a match."""
    return inside(root, _remove, list(folders), True)


def _remove(patterns: list[str], keep: bool) -> list[str]:
    return [pattern for pattern in patterns if not _remove_one(pattern, keep)]


def _remove_one(pattern: str, keep: bool) -> bool:
    parts = _parts(pattern)
    if not parts or ".." in parts:
        raise StagewrightError(
            Reason.INVALID_VALUE,
            f"{pattern!r}: cannot be removed from a root",
            hint="write a path inside the root such as /usr/share/doc/*, without ..",
        )
    found = list(_matches("", parts))
    if keep:
        folders = [path for path in found if os.path.isdir(path)]
        found = [inner for path in folders for inner in _matches(path, ["*"])]
    for path in found:
        if _is_folder(path):
            remove_tree(Path(path))
        elif os.path.lexists(path):  # not removed with a folder that also matched
            os.unlink(path)
    return bool(folders if keep else found)


def matches(pattern: str) -> list[str]:
    """Return the paths that match a pattern, as :func:`remove` reads it, in the root of this process."""
    return list(_matches("", _parts(pattern)))


def _matches(folder: str, parts: list[str]) -> Iterator[str]:
    """Yield the paths below a folder that match the parts of a pattern, sorted by name."""
    waiting = [(folder, parts)]
    while waiting:
        folder, parts = waiting.pop()
        if not parts:
            yield folder
            continue
        head, *rest = parts
        names = sorted(os.listdir(folder or "/"))
        if head == "**":
            if len(os.fsencode(folder)) > LONGEST_PATH:
                raise StagewrightError(Reason.BUILD_FAILED, f"**: folders are too deep (found {folder[:60]}...)")
            paths = [path for path in (f"{folder}/{name}" for name in names) if _is_folder(path)]
            inner = [(folder, rest or ["*"]), *((path, parts) for path in paths)]
        else:
            paths = [f"{folder}/{name}" for name in fnmatch.filter(names, head)]
            inner = [(path, rest) for path in paths if not rest or os.path.isdir(path)]
        waiting.extend(reversed(inner))


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def clamp_times(tree: Path, epoch: int) -> None:
    """Set times newer than ``epoch``, and those of this build, to ``epoch``: results do not depend on the clock.

    The times of this build are older than ``epoch`` if that is ahead of the clock.
    """
    _set_times(tree, epoch, lambda time_ns: time_ns > epoch * _NANO or is_of_build(time_ns // _NANO))


def set_new_times(tree: Path, epoch: int) -> None:
    """Set the times of this build to ``epoch``, such as those of folders that an archive does not contain."""
    _set_times(tree, epoch, lambda time_ns: is_of_build(time_ns // _NANO))


def _set_times(tree: Path, epoch: int, chosen: Callable[[int], bool]) -> None:
    for step in walk_tree(tree):
        if step.left:
            continue
        if chosen(os.fstat(step.folder).st_mtime_ns):
            os.utime(step.folder, (epoch, epoch))
        for file in step.files:
            if chosen(file.stat(follow_symlinks=False).st_mtime_ns):
                os.utime(file.name, (epoch, epoch), dir_fd=step.folder, follow_symlinks=False)


def is_of_build(seconds: int) -> bool:
    """Return True for a time between the start of this process and now, in seconds since 1970.

    The clock may jump meanwhile.
    """
    now = int(time.time())
    return min(_STARTED, now) <= seconds <= max(_STARTED, now)


def names_in(folder: str) -> list[str]:
    """Return the sorted names in a folder of the root that this process is in; empty if the folder is missing."""
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def exists(root: Path, path: str) -> bool:
    """Return True if a path of a root exists, with links followed inside the root."""
    return inside(root, os.path.exists, "/" + path.lstrip("/"))
