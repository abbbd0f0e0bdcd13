"""The cache of remote repositories in a store.

::

    cache/repos/trees/<tree id>/     files of one state of one repository; keys of nodes contain the tree id
    cache/repos/git/<address>/       bare git repository with the requested commits, without their history
    cache/repos/history/<address>/   bare git repository with commits but without files, to list commits between pins
    cache/repos/files/<address>/     snapshots and signatures, as downloaded from a mirror
    cache/repos/md5-cache/<digest>/  metadata of a repository without its own (portage/metadata.py)
    cache/repos/*.lock               flock(2): held by the process that writes the entry of this name

``<address>`` is a digest of the address. A tree is written to a temporary folder and renamed when it is on disk, so an
existing tree is complete. All entries may be removed at any time: ``stagewright fetch`` restores them from the pins.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import IGNORED
from stagewright.lazy_dataclass import dataclass
from stagewright.project.model import tree_name
from stagewright.run import run
from stagewright.store.durable import sync_folder
from stagewright.store.links import locked
from stagewright.trees import remove_tree


def trees_folder(store: Path) -> Path:
    """Return the folder of the trees in a store. The store may not be open yet, since the project is read first."""
    return store / "cache" / "repos" / "trees"


@dataclass(frozen=True)
class RepositoryCache:
    """The folder ``cache/repos`` of a store."""

    folder: Path

    @classmethod
    def of(cls, store: Path) -> RepositoryCache:
        """Return the cache of the store in this folder."""
        return cls(trees_folder(store).parent)

    def path(self, tree: str) -> Path:
        """Return the path of the tree with this id, which may not exist."""
        return self.folder / "trees" / tree_name(tree)

    def has(self, tree: str) -> bool:
        """True if a tree exists. Marks the tree as used, for garbage collection."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path(tree))
            return True
        return False

    def folder_for(self, kind: str, address: str) -> Path:
        """Return the folder for the data of an address. ``kind`` is a folder of ``cache/repos``."""
        folder = self.folder / kind / hashlib.sha256(address.encode()).hexdigest()[:32]
        folder.parent.mkdir(parents=True, exist_ok=True)
        return folder

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[int]:
        """Hold the lock of an entry, and yield its file descriptor.

        Commands that inherit the descriptor hold the lock until they end, even if this process ends before.
        """
        with locked(self.folder / f"{name}.lock") as descriptor:
            yield descriptor

    @contextlib.contextmanager
    def new_entry(self, tree: str) -> Iterator[Path | None]:
        """Yield a folder that becomes the tree if the block succeeds; None if the tree exists already."""
        name = tree_name(tree)
        with self.lock(name):
            if self.has(tree):
                yield None
                return
            for left in (self.folder / "trees").glob(f".{name}.*"):  # left by a killed process
                remove_tree(left)
            folder = self.folder / "trees" / f".{name}.{secrets.token_hex(4)}"
            folder.mkdir(parents=True)
            try:
                yield folder
                _normalize(folder)
                run(["sync", "-f", folder])
                folder.rename(self.path(tree))
                sync_folder(folder.parent)
            finally:
                remove_tree(folder)


def only_folder(folder: Path) -> Path:
    """Return the only folder in an unpacked archive, or the folder itself if it is a repository."""
    found = [] if (folder / "profiles").is_dir() else list(folder.iterdir())
    return found[0] if len(found) == 1 and found[0].is_dir() and not found[0].is_symlink() else folder


def check_repository(folder: Path, what: str) -> None:
    """Raise ``BAD_ARCHIVE`` if a tree is not an ebuild repository (PMS 4)."""
    if not (folder / "profiles").is_dir():
        raise StagewrightError(
            Reason.BAD_ARCHIVE,
            f"{what}: not an ebuild repository (no folder profiles)",
            hint="correct the address: the repository must be at its top",
        )


def _normalize(folder: Path) -> None:
    """Set modes that Portage's user can read, whatever the umask. Raise ``UNSAFE_ARCHIVE`` for special files."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        here.chmod(0o755)
        with os.scandir(here) as entries:
            for entry in entries:
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode) and entry.name not in IGNORED:
                    waiting.append(Path(entry.path))
                elif stat.S_ISREG(mode):
                    os.chmod(entry.path, 0o755 if mode & 0o100 else 0o644)  # noqa: PTH101  of 160,000 files
                elif not stat.S_ISLNK(mode):
                    what = f"{entry.path}: not a file, folder or link"
                    raise StagewrightError(
                        Reason.UNSAFE_ARCHIVE, what, hint="the files were discarded: report it to the mirror"
                    )
