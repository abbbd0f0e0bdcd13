"""Places of files: a folder of this computer, and what fsspec knows, such as S3."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from stagewright.fetch.web import without_password
from stagewright.publish.attempts import translated
from stagewright.publish.objects import open_service
from stagewright.remote.place import CHUNK, FOLDERS, HIDDEN, Blob, Found, Unfinished, blob_path, missing
from stagewright.trees import files_below

EXTRA = "remotes"
"""The extra of Stagewright with the packages that remotes need."""


@dataclass(frozen=True)
class FolderPlace:
    """A folder of this computer."""

    folder: Path
    writable: bool = True
    lists: bool = True

    @property
    def name(self) -> str:
        """The path of the folder."""
        return str(self.folder)

    def read(self, path: str, start: int, size: int) -> Iterator[bytes]:
        """Yield bytes of a file."""
        try:
            with (self.folder / path).open("rb", buffering=0) as stream:
                stream.seek(start)
                while size > 0 and (data := stream.read(min(CHUNK, size))):
                    size -= len(data)
                    yield data
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise missing(self, path) from error

    def has(self, path: str) -> bool:
        """Return True if a file exists."""
        return (self.folder / path).is_file()

    def put(self, blob: Blob, source: Path, *, own: bool = False) -> None:
        """Copy a file, or link to one that is not needed any more and lies on the same file system."""
        with self._new(blob_path(blob.digest)) as temporary:
            if not (own and _linked(source, temporary)):
                shutil.copyfile(source, temporary)

    def write(self, path: str, data: bytes, refers: Sequence[Blob] = ()) -> None:
        """Write a file."""
        with self._new(path) as temporary:
            temporary.write_bytes(data)

    def _new(self, path: str) -> _NewFile:
        return _NewFile(self.folder / path)

    def listed(self, folder: str) -> Mapping[str, Found]:
        """Return the files below a folder."""
        found = {}
        for name in files_below(self.folder / folder):
            if not name.rpartition("/")[2].startswith(HIDDEN):
                info = (self.folder / folder / name).stat()
                found[name] = Found(info.st_size, info.st_mtime)
        return found

    def unfinished(self) -> Sequence[Unfinished]:
        """Return the files with hidden names."""
        found = []
        for name in (f"{folder}/{name}" for folder in FOLDERS for name in files_below(self.folder / folder)):
            if name.rpartition("/")[2].startswith(HIDDEN):
                with contextlib.suppress(FileNotFoundError):
                    info = (self.folder / name).stat()
                    found.append(Unfinished(name, info.st_size, info.st_mtime, partial(self.remove, name)))
        return found

    def remove(self, path: str) -> None:
        """Remove a file."""
        (self.folder / path).unlink(missing_ok=True)

    def close(self) -> None:
        """Do nothing."""


def _linked(source: Path, target: Path) -> bool:
    """Make a hard link. Return False if that is not possible: on another file system, or without the right to."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


