"""Mount points of the sandbox, resolved inside the root.

bubblewrap makes missing mount points before it changes its root directory, and it follows links of the root on the way.
In bubblewrap 0.8 a link to /oldroot leads to this machine. So Stagewright resolves each target as a command inside the
root does, makes it, and gives bubblewrap a path without links.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import field
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass

_MOST_LINKS = 40
"""Number of links that the kernel follows in one path, see path_resolution(7)."""


@dataclass(frozen=True)
class _Mount:
    """A mount at a path without links. ``source`` is its folder or file on this machine, None for a new file system."""

    target: str
    source: Path | None
    writable: bool = False

    def holds(self, path: str) -> bool:
        return path == self.target or path.startswith(self.target.rstrip("/") + "/")

    def outside(self, path: str) -> Path | None:
        """Return the place on this machine of a path below the mount, if it has one."""
        return self.source / os.path.relpath(path, self.target) if self.source else None


@dataclass
class MountPoints:
    """The mounts of a sandbox so far, in their order. The first one is the root."""

    root: Path
    _mounts: list[_Mount] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._mounts.append(_Mount("/", self.root, writable=True))

    def add(self, target: str, source: Path | None = None, *, writable: bool = False) -> str:
        """Add a mount, make its mount point, and return the path of the mount point without links.

        Without ``source`` it is a new file system, such as a tmpfs. Raises: BUILD_FAILED if the path leads nowhere.
        """
        path = self._resolve(target)
        if path == "/":
            raise _unusable(target, "it leads to /")
        try:
            self._make(path, folder=source is None or source.is_dir())
        except OSError as error:
            raise _unusable(target, error.strerror or str(error)) from error
        self._mounts.append(_Mount(path, source, writable))
        return path

    def _resolve(self, target: str) -> str:
        """Return a path as a command inside sees it, without links."""
        done: list[str] = []
        rest = deque(target.split("/"))
        links = 0
        while rest:
            name = rest.popleft()
            if name == "..":
                done = done[:-1]
            elif name not in ("", "."):
                link = self._link("/".join(["", *done, name]))
                if link is None:
                    done.append(name)
                    continue
                links += 1
                if links > _MOST_LINKS:
                    raise _unusable(target, "too many links")
                done = [] if link.startswith("/") else done
                rest.extendleft(reversed(link.split("/")))
        return "/" + "/".join(done)

    def _link(self, path: str) -> str | None:
        """Return where a link leads; None if the path, whose parents are not links, is not a link either."""
        mount = self._mount_of(path)
        place = mount.outside(path)
        if place is None or path == mount.target:
            return None
        try:
            return os.readlink(place)  # noqa: PTH115  a text, not a path of this machine
        except OSError:
            return None

    def _make(self, path: str, *, folder: bool) -> None:
        """Make a mount point and its parents. bubblewrap makes those in new file systems."""
        mount = self._mount_of(path)
        place = mount.outside(path)
        if place is None or path == mount.target or not mount.writable:
            return
        if folder:
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
        elif not os.path.lexists(place):
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            place.touch(mode=0o644, exist_ok=False)

    def _mount_of(self, path: str) -> _Mount:
        """Return the mount that a path is on: the last one hides those before it."""
        return next(mount for mount in reversed(self._mounts) if mount.holds(path))


def _unusable(target: str, why: str) -> StagewrightError:
    what = f"{target} of the root cannot be a mount point: {why}"
    return StagewrightError(
        Reason.BUILD_FAILED, what, hint=f"make {target} a plain file or folder, or remove it from the root"
    )
