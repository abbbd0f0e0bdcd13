"""A remote store: a place, with who must have signed its results.

:meth:`RemoteStore.push` gives results of a store to the place, :meth:`RemoteStore.pull` takes them. Both go on where
they were cut: blobs that are there are not sent again, and parts that have arrived are kept in the cache of the store.
"""

from __future__ import annotations

import contextlib
import functools
import json
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener, NodeNotice
from stagewright.graph.node import Yields
from stagewright.project.remotes import Remote
from stagewright.publish.attempts import Attempts, Retries
from stagewright.remote.file_places import FolderPlace, FsspecPlace
from stagewright.remote.place import Blob, Found, Place, Unfinished, read_document
from stagewright.remote.registry_place import RegistryPlace
from stagewright.remote.sftp_place import sftp_place
from stagewright.remote.statement import Policy, Statement, result_path
from stagewright.remote.web_place import WebPlace

T = TypeVar("T")

LEASE = 3600.0
"""Seconds for which a lease counts. It is renewed four times in this time, as long as its program runs and the remote
can be reached."""

USED_AFTER = 3600.0
"""Seconds after which a new use of a result is noted again."""

ALTERED = frozenset(
    {
        Reason.DIGEST_MISMATCH,
        Reason.WRONG_LENGTH,
        Reason.WRONG_NAME,
        Reason.UNSAFE_ARCHIVE,
        Reason.BAD_LISTING,
        Reason.BAD_ARCHIVE,
        Reason.FETCH_CUT,
    }
)
"""Reasons for data that is not what its name says: the remote has wrong data, or the transfer has altered it."""

AGAIN = 2
"""The number of times that altered data is fetched again."""

RETRIES = Retries((1.0, 5.0, 15.0))


def _lease_of(keys: Sequence[str]) -> bytes:
    """Return the document of a lease that counts from now on."""
    return json.dumps({"until": time.time() + LEASE, "keys": sorted(keys)}).encode()


