"""Device nodes of a root. A build has no right to make them, so its layers do not have them: records stand for them.

Archives of a root get them back from the records. Containers and the sandbox have a separate /dev.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from stagewright.chroot import inside


class DeviceNode(BaseModel):
    """A device node: its absolute path, ``c`` or ``b``, permission bits, owner, group, and the device's numbers."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    path: str
    type: Literal["c", "b"]
    mode: int
    uid: int
    gid: int
    major: int
    minor: int

    def tar_header(self, epoch: int) -> bytes:
        """Return the member of a tarball."""
        import tarfile  # noqa: PLC0415  a plan reads no tarballs

        info = tarfile.TarInfo(f".{self.path}")
        info.type = tarfile.CHRTYPE if self.type == "c" else tarfile.BLKTYPE
        info.mode, info.uid, info.gid, info.mtime = self.mode, self.uid, self.gid, epoch
        info.devmajor, info.devminor = self.major, self.minor
        return info.tobuf(tarfile.PAX_FORMAT)

    def listing(self, epoch: int) -> bytes:
        """Return the line of the node in a listing of tar(1)."""
        bits = "".join(letter if self.mode >> 8 - at & 1 else "-" for at, letter in enumerate("rwxrwxrwx"))
        date = time.strftime("%Y-%m-%d %H:%M", time.gmtime(epoch))
        return f"{self.type}{bits} {self.uid}/{self.gid} {self.major},{self.minor} {date} .{self.path}\n".encode()

    def pseudo(self) -> str:
        """Return the node as a pseudo file of mksquashfs(1)."""
        path = self.path.replace(" ", "\\ ")
        return f"{path} {self.type} {self.mode:o} {self.uid} {self.gid} {self.major} {self.minor}"


def missing_devices(root: Path, layers: Sequence[Sequence[DeviceNode]]) -> list[DeviceNode]:
    """Return the recorded nodes of a root, sorted by path.

    ``layers`` are the records of its layers, topmost first. A node is left out if the root has another file in its
    place, or does not have its folder.
    """
    found: dict[str, DeviceNode] = {}
    for records in layers:
        for node in records:
            found.setdefault(node.path, node)
    return inside(root, _possible, [found[path] for path in sorted(found)])


def _possible(nodes: Sequence[DeviceNode]) -> list[DeviceNode]:
    return [
        node for node in nodes if not os.path.lexists(node.path) and _is_folder(node.path.rpartition("/")[0] or "/")
    ]


def _is_folder(path: str) -> bool:
    return Path(path).is_dir() and not Path(path).is_symlink()
