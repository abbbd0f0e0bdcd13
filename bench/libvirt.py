"""A libvirt for tests: that of the system, or that of a user. It is separate from the libvirt of this computer.

Daemon, clients and machines run in a PID namespace, which ends with the daemon, also if the test is killed. All files
of the daemon are in a temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
"""The user of a libvirt that is not that of the system."""

LIMIT = 60.0
"""Seconds for the start of the daemon."""

PROGRAMS = ("libvirtd", "virsh", "virt-install", "qemu-system-x86_64", "unshare", "nsenter")

PLACES = ("etc/libvirt", "run/libvirt", "var/lib/libvirt", "var/cache/libvirt", "var/log/libvirt")
"""Folders of libvirt for the system."""

SETTINGS = """security_driver = "none"
stdio_handler = "file"
namespaces = []
cgroup_controllers = []
"""

QEMU_USER = "libvirt-qemu"
"""The user of the machines of the system, without which libvirt does not start. libvirt-daemon-system makes it."""

REAPER = ("sh", "-c", '"$@" & wait', "sh")
"""Process 1 of the namespace: a shell that waits also reaps machines that end. libvirt waits long for zombies."""

DAEMON = """set -e
for place in {places}; do
	mkdir -p "$0/system/$place"
	mount --bind "$0/system/$place" "/$place"
done
mkdir -p /var/lib/libvirt/boot # virt-install copies kernels to it
for file in passwd group; do
	if ! getent "$file" {user} > /dev/null; then
		cp "/etc/$file" "$0/system/$file"
		mount --bind "$0/system/$file" "/etc/$file"
	fi
done
getent group {user} > /dev/null || echo {user}:x:64055: >> /etc/group
getent passwd {user} > /dev/null || echo {user}:x:64055:64055::/:/usr/sbin/nologin >> /etc/passwd
exec "$@"
"""


def lacking() -> str:
    """Return why there is no libvirt for tests on this computer; "" if there is one."""
    missing = [name for name in PROGRAMS if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if missing:
        return f"{', '.join(missing)} not installed (packages/install --all installs them)"
    return "" if os.geteuid() == 0 else "needs root for namespaces"


@dataclass(frozen=True)
class Libvirt:
    """A running libvirt. ``folder`` is a folder that all users can enter, ``pid`` a process in its namespaces."""

    folder: Path
    is_system: bool
    pid: int

    @property
    def address(self) -> str:
        """The address for clients."""
        return f"qemu:///{'system' if self.is_system else 'session'}"

    def command(self, words: Sequence[str | Path]) -> list[str]:
        """Return the command line that runs a client as the user of this libvirt."""
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--"]
        variables = ["env", "-i", *_variables(self.folder), f"LIBVIRT_DEFAULT_URI={self.address}", "TERM=dumb"]
        return [*enter, *_user(self.is_system), *variables, *map(str, words)]

    def run(self, *words: str | Path) -> str:
        """Run a client and return what it prints. Raises CalledProcessError."""
        done = subprocess.run(self.command(words), capture_output=True, text=True, check=False, timeout=10 * LIMIT)
        if done.returncode:
            raise AssertionError(f"{words}: {done.stdout}{done.stderr}")
        return done.stdout

    def state(self, name: str) -> str:
        """Return the state of a domain: ``running``, ``shut off``, or another word; "" if there is none."""
        done = subprocess.run(self.command(["virsh", "domstate", name]), capture_output=True, text=True, check=False)
        return done.stdout.strip()


@contextlib.contextmanager
def libvirt(*, system: bool) -> Iterator[Libvirt]:
    """Run a libvirt with its files in a temporary folder, whose path is short, as those of sockets have to be."""
    folder = Path(tempfile.mkdtemp(prefix="lv-", dir="/var/tmp"))
    folder.chmod(0o755)
    log = folder / "libvirtd.log"
    settings = folder / ("system/etc/libvirt" if system else "conf/libvirt")
    for name in (settings, folder / "run", folder / "home", folder / "cache", folder / "data"):
        name.mkdir(parents=True, exist_ok=True)
    (settings / "qemu.conf").write_text(SETTINGS, encoding="utf-8")
    made = [path for path in (Path("/", place) for place in PLACES) if system and not path.exists()]
    for path in made:
        path.mkdir(parents=True)
    if not system:
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", folder], check=True)
    inner = ["sh", "-c", DAEMON.format(places=" ".join(PLACES), user=QEMU_USER), str(folder)] if system else []
    words = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    words += [*inner, *_user(system), "env", "-i", *_variables(folder), *REAPER]
    words += ["libvirtd", "--pid-file", str(folder / "run/libvirtd.pid")]
    try:
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(log.open("wb"))
            process = stack.enter_context(subprocess.Popen(words, stdout=stream, stderr=stream))
            stack.callback(process.kill)
            found = Libvirt(folder, system, _child(process))
            stack.callback(_end, found.pid)
            _wait(found, process, log)
            yield found
    finally:
        shutil.rmtree(folder)
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def _end(pid: int) -> None:
    """Kill process 1 of a namespace, with which all others end."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _user(system: bool) -> list[str]:
    # a change of the user clears the signal of unshare --kill-child (prctl(2))
    return (
        [] if system else ["setpriv", "--pdeathsig", "KILL", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    )


def _variables(folder: Path) -> list[str]:
    found = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": folder / "home"}
    found |= {"XDG_RUNTIME_DIR": folder / "run", "XDG_CONFIG_HOME": folder / "conf"}
    found |= {"XDG_CACHE_HOME": folder / "cache", "XDG_DATA_HOME": folder / "data"}
    return [*(f"{name}={value}" for name, value in found.items()), "LIBVIRT_AUTOSTART=0"]


def _child(process: subprocess.Popen[bytes]) -> int:
    """Return the first process in the namespaces, which unshare(1) has started."""
    end = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < end:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        if children:
            return int(children[0])
        time.sleep(0.05)
    raise AssertionError("unshare did not start a process")


def _wait(found: Libvirt, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the daemon answers."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")
        done = subprocess.run(found.command(["virsh", "list", "--all"]), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.2)
    raise AssertionError(
        f"libvirtd does not answer: {done.stderr}\n{log.read_text(encoding='utf-8', errors='replace')}"
    )
