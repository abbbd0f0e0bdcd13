"""A root for attacks from inside the sandbox: it has this machine's programs and a Python interpreter, read-only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.root.root import Root
from stagewright.root.sandbox import Bind

PYTHON = os.path.realpath(sys.executable)

OLD_DROPPED = ("CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_BOOT", "CAP_SYS_TIME")

SYSCALL = """
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def syscall(number, *args):
    result = libc.syscall(ctypes.c_long(number), *args)
    return errno.errorcode[ctypes.get_errno()] if result < 0 else result
"""
"""Beginning of scripts that make system calls by their numbers. A failed call returns the name of its error."""


@dataclass(frozen=True)
class Box:
    """A root in a folder. Its commands see ``binds`` in addition."""

    path: Path
    binds: Sequence[Bind] = field(default=())

    @property
    def root(self) -> Root:
        return Root(self.path, self.path, binds=(*programs(), *self.binds))

    def old(self, *words: str, network: bool = False, drop: Sequence[str] = OLD_DROPPED) -> list[str]:
        """The command line of bubblewrap as Stagewright 1 wrote it, before it was hardened."""
        path = os.fspath(self.path)
        line = ["bwrap", "--bind", path, "/", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/dev/shm"]
        line += ["--proc", "/proc"]
        line += [word for name in ("sys", "sysrq-trigger") for word in ("--ro-bind-try", *[f"/proc/{name}"] * 2)]
        line += ["--tmpfs", "/run", "--perms", "1777", "--tmpfs", "/tmp"]
        line += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "stagewright", "--die-with-parent"]
        line += [word for name in drop for word in ("--cap-drop", name)]
        line += [] if network else ["--unshare-net"]
        line += ["--new-session"]
        line += [word for bind in (*programs(), *self.binds) for word in bind.arguments()]
        return [*line, "--clearenv", "--setenv", "PATH", "/usr/sbin:/usr/bin:/sbin:/bin", "--chdir", "/", "--", *words]

    def python_old(self, script: str, *arguments: str, network: bool = False) -> str:
        """Run a Python script in the old sandbox and return its output."""
        words = self.old(PYTHON, "-c", SYSCALL + script, *arguments, network=network)
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        return done.stdout.strip()

    def python(self, script: str, *arguments: str, network: bool = False) -> str:
        """Run a Python script in the sandbox and return its output."""
        return self.root.run(PYTHON, "-c", SYSCALL + script, *arguments, network=network).stdout.strip()


def programs() -> list[Bind]:
    """The mounts that let programs of this machine run."""
    places = [Path(name) for name in ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin")]
    places += [Path(sys.base_prefix)] if not sys.base_prefix.startswith("/usr") else []
    return [Bind(place.resolve(), str(place)) for place in places if place.is_dir()]


def make_box(folder: Path, binds: Sequence[Bind] = ()) -> Box:
    """Make a root in a folder."""
    root = folder / "root"
    for name in ("dev", "proc", "run", "tmp", "etc", "var"):
        (root / name).mkdir(parents=True)
    return Box(root, tuple(binds))