@dataclass(frozen=True, eq=False)
class RemoteStore:
    """A remote store by its name in the project. ``emit`` gets notices and progress."""

    name: str
    place: Place
    policy: Policy = field(default_factory=Policy)
    emit: Listener = lambda _: None
    connections: int = 8
    read_only: bool = False
    retries: Retries = RETRIES

    @classmethod
    def of(cls, name: str, remote: Remote, folder: Path, emit: Listener = lambda _: None) -> RemoteStore:
        """Return the remote of a project in a folder. Nothing is connected yet. Raises: USAGE for a wrong address."""
        keyring = Path(remote.keyring).expanduser() if remote.keyring else None
        policy = Policy(tuple(remote.signers), keyring, remote.sign)
        place = open_place(remote, folder)
        retries = Retries(()) if isinstance(place, FolderPlace) else RETRIES
        return cls(name, place, policy, emit, remote.connections, remote.read_only, retries)

    @property
    def writable(self) -> bool:
        """True if results can be pushed to it."""
        return self.place.writable and not self.read_only

    @functools.cached_property
    def attempts(self) -> Attempts:
        """The way in which operations are tried again."""
        return Attempts(self.place.name, self.emit, self.retries)

    def statement(self, yields: Yields, key: str) -> Statement | None:
        """Return the verified statement about a result; None if the remote does not have it.

        Raises the failure of the place, or what :meth:`Policy.read` does.
        """
        path = result_path(yields, key)
        try:
            document = self.attempts("look", lambda: read_document(self.place, path))
        except StagewrightError as error:
            if error.reason is Reason.NOT_FOUND:
                return None
            raise
        return self.policy.read(document, yields, key, f"{self.place.name}: {path}")

    def again(self, action: Callable[[], T], reasons: Collection[Reason] = ALTERED) -> T:
        """Return what an action returns. It is repeated with a notice if it fails for one of some reasons.

        Without more, these are those of altered data. Raises the last failure.
        """
        for _ in range(AGAIN):
            try:
                return action()
            except StagewrightError as error:
                if error.reason not in reasons:
                    raise
                self.emit(NodeNotice(node=self.name, text=f"{error.message}; it is fetched again"))
        return action()

    def has(self, yields: Yields, key: str) -> bool:
        """Return True if the remote has a result. Its signature is not looked at."""
        return self.exists(result_path(yields, key))

    def results(self) -> list[tuple[Yields, str]]:
        """Return all results, sorted."""
        return [(yields, key) for yields in Yields for key in sorted(self.listed(f"results/{yields.folder}"))]

    def listed(self, folder: str) -> Mapping[str, Found]:
        """Return the documents or blobs below a folder."""
        return self.attempts("list", lambda: self.place.listed(folder))

    def unfinished(self) -> Sequence[Unfinished]:
        """Return the uploads that are not complete."""
        return self.attempts("list", self.place.unfinished)

    def exists(self, path: str) -> bool:
        """Return True if the remote has a document or a blob."""
        return self.attempts("look", lambda: self.place.has(path))

    def write(self, path: str, data: bytes, refers: Sequence[Blob] = ()) -> None:
        """Write a document."""
        self.attempts("push", lambda: self.place.write(path, data, refers))

    def put(self, blob: Blob, source: Path, *, own: bool = False) -> None:
        """Upload a blob. ``own``: the caller will remove the source, and nothing writes to it."""
        self.attempts("push", lambda: self.place.put(blob, source, own=own))

    def remove(self, path: str) -> None:
        """Remove a document or a blob, if it exists."""
        self.attempts("remove", lambda: self.place.remove(path))

    def used(self, yields: Yields, key: str) -> None:
        """Note that a result was used, if the place is writable and has no newer note."""
        if not self.writable or not self.place.lists:
            return
        path = f"used/{yields.folder}/{key}"
        with contextlib.suppress(StagewrightError, OSError):
            try:
                last = float(read_document(self.place, path, 64))
            except (StagewrightError, ValueError):
                last = 0.0
            if time.time() - last > USED_AFTER:
                self.place.write(path, str(int(time.time())).encode())

    @contextlib.contextmanager
    def lease(self, keys: Sequence[str]) -> Iterator[None]:
        """Keep results of the remote from removal for the length of a block, as far as it is writable."""
        path = f"leases/{secrets.token_hex(8)}"
        if not self.writable or not keys:
            yield
            return
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(path, keys, ended), name=f"lease {path}", daemon=True)
        self.write(path, _lease_of(keys))
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            with contextlib.suppress(StagewrightError, OSError):
                self.place.remove(path)

    def _renew(self, path: str, keys: Sequence[str], ended: threading.Event) -> None:
        while not ended.wait(LEASE / 4):
            with contextlib.suppress(StagewrightError, OSError):
                self.place.write(path, _lease_of(keys))

    def each(self, what: str, action: Callable[[T], object], items: Sequence[T]) -> None:
        """Do something for each item, with several connections. The first failure ends it, and is raised."""
        with ThreadPoolExecutor(max(1, min(self.connections, len(items)))) as pool:
            waiting = [pool.submit(self.attempts, what, functools.partial(action, item)) for item in items]
            try:
                for one in waiting:
                    one.result()
            except BaseException:
                for one in waiting:
                    one.cancel()
                raise

    def close(self) -> None:
        """End all connections."""
        self.place.close()


def open_place(remote: Remote, folder: Path) -> Place:
    """Return the place of a remote. Relative folders are below the folder of the project."""
    url = remote.url
    scheme, separator, _ = url.partition("://")
    match scheme.lower() if separator else "":
        case "":
            return FolderPlace(folder / Path(url).expanduser())
        case "file":
            return FolderPlace(Path(url.partition("://")[2]))
        case "sftp":
            return sftp_place(url, Path(remote.ssh_config).expanduser() if remote.ssh_config else None)
        case "http" | "https":
            return WebPlace(url)
        case "oci":
            return RegistryPlace.of(url)
    return FsspecPlace.open(url, remote.endpoint)
