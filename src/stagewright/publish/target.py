"""Places to publish releases to. Every target has the same few operations; the publisher decides on their order."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stagewright.errors import Reason, StagewrightError


@dataclass(frozen=True)
class TargetOptions:
    """Settings of connections: a configuration for ssh (default: the user's), and the address of an S3 service."""

    ssh_config: Path | None = None
    endpoint: str | None = None


class Target(Protocol):
    """A folder with releases, on another machine or here.

    Paths are relative to it. An operation that fails raises :class:`StagewrightError` or OSError; after :meth:`reopen`
    it can be tried again.
    """

    @property
    def renames(self) -> bool:
        """True if a folder can be renamed at once."""

    @property
    def name(self) -> str:
        """The target for messages, without a password."""

    def entries(self) -> list[str]:
        """Return the names in the folder itself, hidden ones too; none if it does not exist."""

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Return the sizes of all files below a folder in bytes, by path; none if it does not exist."""

    def read(self, path: str) -> Generator[bytes, None, None]:
        """Yield the content of a file. Raises: NOT_FOUND if it does not exist."""

    @property
    def batch(self) -> int:
        """The number of files that one call of :meth:`put` should upload."""

    def put(self, folder: str, source: Path, names: Sequence[str]) -> None:
        """Upload files below ``source`` to a folder. A part of a file may stay under a hidden name, to go on there."""

    def write(self, path: str, data: bytes) -> None:
        """Write a small file. Readers see the old or the new content."""

    def rename(self, old: str, new: str) -> None:
        """Rename a folder."""

    def link(self, path: str, target: str) -> bool:
        """Make or replace a symbolic link. Return False if the target has no links."""

    def remove(self, path: str) -> None:
        """Remove a file or a folder with everything in it, if it exists."""

    def digests(self, folder: str, names: Sequence[str]) -> Mapping[str, str]:
        """Return the SHA256 of files in a folder, read from where they are stored; without those that are missing."""

    def reopen(self) -> None:
        """Make a new connection, after a failure."""

    def close(self) -> None:
        """End the connection."""


def not_found(path: str, name: str) -> StagewrightError:
    """Return the error for a file that a target does not have."""
    return StagewrightError(Reason.NOT_FOUND, f"{path}: not found ({name})")


def missing_package(package: str, extra: str = "publish") -> StagewrightError:
    """Return the error for a Python package that comes with an extra of Stagewright."""
    what = f"{package}: the Python package is not installed"
    return StagewrightError(Reason.MISSING_TOOL, what, hint=f"pip install 'stagewright[{extra}]'")
