"""Identifiers of an ISO, computed from its content: two media differ in them, and the same content has the same ones.

They do not depend on the key of the build, which names this version of Stagewright and its tools
(docs/decisions/047-identifiers-from-the-content.md).
"""

from __future__ import annotations

import datetime
import hashlib
import uuid
from collections.abc import Mapping

from stagewright.lazy_dataclass import dataclass

_NAMES = uuid.UUID("4d1d9b4e-7a55-4f0b-9d0c-0b6a5f6a3c11")  # a random constant


@dataclass(frozen=True)
class Identity:
    """Identifiers of a medium with this digest, in hexadecimal digits."""

    digest: str

    @classmethod
    def of(cls, facts: Mapping[str, str]) -> Identity:
        """Return the identifiers of a medium with these facts, such as digests of files by their path."""
        text = "".join(f"{name}\0{value}\0" for name, value in sorted(facts.items()))
        return cls(hashlib.sha256(text.encode()).hexdigest())

    @property
    def guid(self) -> str:
        """GUID of the disk. xorriso counts on from it for the GUIDs of the partitions."""
        return str(uuid.uuid5(_NAMES, self.digest))

    @property
    def volume(self) -> str:
        """Number of the FAT file system: eight hexadecimal digits."""
        return self.digest[:8]

    def date(self, epoch: int) -> str:
        """Return the hour of a time stamp, with minutes, seconds and hundredths of these identifiers.

        Linux and GRUB take the UUID of an ISO file system from this date, which is its only identifier (ECMA-119, 8.4).
        """
        hour = datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y%m%d%H")
        seconds, hundredths = divmod(int(self.digest, 16) % 360_000, 100)
        return f"{hour}{seconds // 60:02}{seconds % 60:02}{hundredths:02}"
