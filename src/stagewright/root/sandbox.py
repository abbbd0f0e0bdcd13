"""The sandbox: bubblewrap, the same for every command that runs inside a root.

A private minimal /dev (never the host's: a layout package once wrote into the host's devtmpfs that way), an own /proc
whose settings of the machine are read-only, tmpfs on /run and /tmp, own pid, ipc and uts namespaces, and no network
unless a fetch step asks for it. See bwrap(1).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.run import PATH

RESOLV_CONF = Path("/etc/resolv.conf")

DROPPED = ("CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_BOOT", "CAP_SYS_TIME")
"""What no build needs of root's capabilities (capabilities(7)); with the first one it could undo the binds."""

OF_THE_HOST = ("/proc/sys", "/proc/sysrq-trigger")
"""Parts of /proc through which the machine can be changed; uid 0 may write there, whatever capabilities it dropped."""

MOUNT_POINTS = ("/dev", "/proc", "/run", "/tmp")
"""Folders of a root that the sandbox covers with its own."""


@dataclass(frozen=True)
class Bind:
    """A folder or file of the host that shows up inside a root."""

    source: Path
    target: str
    writable: bool = False

    def arguments(self) -> list[str]:
        """The bind as arguments for bwrap(1)."""
        return ["--bind" if self.writable else "--ro-bind", os.fspath(self.source), self.target]


def sandbox(
    root: Path,
    command: Sequence[str],
    *,
    binds: Sequence[Bind] = (),
    env: Mapping[str, str] | None = None,
    network: bool = False,
    hostname: str = "stagewright",
    terminal: bool = False,
) -> list[str]:
    """The command line that runs ``command`` inside ``root``. ``terminal`` leaves the caller's terminal usable."""
    words = ["bwrap", "--bind", os.fspath(root), "/", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/dev/shm"]
    words += ["--proc", "/proc"]
    words += [word for name in OF_THE_HOST for word in ("--ro-bind-try", name, name)]
    words += ["--tmpfs", "/run", "--perms", "1777", "--tmpfs", "/tmp"]
    words += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", hostname, "--die-with-parent"]
    words += [word for name in DROPPED for word in ("--cap-drop", name)]
    words += [] if network else ["--unshare-net"]
    words += [] if terminal else ["--new-session"]
    if network and RESOLV_CONF.exists():
        words += Bind(RESOLV_CONF.resolve(), "/etc/resolv.conf").arguments()
    for bind in binds:
        words += bind.arguments()
    variables = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "TZ": "UTC", "TERM": "dumb", **(env or {})}
    words += ["--clearenv", "--chdir", "/"]
    for name, value in variables.items():
        words += ["--setenv", name, value]
    return [*words, "--", *command]


def unpacker(target: Path, inside: str, command: Sequence[str], *, binds: Sequence[Bind] = ()) -> list[str]:
    """A program of the host's that unpacks what strangers made: all but the target is read-only, and no network."""
    words = ["bwrap", "--ro-bind", "/", "/", "--tmpfs", "/tmp"]
    for bind in (*binds, Bind(target, inside, writable=True)):
        words += bind.arguments()
    return [*words, "--unshare-net", "--unshare-pid", "--die-with-parent", "--", *command]
