"""A place for a remote store on a server that speaks SFTP.

Connections, by ssh(1), are kept for the next operation of any thread. After a failure all of them are closed: a server
that was restarted has ended them. Every upload has another hidden name until it is complete, because other
computers may upload the same file at the same time.
"""

from __future__ import annotations

import contextlib
import io
import posixpath
import secrets
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from stagewright.publish.attempts import translated
from stagewright.publish.ssh import SftpTarget, SshHost
from stagewright.publish.target import TargetOptions
from stagewright.remote.place import FOLDERS, HIDDEN, Blob, Found, Unfinished, blob_path, missing


@dataclass
class SftpPlace:
    """A folder on a server that speaks SFTP."""

    host: SshHost
    writable: bool = True
    lists: bool = True
    _free: list[SftpTarget] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def name(self) -> str:
        """The address of the folder."""
        return self.host.name

    @contextlib.contextmanager
    def _connection(self) -> Iterator[SftpTarget]:
        """Yield a connection that no other thread uses. It is kept if the server has answered."""
        with self._lock:
            target = self._free.pop() if self._free else SftpTarget(self.host)
        try:
            with translated(self.name):
                yield target
        except FileNotFoundError:
            self._keep(target)
            raise
        except BaseException:
            target.close()
            self.close()
            raise
        self._keep(target)

    def _keep(self, target: SftpTarget) -> None:
        with self._lock:
            self._free.append(target)

    def _path(self, path: str) -> str:
        return f"{self.host.folder.rstrip('/')}/{path}"

    def read(self, path: str, start: int, size: int) -> Iterator[bytes]:
        """Yield bytes of a file. Requests are sent ahead of the answers."""
        try:
            with self._connection() as target, target.sftp.open(self._path(path), "rb") as stream:
                size = min(size, max(0, stream.stat().st_size - start))
                pieces = [(at, min(1 << 15, start + size - at)) for at in range(start, start + size, 1 << 15)]
                for first in range(0, len(pieces), 64):
                    yield from stream.readv(pieces[first : first + 64])
        except FileNotFoundError as error:
            raise missing(self, path) from error

    def has(self, path: str) -> bool:
        """Return True if a file exists."""
        try:
            with self._connection() as target:
                return stat.S_ISREG(target.sftp.stat(self._path(path)).st_mode)
        except FileNotFoundError:
            return False

    def put(self, blob: Blob, source: Path, *, own: bool = False) -> None:
        """Upload a file."""
        with source.open("rb") as stream:
            self._upload(blob_path(blob.digest), stream, blob.size)

    def write(self, path: str, data: bytes, refers: Sequence[Blob] = ()) -> None:
        """Write a file."""
        self._upload(path, io.BytesIO(data), len(data))

    def _upload(self, path: str, stream: IO[bytes], size: int) -> None:
        folder, name = posixpath.split(path)
        part = posixpath.join(folder, f"{HIDDEN}{name[:100]}.{secrets.token_hex(8)}")
        with self._connection() as target:
            target.make_folders(self._path(folder))
            try:
                sftp = target.sftp
                with sftp.open(self._path(part), "wb") as upload:
                    upload.set_pipelined(True)
                    while data := stream.read(1 << 15):
                        upload.write(data)
                if sftp.stat(self._path(part)).st_size != size:
                    raise OSError(f"{path}: the server has not stored all of it")
                sftp.posix_rename(self._path(part), self._path(path))
            except BaseException:
                with contextlib.suppress(Exception):
                    target.remove(part)
                raise

    def listed(self, folder: str) -> Mapping[str, Found]:
        """Return the files below a folder."""
        return {name: one for name, one in self._all(folder).items() if not _is_hidden(name)}

    def unfinished(self) -> Sequence[Unfinished]:
        """Return the files with hidden names."""
        every = {f"{folder}/{name}": one for folder in FOLDERS for name, one in self._all(folder).items()}
        return [
            Unfinished(name, one.size, one.time, partial(self.remove, name))
            for name, one in every.items()
            if _is_hidden(name)
        ]

    def _all(self, folder: str) -> dict[str, Found]:
        found, waiting = {}, [""]
        with self._connection() as target:
            while waiting:
                inner = waiting.pop()
                try:
                    entries = target.sftp.listdir_attr(self._path(f"{folder}/{inner}"))
                except FileNotFoundError:
                    continue
                for entry in entries:
                    name = f"{inner}{entry.filename}"
                    if stat.S_ISDIR(entry.st_mode):
                        waiting.append(f"{name}/")
                    else:
                        found[name] = Found(entry.st_size, entry.st_mtime)
        return found

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self._connection() as target:
            target.remove(path)

    def close(self) -> None:
        """End all connections that no thread uses."""
        with self._lock:
            free, self._free = self._free, []
        for target in free:
            target.close()


def _is_hidden(path: str) -> bool:
    return path.rpartition("/")[2].startswith(HIDDEN)


def sftp_place(url: str, ssh_config: Path | None) -> SftpPlace:
    """Return the place of an address ``sftp://USER@HOST:PORT/FOLDER``."""
    return SftpPlace(SshHost.of(url, TargetOptions(ssh_config)))
