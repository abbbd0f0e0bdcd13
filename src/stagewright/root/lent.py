"""A folder in which a build sees files that are lent to it, and files that it writes.

Both are in one folder, an overlay mount. The build cannot write to the files that are lent, because overlayfs copies a
file before the first change. What the build writes is taken over by copying, after checks::

    <folder>/lent    hard links to files of the store; the lower folder of the overlay
    <folder>/own     what the build writes; the upper folder
    <folder>/view    the overlay, which is mounted inside the root
    <folder>/kept    checked copies of new files; nothing in a root sees this folder
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import field
from pathlib import Path

from stagewright.confined import Tree
from stagewright.lazy_dataclass import dataclass
from stagewright.root.overlay import mount_overlay, unmount

LARGEST = 64 << 30
"""The largest file that is taken over (bytes)."""


@dataclass(frozen=True)
class LentFolder:
    """The folder of one build."""

    folder: Path
    _seen: dict[str, tuple[int, int, int]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def lent(self) -> Path:
        """The folder of the files that are lent."""
        return self.folder / "lent"

    @property
    def own(self) -> Tree:
        """The folder that the build writes to. No link in it is followed."""
        return Tree(self.folder / "own", links=False)

    @property
    def view(self) -> Path:
        """The folder that is mounted inside the root."""
        return self.folder / "view"

    @property
    def kept(self) -> Path:
        """The folder of the copies of new files."""
        return self.folder / "kept"

    def prepare(self, group: int, mode: int = 0o1777) -> None:
        """Make the folders and mount the view, with a group and a mode for the processes of the root."""
        for folder in (self.lent, self.own.folder, self.view, self.kept):
            folder.mkdir(parents=True, exist_ok=True)
        os.chown(self.own.folder, -1, group)
        self.own.folder.chmod(mode)
        if not os.path.ismount(self.view):
            mount_overlay([self.lent], self.own.folder, self.view)

    def lend(self, files: Collection[tuple[Path, str]]) -> None:
        """Lend files of the store to the build, each with its path in the folder. No process may use the view.

        overlayfs does not permit changes below a mount, so the view is mounted again.
        """
        new = [(source, self.lent / path) for source, path in files if not (self.lent / path).exists()]
        if not new:
            return
        mounted = os.path.ismount(self.view)
        if mounted:
            unmount(self.view)
        for source, target in new:
            link_to(source, target)
        if mounted:
            mount_overlay([self.lent], self.own.folder, self.view)

    def written(self, suffix: str) -> list[str]:
        """Return the paths of regular files that the build has written or changed since the last call."""
        found = []
        for name, info in self.own.files():
            version = (info.st_ino, info.st_mtime_ns, info.st_size)
            if name.endswith(suffix) and info.st_size and self._seen.get(name) != version:
                self._seen[name] = version
                found.append(name)
        return found

    @contextlib.contextmanager
    def copied(self, name: str) -> Iterator[Path]:
        """Yield a read-only copy of a file of the build. The block checks the copy.

        If it raises nothing, the copy replaces the file of this name in ``kept``.

        Raises: OSError with the name if the file is not a regular file any more.
        """
        temporary = self.folder / "copied"
        temporary.unlink(missing_ok=True)
        try:
            self.own.copy_out(name, temporary, LARGEST)
            temporary.chmod(0o444)
            yield temporary
            target = self.kept / name
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.rename(target)
        finally:
            temporary.unlink(missing_ok=True)

    def files(self, suffix: str) -> Iterator[Path]:
        """Yield the files with a suffix that are lent or kept: no root can change them."""
        for folder in (self.kept, self.lent):
            for path in sorted(folder.rglob(f"*{suffix}")):
                if folder == self.kept or not (self.kept / path.relative_to(folder)).exists():
                    yield path

    def path_of(self, file: Path) -> str:
        """Return the path of a lent or kept file in the folder, as the build sees it."""
        return str(file.relative_to(self.kept if file.is_relative_to(self.kept) else self.lent))


def link_to(source: Path, target: Path) -> None:
    """Make a hard link and the folders above it. An existing file stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.link(source, target)
