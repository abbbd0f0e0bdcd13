"""Places that a release is read from: a folder, or a web server. Nothing in them is trusted."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from stagewright.confined import CHUNK, Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.web import (
    HEADERS,
    send_request,
    translated_errors,
    trusted_certificates,
    without_password,
)
from stagewright.untrusted import TEXT_LIMIT

if TYPE_CHECKING:
    import httpx

TIMEOUT = 60.0
"""Seconds without data after which a web server is given up."""


class ReleaseFiles(Protocol):
    """A folder with files, on disk or elsewhere."""

    @property
    def name(self) -> str:
        """The folder for messages."""

    def below(self, folder: str) -> ReleaseFiles:
        """Return a folder below this one."""

    def stream(self, path: str) -> Generator[bytes, None, None]:
        """Yield the content of a file. Raises: NOT_FOUND if it does not exist."""

    def names(self) -> list[str] | None:
        """Return the paths of all entries below the folder but folders; None if that is unknown."""


@dataclass(frozen=True)
class FolderFiles:
    """Files of a folder. No link is followed."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder for messages."""
        return str(self.folder)

    def below(self, folder: str) -> FolderFiles:
        """Return a folder below this one."""
        return FolderFiles(self.folder / folder)

    def stream(self, path: str) -> Generator[bytes, None, None]:
        """Yield the content of a file. Raises: NOT_FOUND if it does not exist or is not a regular file."""
        try:
            with Tree(self.folder, links=False).open(path) as stream:
                while chunk := stream.read(CHUNK):
                    yield chunk
        except OSError as error:
            if error.errno == errno.EIO:
                raise
            what = f"{path}: not found" if error.errno == errno.ENOENT else f"{path}: not a file ({error.strerror})"
            raise StagewrightError(Reason.NOT_FOUND, what) from error

    def names(self) -> list[str]:
        """Return the paths of all entries below the folder but folders."""
        tree, found, waiting = Tree(self.folder, links=False), [], [""]
        while waiting:
            folder = waiting.pop()
            for entry in tree.names(folder or "."):
                path = f"{folder}{entry}"
                if tree.is_dir(path):
                    waiting.append(f"{path}/")
                else:
                    found.append(path)
        return sorted(found)


@dataclass(frozen=True)
class WebFiles:
    """Files of a folder of a web server, whose content cannot be listed."""

    url: str
    client: httpx.Client

    @property
    def name(self) -> str:
        """The folder for messages, without a password."""
        return without_password(self.url)

    def below(self, folder: str) -> WebFiles:
        """Return a folder below this one."""
        return WebFiles(f"{self.url}/{quote(folder)}", self.client)

    def stream(self, path: str) -> Generator[bytes, None, None]:
        """Yield the content of a file. Raises: NOT_FOUND, or the reason of another failure."""
        url = f"{self.url}/{quote(path)}"
        with translated_errors(url), contextlib.closing(send_request(self.client, url, {})) as response:
            if response.status_code in (404, 410):
                raise StagewrightError(Reason.NOT_FOUND, f"{path}: not found ({without_password(url)})")
            if response.status_code != 200:
                what = f"{without_password(url)}: the server answered {response.status_code}"
                raise StagewrightError(Reason.FETCH_FAILED, what)
            yield from response.iter_bytes(CHUNK)

    def names(self) -> None:
        """Return None: a web server does not list its files."""


def read_small(files: ReleaseFiles, path: str, limit: int = TEXT_LIMIT) -> bytes:
    """Return the content of a file. Raises: WRONG_LENGTH if it is longer than ``limit`` bytes."""
    data = bytearray()
    with contextlib.closing(files.stream(path)) as chunks:
        for chunk in chunks:
            data += chunk
            if len(data) > limit:
                raise StagewrightError(Reason.WRONG_LENGTH, f"{path}: longer than {limit} bytes")
    return bytes(data)


@contextlib.contextmanager
def open_files(place: str) -> Iterator[ReleaseFiles]:
    """Open a folder, by its path, or by its address on a web server (``http://``, ``https://``)."""
    if not place.startswith(("http://", "https://")):
        yield FolderFiles(Path(place))
        return
    import httpx  # noqa: PLC0415  slow to import, and folders do not need it

    timeout = httpx.Timeout(TIMEOUT)
    with httpx.Client(headers=HEADERS, verify=trusted_certificates(), timeout=timeout) as client:
        yield WebFiles(place.rstrip("/"), client)
