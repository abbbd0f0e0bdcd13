"""Sandboxes of programs of this machine that download files: for a new root, and for parts of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stagewright.root.network import Service, fetch_network
from stagewright.root.sandbox import PROGRAMS, Sandboxed, command_limits, proc_mounts, program_mounts
from stagewright.root.syscalls import filter_file

PLACE = "/stagewright"
"""Folder inside of the sandboxes of :func:`fetcher` and :func:`bootstrapper`, whose new root is its folder ``tree``.

A package source can be a folder of a mounted disk, for example of /mnt or /media, which must stay visible.
"""

_NODES = ("full", "null", "random", "tty", "urandom", "zero")
_SETTINGS = ("/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/passwd", "/etc/ssl/certs")
"""Files that programs read before they connect: users, names of computers, certificates."""

_APT = (
    *("/etc/apt/apt.conf", "/etc/apt/apt.conf.d", "/etc/apt/keyrings", "/etc/apt/trusted.gpg"),
    "/etc/apt/trusted.gpg.d",
)
"""Settings of apt(8), and keys of package sources."""


@contextmanager
def fetcher(
    folder: Path,
    command: Sequence[str],
    *,
    reads: Sequence[Path] = (),
    services: Sequence[Service] = (),
    mounts: Sequence[str] = (),
) -> Iterator[Sandboxed]:
    """Yield the command of a program of this machine that downloads files, and may run what it downloads.

    The command can be run only once.

    It sees ``folder`` at :data:`PLACE`, the programs of this machine, and ``reads``. It has the ids, rights and filter
    of a command in a root, and the network of a fetch step. ``mounts`` are more arguments of bwrap(1).
    """
    shown = [*map(Path, _SETTINGS), *reads]
    words = ["bwrap", "--perms", "1777", "--tmpfs", "/tmp", *_folders([*shown, Path("/etc/resolv.conf")])]
    words += [*program_mounts(), "--dev", "/dev", *proc_mounts("/proc")]
    for path in shown:
        words += ["--ro-bind-try", os.fspath(path), os.fspath(path)]
    words += ["--bind", os.fspath(folder), PLACE, *mounts]
    words += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "stagewright"]
    words += ["--new-session", "--die-with-parent", "--chdir", "/"]
    with filter_file() as system_calls, fetch_network(services) as network:
        words += ["--perms", "0644", "--ro-bind-data", str(network.resolv_conf), "/etc/resolv.conf"]
        enter = ["nsenter", f"--net={network.namespace}", "--"]
        yield Sandboxed(
            [*enter, *words, *command_limits(system_calls), "--", *command], (system_calls, network.resolv_conf)
        )


@contextmanager
def bootstrapper(
    folder: Path, command: Sequence[str], *, reads: Sequence[Path] = (), services: Sequence[Service] = ()
) -> Iterator[Sandboxed]:
    """Yield the command that fills the new root ``folder/tree``, in the sandbox of :func:`fetcher`.

    The command runs programs of the root in chroot(2). A program that escapes from it has no more rights than a command
    in a root. The sandbox shows the settings of apt. It
    mounts the nodes in ``tree/dev``, and a proc(5) at ``tree/dev/.proc``: tar(1) cannot unpack ./proc over it.
    """
    tree = f"{PLACE}/tree"
    mounts = ["--dir", tree, "--dir", f"{tree}/dev", *proc_mounts(f"{tree}/dev/.proc")]
    for name in _NODES:
        mounts += ["--dev-bind", f"/dev/{name}", f"{tree}/dev/{name}"]
    with fetcher(folder, command, reads=[*map(Path, _APT), *reads], services=services, mounts=mounts) as sandboxed:
        yield sandboxed


def _folders(paths: Sequence[Path]) -> list[str]:
    """Return the arguments of bwrap(1) that make the folders above paths. Otherwise it makes them for root alone."""
    folders = [folder for path in paths for folder in reversed(path.parents) if folder not in (Path("/"), Path("/usr"))]
    return [word for folder in dict.fromkeys(folders) if not _is_program(folder) for word in ("--dir", str(folder))]


def _is_program(path: Path) -> bool:
    return any(path.is_relative_to(name) for name in PROGRAMS)
