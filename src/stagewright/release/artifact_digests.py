"""Digests of artifacts, computed while they are written, and the files that list them::

    <artifact>.DIGESTS    BLAKE2B and SHA512 of the artifact and its companion files
    <artifact>.sha256     SHA256 of the artifact

The format is that of Gentoo's release builder (catalyst/base/genbase.py): a comment with the name of the digest, then a
line for b2sum(1), sha512sum(1) or sha256sum(1).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stagewright.lazy_dataclass import dataclass

LISTED = ("blake2b", "sha512")
"""The algorithms of DIGESTS, in this order."""

ALGORITHMS = (*LISTED, "sha256")

CHUNK = 1 << 20
"""Size of a block that is read and digested (bytes)."""

AHEAD = 8
"""Blocks that wait to be digested, so that a slow algorithm does not stop the others."""

_SMALL = 1 << 14  # for smaller blocks (bytes), a thread is slower


@dataclass(frozen=True)
class FileDigests:
    """The digests of one file, in hexadecimal by algorithm, and its size in bytes."""

    file: str
    size: int
    digests: Mapping[str, str]

    def lines(self, *algorithms: str) -> str:
        """Return the lines of the file in DIGESTS or .sha256."""
        return "".join(f"# {name.upper()} HASH\n{self.digests[name]}  {self.file}\n" for name in algorithms)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data for a manifest."""
        return asdict(self)


def write_digests(artifact: Path, files: Sequence[FileDigests]) -> None:
    """Write ``.DIGESTS`` of the files, and ``.sha256`` of the first one, which is the artifact."""
    companion(artifact, "DIGESTS").write_text("".join(file.lines(*LISTED) for file in files), encoding="utf-8")
    companion(artifact, "sha256").write_text(files[0].lines("sha256"), encoding="utf-8")


def companion(artifact: Path, suffix: str) -> Path:
    """Return the path of a companion file of an artifact: ``<artifact>.<suffix>``."""
    return artifact.with_name(f"{artifact.name}.{suffix}")


def digest_artifact(
    path: Path, algorithms: Sequence[str] = ALGORITHMS, known: Mapping[str, str] | None = None
) -> FileDigests:
    """Return the digests of an existing file. It is read at most once, and only for those that are not ``known``."""
    known = {name: digest for name, digest in (known or {}).items() if digest}
    missing = [name for name in algorithms if name not in known]
    if not missing:
        return FileDigests(path.name, path.stat().st_size, {name: known[name] for name in algorithms})
    found = _read(path, missing)
    return replace(found, digests={name: known.get(name) or found.digests[name] for name in algorithms})


def _read(path: Path, algorithms: Sequence[str]) -> FileDigests:
    with path.open("rb") as stream, Digester(algorithms) as digester:
        while chunk := stream.read(CHUNK):
            digester.update(chunk)
    return digester.result(path.name)


class Digester:
    """The digests of a stream, each computed in its own thread (hashlib releases the interpreter lock).

    The threads run behind the caller, by up to :data:`AHEAD` blocks.
    """

    def __init__(self, algorithms: Sequence[str] = ALGORITHMS) -> None:
        self._hashes = {name: hashlib.new(name) for name in algorithms}
        self._threads = [(one.update, ThreadPoolExecutor(1)) for one in self._hashes.values()]
        self._waiting: deque[list[Future[None]]] = deque()
        self.size = 0
        """Number of bytes so far."""

    def update(self, data: bytes) -> None:
        """Add the next bytes."""
        self.size += len(data)
        if len(data) < _SMALL:
            self._wait(0)
            for one in self._hashes.values():
                one.update(data)
        else:
            self._waiting.append([thread.submit(add, data) for add, thread in self._threads])
            self._wait(AHEAD)

    def _wait(self, most: int) -> None:
        """Wait until at most so many blocks are left to be digested."""
        while len(self._waiting) > most:
            for one in self._waiting.popleft():
                one.result()

    def result(self, file: str) -> FileDigests:
        """Return the digests of all bytes so far, under the name of a file."""
        self._wait(0)
        return FileDigests(file, self.size, {name: one.hexdigest() for name, one in self._hashes.items()})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, thread in self._threads:
            thread.shutdown()


class DigestedFile(Digester):
    """A new file with digests of everything written to it, as a context manager."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._stream = path.open("xb")

    def write(self, data: bytes) -> None:
        """Write and digest bytes."""
        self._stream.write(data)
        self.update(data)

    def flush(self) -> None:
        """Flush the file."""
        self._stream.flush()

    @property
    def digests(self) -> FileDigests:
        """The digests of everything written so far."""
        return self.result(self._path.name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._stream.close()
