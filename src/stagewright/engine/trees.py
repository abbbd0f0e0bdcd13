"""Ebuild repositories out of snapshots: a squashfs unpacked once into the store's cache, by what is in it."""

from __future__ import annotations

import secrets
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.filedigest import file_digest
from stagewright.run import run
from stagewright.store.store import Store, remove_tree


def tree_of(snapshot: Path, store: Store) -> Path:
    """The folder with the repository that a squashfs holds; unpacked now if it is not there yet.

    Raises ``BAD_ARCHIVE`` for a file that unsquashfs(1) does not read.
    """
    trees = store.cache("snapshots")
    trees.mkdir(parents=True, exist_ok=True)
    place = trees / file_digest(snapshot)
    if not place.is_dir():
        temporary = trees / f".{place.name}.{secrets.token_hex(4)}"
        try:
            _unpack(snapshot, temporary)
            if not place.is_dir():
                temporary.rename(place)
        finally:
            if temporary.exists():
                remove_tree(temporary)
    return place


def _unpack(snapshot: Path, target: Path) -> None:
    try:
        run(["unsquashfs", "-quiet", "-no-progress", "-no-xattrs", "-dest", target, snapshot])
    except StagewrightError as error:
        if error.reason is not Reason.COMMAND_FAILED:
            raise
        hint = "remove it and make the snapshot again, or give a folder with --repo"
        message = f"{snapshot} cannot be unpacked"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, detail=error.detail, hint=hint) from error
