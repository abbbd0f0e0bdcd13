"""A folder of this machine as a target, such as that of a web server."""

from __future__ import annotations

import hashlib
import os
import posixpath
import secrets
import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.publish.target import Target, not_found
from stagewright.store.durable import write_atomically
from stagewright.trees import files_below, remove_tree

CHUNK = 1 << 20


@dataclass(frozen=True)
class FolderTarget:
    """A folder. Files are copied, so that later changes of a published file do not reach the store."""

    folder: Path
    renames: bool = True
    batch: int = 1

    @property
    def name(self) -> str:
        """The path of the folder."""
        return str(self.folder)

    def entries(self) -> list[str]:
        """Return the names in the folder; none if it does not exist."""
        return sorted(os.listdir(self.folder)) if self.folder.is_dir() else []  # noqa: PTH208

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Return the sizes of all files below a folder in bytes, by path."""
        base = self.folder / folder
        return {name: (base / name).stat().st_size for name in files_below(base)}

    def read(self, path: str) -> Generator[bytes, None, None]:
        """Yield the content of a file."""
        try:
            with (self.folder / path).open("rb") as stream:
                while chunk := stream.read(CHUNK):
                    yield chunk
        except FileNotFoundError as error:
            raise not_found(path, self.name) from error

    def put(self, folder: str, source: Path, names: Sequence[str]) -> None:
        """Copy files."""
        for name in names:
            self._copy(source / name, self.folder / folder / name)

    def _copy(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.part")
        shutil.copyfile(source, temporary)
        shutil.copystat(source, temporary)
        temporary.chmod(0o644)
        self._settle(temporary)
        temporary.replace(target)

    def write(self, path: str, data: bytes) -> None:
        """Write a file, and replace an older one at once."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, data)

    def rename(self, old: str, new: str) -> None:
        """Rename a folder."""
        (self.folder / old).rename(self.folder / new)

    def link(self, path: str, target: str) -> bool:
        """Make or replace a symbolic link."""
        temporary = self.folder / f".{secrets.token_hex(8)}"
        temporary.symlink_to(target)
        temporary.replace(self.folder / path)
        return True

    def remove(self, path: str) -> None:
        """Remove a file or a folder."""
        target = self.folder / path
        if target.is_dir() and not target.is_symlink():
            remove_tree(target)
        else:
            target.unlink(missing_ok=True)

    def digests(self, folder: str, names: Sequence[str]) -> Mapping[str, str]:
        """Return the SHA256 of files, which are read back."""
        return read_digests(self, folder, names)

    def reopen(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    @staticmethod
    def _settle(path: Path) -> None:
        """Wait until a file is on the disk, so that a power failure does not leave a name without content."""
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def read_digests(target: Target, folder: str, names: Sequence[str]) -> dict[str, str]:
    """Return the SHA256 of files of a target, which are read back. Files that are missing are not in it."""
    found = {}
    for name in names:
        total = hashlib.sha256()
        try:
            for chunk in target.read(posixpath.join(folder, name)):
                total.update(chunk)
        except StagewrightError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
        else:
            found[name] = total.hexdigest()
    return found