class _NewFile:
    """A file under a hidden name, which gets its own name at the end of the block, after it is on the disk."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.temporary = target.with_name(f"{HIDDEN}{target.name[:100]}.{secrets.token_hex(4)}")

    def __enter__(self) -> Path:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        return self.temporary

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.temporary.unlink(missing_ok=True)
            return
        with self.temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        self.temporary.chmod(0o644)
        self.temporary.replace(self.target)


_AT_ONCE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})
"""Services of fsspec that show an object only when all of it is there."""


@dataclass(frozen=True)
class FsspecPlace:
    """A folder of a service that fsspec knows, such as a prefix of a bucket."""

    url: str
    system: Any
    prefix: str
    writable: bool = True
    lists: bool = True

    @classmethod
    def open(cls, url: str, endpoint: str | None = None) -> FsspecPlace:
        """Open the service of an address. Raises: USAGE for an unknown one, MISSING_TOOL if a package is missing."""
        return cls(url, *open_service(url, endpoint, EXTRA))

    @property
    def name(self) -> str:
        """The address without a password."""
        return without_password(self.url)

    def _path(self, path: str) -> str:
        return f"{self.prefix}/{path}"

    def read(self, path: str, start: int, size: int) -> Iterator[bytes]:
        """Yield bytes of an object."""
        with translated(self.name):
            yield from self._read(path, start, size)

    def _read(self, path: str, start: int, size: int) -> Iterator[bytes]:
        while size > 0:
            try:
                data = self.system.cat_file(self._path(path), start=start, end=start + min(size, 16 * CHUNK))
            except FileNotFoundError as error:
                raise missing(self, path) from error
            except Exception as error:
                if start and _is_past_the_end(error):
                    return
                raise
            yield data
            if len(data) < min(size, 16 * CHUNK):
                return
            start, size = start + len(data), size - len(data)

    def has(self, path: str) -> bool:
        """Return True if an object exists."""
        with translated(self.name):
            return bool(self.system.exists(self._path(path)))

    def put(self, blob: Blob, source: Path, *, own: bool = False) -> None:
        """Upload a file."""
        with translated(self.name):
            self._upload(blob_path(blob.digest), lambda target: self.system.put_file(str(source), target))

    def write(self, path: str, data: bytes, refers: Sequence[Blob] = ()) -> None:
        """Write an object."""
        with translated(self.name):
            self._upload(path, lambda target: self.system.pipe_file(target, data))

    def _upload(self, path: str, upload: Any) -> None:
        target = self._path(path)
        protocol = self.system.protocol
        if not _AT_ONCE.isdisjoint([protocol] if isinstance(protocol, str) else protocol):
            upload(target)
            return
        folder, _, name = target.rpartition("/")
        self.system.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/{HIDDEN}{name[:100]}.{secrets.token_hex(4)}"
        upload(temporary)
        self.system.mv(temporary, target)

    def listed(self, folder: str) -> Mapping[str, Found]:
        """Return the objects below a folder."""
        with translated(self.name):
            self.system.invalidate_cache()
            base = self._path(folder).rstrip("/")
            try:
                found: Mapping[str, Any] = self.system.find(base, detail=True)
            except FileNotFoundError:
                return {}
            return {
                path.removeprefix(f"{base}/"): Found(int(info.get("size") or 0), time_of(info))
                for path, info in found.items()
                if not path.rpartition("/")[2].startswith(HIDDEN)
            }

    def unfinished(self) -> Sequence[Unfinished]:
        """Return the objects with hidden names, and the uploads in parts of S3 that were not completed."""
        with translated(self.name):
            self.system.invalidate_cache()
            return [*self._hidden(), *self._parts()]

    def _hidden(self) -> Iterator[Unfinished]:
        base = self.prefix.rstrip("/")
        for folder in FOLDERS:
            with contextlib.suppress(FileNotFoundError):
                for path, info in self.system.find(f"{base}/{folder}", detail=True).items():
                    if path.rpartition("/")[2].startswith(HIDDEN):
                        name, size = path.removeprefix(f"{base}/"), int(info.get("size") or 0)
                        yield Unfinished(name, size, time_of(info), partial(self.remove, name))

    def _parts(self) -> Iterator[Unfinished]:
        """Yield the uploads in parts below the prefix. They take room, and no listing of objects has them."""
        if not hasattr(self.system, "list_multipart_uploads"):
            return
        bucket, _, prefix = self.prefix.partition("/")
        for one in self.system.list_multipart_uploads(bucket):
            key, upload = str(one["Key"]), str(one["UploadId"])
            if key.startswith(f"{prefix}/" if prefix else ""):
                end = partial(self.system.call_s3, "abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)
                yield Unfinished(key.removeprefix(f"{prefix}/"), 0, one["Initiated"].timestamp(), end)

    def remove(self, path: str) -> None:
        """Remove an object."""
        with translated(self.name):
            try:
                self.system.rm_file(self._path(path))
            except FileNotFoundError:
                return

    def close(self) -> None:
        """Do nothing."""


def _is_past_the_end(error: Exception) -> bool:
    """Return True for the answer to a range after the end of an object (status 416 of HTTP)."""
    return "416" in str(error) or "InvalidRange" in str(error)


_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")
"""The names by which services give the time of an object: S3, Azure, SFTP and folders, Google, WebDAV, memory."""


def time_of(info: Mapping[str, Any]) -> float:
    """Return the time of an object in seconds since 1970; 0 if the service does not say it."""
    when = next((info[name] for name in _TIMES if info.get(name)), 0)
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)  # RFC 3339, as Google writes it
        except ValueError:
            return 0.0
    if isinstance(when, datetime):
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return float(when) if isinstance(when, (int, float)) else 0.0
