"""Contents of a file system of an image: files, device nodes, identifiers and a time."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from stagewright.lazy_dataclass import dataclass
from stagewright.root.devices import DeviceNode

_NAMES = uuid.UUID("7d0f9c39-93cf-4dc5-a9a2-9a0a5e40a5b2")  # a random constant


def identifier(disk: str, what: str) -> str:
    """Return a GUID that is constant for a disk with this name and ``what``."""
    return str(uuid.uuid5(_NAMES, f"{disk}\0{what}"))


@dataclass(frozen=True)
class Contents:
    """Contents of a file system. ``tree`` is None for an empty one, ``devices`` have paths below ``tree``.

    ``name`` is that of the partition on ``disk``: identifiers are computed from both. ``epoch`` is the time stamp in
    seconds since 1970, ``cores`` the number of processors to use.
    """

    disk: str
    name: str
    tree: Path | None
    devices: Sequence[DeviceNode]
    subvolumes: Sequence[str]
    epoch: int
    cores: int
    log: IO[str]

    @property
    def label(self) -> str:
        """The label of the file system, at most 12 characters, which XFS allows."""
        return self.name[:12]

    @property
    def uuid(self) -> str:
        """The UUID of the file system."""
        return self.identifier("file system")

    def identifier(self, what: str) -> str:
        """Return a further identifier of this file system."""
        return identifier(self.disk, what if self.name == "root" else f"{self.name} {what}")
