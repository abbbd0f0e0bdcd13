"""Files of a project on the way to the machines of a farm: one archive for each file or folder that a node names.

The user's machine packs each of them once and gives the archive to the shared store, by its digest. A machine unpacks
it into ``cache/farm/<digest>/`` of its store, where later nodes find it.
"""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.engine.farm.shared import Shared
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.graph.node import Node, NodeFiles
from stagewright.remote.place import Blob
from stagewright.run import run
from stagewright.trees import remove_tree

_TAR = ("tar", "--format=posix", "--pax-option=delete=atime,delete=ctime", "--sort=name", "--numeric-owner", "--xattrs")
_CONTENT = "content"


@dataclass(frozen=True)
class PackedFile:
    """The archive of a file or folder, with the name that it had."""

    digest: str
    size: int
    name: str


def paths_of(files: NodeFiles) -> Iterator[Path]:
    """Yield the files and folders that a node names."""
    for group in (files.settings, files.sources, files.repos, files.binhost_keys):
        yield from group.values()


@dataclass
class FilesOut:
    """Gives the files of a project to the shared store, each once in a run, and again if the store has lost it."""

    shared: Shared
    _packed: dict[Path, PackedFile] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def give(self, node: Node) -> dict[str, PackedFile]:
        """Return the archives of a node's files by path, after the shared store has them all."""
        return {str(path): self._give(path) for path in paths_of(node.files) if path.exists()}

    def _give(self, path: Path) -> PackedFile:
        with self._lock:
            known = self._packed.get(path)
            if known is None or not self.shared.has_file(known.digest):
                with self.shared.store.scratch("farm") as folder:
                    archive = folder / "archive"
                    run([*_TAR, "--create", "--file", archive, "--directory", path.parent, "--", path.name])
                    blob = Blob(file_digest(archive), archive.stat().st_size)
                    self.shared.put_file(blob, archive)
                self._packed[path] = PackedFile(blob.digest, blob.size, path.name)
            return self._packed[path]


def take(shared: Shared, packed: PackedFile) -> Path:
    """Return the path of a file or folder on this machine, after it was taken from the shared store."""
    if "/" in packed.name or packed.name in ("", ".", "..") or not packed.digest.isalnum():
        raise StagewrightError(Reason.BUG, f"invalid name of a file: {packed.name!r} ({packed.digest!r})")
    place = shared.store.path / "cache" / "farm" / packed.digest
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (place.parent / f".{packed.digest}.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            _unpack(shared, packed, place)
    return place / _CONTENT / packed.name


def _unpack(shared: Shared, packed: PackedFile, place: Path) -> None:
    new = place.with_name(f".{packed.digest}.{secrets.token_hex(4)}")
    with contextlib.ExitStack() as undo:
        undo.callback(lambda: remove_tree(new) if new.exists() else None)
        (new / _CONTENT).mkdir(parents=True)
        archive = new / "archive"
        shared.get_file(Blob(packed.digest, packed.size), archive)
        options = ("--numeric-owner", "--xattrs", "--preserve-permissions")
        run(["tar", "--extract", "--file", archive, "--directory", new / _CONTENT, *options])
        archive.unlink()
        new.rename(place)


def moved(files: NodeFiles, paths: Mapping[str, Path]) -> NodeFiles:
    """Return the files of a node at other paths."""

    def there(group: Mapping[str, Path]) -> dict[str, Path]:
        return {name: paths.get(str(path), path) for name, path in group.items()}

    return NodeFiles(
        settings=there(files.settings),
        sources=there(files.sources),
        repos=there(files.repos),
        binhost_keys=there(files.binhost_keys),
    )
