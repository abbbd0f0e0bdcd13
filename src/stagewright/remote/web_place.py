"""A web server as a place: only for reading, by ranges of bytes."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.web import HEADERS, send_request, translated_errors, trusted_certificates, without_password
from stagewright.remote.place import CHUNK, Blob, Found, Unfinished, missing

if TYPE_CHECKING:
    import httpx

TIMEOUT = 30.0
"""Seconds to wait for a connection, and for the next bytes."""


@dataclass(frozen=True, eq=False)
class WebPlace:
    """A folder of a web server."""

    url: str
    writable: bool = False
    lists: bool = False

    @property
    def name(self) -> str:
        """The address without a password."""
        return without_password(self.url)

    @functools.cached_property
    def _client(self) -> httpx.Client:
        import httpx  # noqa: PLC0415  slow to import, and only downloads need it

        context = trusted_certificates() if self.url.startswith("https") else False
        return httpx.Client(verify=context, timeout=TIMEOUT)

    def read(self, path: str, start: int, size: int) -> Iterator[bytes]:
        """Yield bytes of a file. A server without ranges sends all, of which the rest is skipped."""
        url = f"{self.url.rstrip('/')}/{path}"
        wanted = {"Range": f"bytes={start}-{start + size - 1}"}
        with translated_errors(url):
            response = send_request(self._client, url, {**HEADERS, **wanted})
            try:
                if response.status_code in (404, 410):
                    raise missing(self, path)
                if response.status_code == 416:
                    return
                if response.status_code not in (200, 206):
                    what = f"{self.name}: {path}: status {response.status_code}"
                    raise StagewrightError(Reason.FETCH_FAILED, what)
                skip = start if response.status_code == 200 else 0
                left = size
                for data in response.iter_raw(CHUNK):
                    part = data[skip:] if skip < len(data) else b""
                    skip = max(0, skip - len(data))
                    if response.status_code == 200:  # without ranges, more follows
                        part = part[:left]
                    left -= len(part)
                    if part:
                        yield part
                    if left <= 0 and response.status_code == 200:
                        return
            finally:
                response.close()

    def has(self, path: str) -> bool:
        """Return True if the server has a file."""
        try:
            for _ in self.read(path, 0, 1):
                break
        except StagewrightError as error:
            if error.reason is Reason.NOT_FOUND:
                return False
            raise
        return True

    def put(self, blob: Blob, source: Path, *, own: bool = False) -> None:
        """Not possible."""
        raise self._refused()

    def write(self, path: str, data: bytes, refers: Sequence[Blob] = ()) -> None:
        """Not possible."""
        raise self._refused()

    def remove(self, path: str) -> None:
        """Not possible."""
        raise self._refused()

    def listed(self, folder: str) -> Mapping[str, Found]:
        """Not possible: web servers have no list of files that programs can rely on."""
        what = f"{self.name}: a web server has no list of its files"
        raise StagewrightError(Reason.NOT_SUPPORTED, what, hint="name the folder that the server shows, or a key")

    def unfinished(self) -> Sequence[Unfinished]:
        """Return nothing: nothing is uploaded to a web server."""
        return ()

    def _refused(self) -> StagewrightError:
        what = f"{self.name}: a web server does not accept uploads"
        return StagewrightError(Reason.USAGE, what, hint="name a folder, sftp://, s3:// or oci://")

    def close(self) -> None:
        """End all connections."""
        if "_client" in self.__dict__:
            self._client.close()
