"""Object stores as targets: S3, and every other service that fsspec knows.

An object is written at once, but a folder cannot be renamed: the lists of digests, by which users find a version, are
written last.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.web import without_password
from stagewright.publish.folder import CHUNK, read_digests
from stagewright.publish.target import TargetOptions, missing_package, not_found


def open_service(url: str, endpoint: str | None = None, extra: str = "publish") -> tuple[Any, str]:
    """Return the file system of fsspec for an address, and the folder in it.

    ``endpoint`` is the address of the service, for S3 elsewhere than at Amazon. ``webdav://HOST/FOLDER`` is a server
    with HTTPS, ``webdav+http://`` one without encryption. Raises: USAGE for an unknown address, MISSING_TOOL if a
    package is missing, which comes with an ``extra``.
    """
    try:
        import fsspec  # noqa: PLC0415  optional
    except ImportError as error:
        raise missing_package("fsspec", extra) from error
    more = {"client_kwargs": {"endpoint_url": endpoint}} if endpoint else {}
    try:
        if url.lower().startswith(_WEBDAV):
            return _webdav(url)
        system, prefix = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **more)
    except ImportError as error:
        raise missing_package(str(error), extra) from error
    except ValueError as error:
        raise StagewrightError(Reason.USAGE, f"{without_password(url)}: {error}") from error
    return system, str(prefix).rstrip("/")


_WEBDAV = ("webdav://", "webdav+http://")


def _webdav(url: str) -> tuple[Any, str]:
    """Return the file system of a WebDAV server, and the folder in it. Raises ImportError."""
    from webdav4.fsspec import WebdavFileSystem  # noqa: PLC0415  optional

    class Webdav(WebdavFileSystem):  # type: ignore[misc]  # without types
        def mv(self, path1: str, path2: str, **_: Any) -> None:
            """Rename at once, and replace what is there. The library would copy, and fail if something is there."""
            self.client.move(path1, path2, overwrite=True)

    parts = urlsplit(url)
    scheme = "http" if parts.scheme == "webdav+http" else "https"
    system = Webdav(f"{scheme}://{parts.netloc}", skip_instance_cache=True)
    return system, unquote(parts.path).strip("/")


@dataclass(frozen=True)
class ObjectTarget:
    """A prefix of a bucket. Keys for the service come from its usual variables and files."""

    url: str
    system: Any
    prefix: str
    renames: bool = False
    batch: int = 1

    @classmethod
    def open(cls, url: str, options: TargetOptions) -> ObjectTarget:
        """Open the service of an address, such as ``s3://bucket/folder``. Raises: USAGE for an unknown one."""
        return cls(url, *open_service(url, options.endpoint))

    @property
    def name(self) -> str:
        """The address without a password."""
        return without_password(self.url)

    def _path(self, path: str) -> str:
        return f"{self.prefix}/{path}" if path else self.prefix

    def entries(self) -> list[str]:
        """Return the names in the folder; none if it does not exist."""
        self.system.invalidate_cache()
        try:
            found = self.system.ls(self.prefix, detail=False)
        except FileNotFoundError:
            return []
        return sorted(name for name in (str(one).rstrip("/").rpartition("/")[2] for one in found) if name)

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Return the sizes of all files below a folder in bytes, by path."""
        self.system.invalidate_cache()
        base = self._path(folder)
        try:
            found: Mapping[str, Any] = self.system.find(base, detail=True)
        except FileNotFoundError:
            return {}
        return {path.removeprefix(f"{base}/"): int(info["size"]) for path, info in found.items()}

    def read(self, path: str) -> Generator[bytes, None, None]:
        """Yield the content of an object."""
        try:
            with self.system.open(self._path(path), "rb") as stream:
                while chunk := stream.read(CHUNK):
                    yield chunk
        except FileNotFoundError as error:
            raise not_found(path, self.name) from error

    def put(self, folder: str, source: Path, names: Sequence[str]) -> None:
        """Upload objects, large ones in parts."""
        for name in names:
            self.system.put_file(str(source / name), self._path(f"{folder}/{name}"))

    def write(self, path: str, data: bytes) -> None:
        """Write an object."""
        self.system.pipe_file(self._path(path), data)

    def rename(self, old: str, new: str) -> None:
        """Not possible: see ``renames``."""
        raise NotImplementedError

    def link(self, path: str, target: str) -> bool:
        """Return False: there are no links."""
        return False

    def remove(self, path: str) -> None:
        """Remove an object, or all objects below a folder."""
        self.system.invalidate_cache()
        try:
            self.system.rm(self._path(path), recursive=True)
        except FileNotFoundError:
            return

    def digests(self, folder: str, names: Sequence[str]) -> Mapping[str, str]:
        """Return the SHA256 of objects, which are read back."""
        self.system.invalidate_cache()
        return read_digests(self, folder, names)

    def reopen(self) -> None:
        """Forget what is known of the service."""
        self.system.invalidate_cache()

    def close(self) -> None:
        """Do nothing."""
