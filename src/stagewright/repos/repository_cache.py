"""Where repositories from elsewhere are kept in a store, whole or not at all.

::

    cache/repos/trees/<tree>/        one state of one repository, plain files; named by what stands for it in keys
    cache/repos/git/<address>/       bare git repository: the commits that were asked for, without their history
    cache/repos/history/<address>/   bare git repository: commits without files, to tell what lies between two pins
    cache/repos/files/<address>/     snapshots and their signatures, as a mirror has them
    cache/repos/md5-cache/<digest>/  metadata of a repository that has none (portage/metadata.py)
    cache/repos/*.lock               flock(2): held by the process that fills the thing of this name

A tree is filled beside its place and renamed when it is on disk, so what is there is complete. All of it can be removed
at any time: ``stagewright fetch`` brings it back by the pins.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import IGNORED
from stagewright.project.model import tree_name
from stagewright.run import run
from stagewright.store.links import locked
from stagewright.store.store import remove_tree, sync_folder


def trees_folder(store: Path) -> Path:
    """Where a store keeps the trees; known before the store is opened, since a project is read first."""
    return store / "cache" / "repos" / "trees"


@dataclass(frozen=True)
class RepositoryCache:
    """The folder ``cache/repos`` of a store."""

    folder: Path

    @classmethod
    def of(cls, store: Path) -> RepositoryCache:
        """That of the store in this folder."""
        return cls(trees_folder(store).parent)

    def path(self, tree: str) -> Path:
        """Where the tree with this id lies, or would lie."""
        return self.folder / "trees" / tree_name(tree)

    def has(self, tree: str) -> bool:
        """Whether a tree is there; one that is looked for counts as used, for collection."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path(tree))
            return True
        return False

    def folder_for(self, kind: str, address: str) -> Path:
        """A folder for what comes from an address."""
        folder = self.folder / kind / hashlib.sha256(address.encode()).hexdigest()[:32]
        folder.parent.mkdir(parents=True, exist_ok=True)
        return folder

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[int]:
        """Wait until nobody else fills the thing of this name; yields the descriptor that holds it.

        Commands that inherit the descriptor hold it until they end, even if this process is gone before.
        """
        with locked(self.folder / f"{name}.lock") as descriptor:
            yield descriptor

    @contextlib.contextmanager
    def new_entry(self, tree: str) -> Iterator[Path | None]:
        """A new folder that becomes the tree when the block ends well; None when the tree is there already."""
        name = tree_name(tree)
        with self.lock(name):
            if self.has(tree):
                yield None
                return
            for left in (self.folder / "trees").glob(f".{name}.*"):  # of a process that was killed
                remove_tree(left)
            folder = self.folder / "trees" / f".{name}.{secrets.token_hex(4)}"
            folder.mkdir(parents=True)
            try:
                yield folder
                _settle(folder)
                run(["sync", "-f", folder])
                folder.rename(self.path(tree))
                sync_folder(folder.parent)
            finally:
                remove_tree(folder)


def only_folder(folder: Path) -> Path:
    """The single folder at the top of what was unpacked, or the folder itself where that is a repository already."""
    found = [] if (folder / "profiles").is_dir() else list(folder.iterdir())
    return found[0] if len(found) == 1 and found[0].is_dir() and not found[0].is_symlink() else folder


def check_repository(folder: Path, what: str) -> None:
    """Raise ``BAD_ARCHIVE`` for a tree that is no ebuild repository (PMS 4)."""
    if not (folder / "profiles").is_dir():
        raise StagewrightError(
            Reason.BAD_ARCHIVE,
            f"{what} is no ebuild repository: it has no folder profiles",
            hint="correct the address; the repository must lie at the top of it",
        )


def _settle(folder: Path) -> None:
    """Make everything readable for Portage's user, whatever the umask was; refuse what no repository has."""
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
                    what = f"{entry.path} is no file, folder or link"
                    raise StagewrightError(
                        Reason.UNSAFE_ARCHIVE, what, hint="nothing of it was kept; tell who runs the mirror"
                    )
