"""Machines of `make install-matrix`: what all rows share.

Each machine has one more disk that no answer names. At the end of a row, nothing may have been written to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.install_media import SLOW
from stagewright.media.direct import DirectBoot, direct_boot
from stagewright.media.payload import IMAGE
from stagewright.netboot.boot_commands import GATEWAY
from stagewright.netboot.serve import FileServer
from stagewright.testing.machine import Machine
from stagewright.testing.setup import MachineSetup
from stagewright.testing.timeline import Timeline
from stagewright.vm import accel
from stagewright.vm.disks import disk_of
from stagewright.vm.machine_spec import FirmwareKind, MachineSpec

PROGRAM = "stagewright-install"
FILE = "/run/answers"
"""Place of the answers in a machine."""

GUIDED, LIST = PROGRAM, f"{PROGRAM} --list"
INSTALL, DRY_RUN = f"{PROGRAM} --answers {FILE}", f"{PROGRAM} --answers {FILE} --dry-run"
COMMANDS = (GUIDED, LIST, DRY_RUN, INSTALL)
"""Commands of docs/install.md on a live system, as rows type them."""

PASSWORD, PASSPHRASE = "install", "correct horse"
_HASH = "$6$stagewright$PpIEAUkJ5lZNggA0OoSLVz/WIlrrJhGWRTiJ9gWzpOC1u/GXkPtPT4rKUFDOvFEjd4OK4/BsVuz9TBMdwbijG0"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7cM0nT1rZ5Yx8bCq0m3fV2sQ9dKp4uLwEo6hRtGyXa admin@example.org"
LOCALE = "de_DE.UTF-8"

TARGET, OTHER = "2G,serial=target", "64M,serial=other"
"""The disk that is installed on, and one that is not named."""

LIMIT = 3600.0
"""Seconds for a row."""

_DISK = "/dev/disk/by-id/virtio-target"


@dataclass(frozen=True)
class Media:
    """Results of the build: the ISO with its kernel, the set for the network, and a tarball of the system."""

    iso: Path
    net: Path
    tarball: Path
    direct: DirectBoot

    @classmethod
    def of(cls, out: Path, work: Path) -> Media:
        """Return the media in the folder of a project's results. ``work`` is an empty folder for copies of kernels."""
        (iso,) = out.glob("*.iso")
        (tarball,) = out.glob("*.tar.zst")
        return cls(iso, out / "net", tarball, direct_boot(iso, work))

    @property
    def squashfs(self) -> Path:
        """The image of the system."""
        return self.net / IMAGE


@dataclass(frozen=True)
class Lab:
    """The media, an empty folder for the row ``name``, and the store for what a row builds (None for the default)."""

    media: Media
    folder: Path
    name: str
    store: Path | None = None

    @contextlib.contextmanager
    def machine(
        self,
        *disks: str,
        direct: bool = True,
        medium: bool = True,
        append: str = "",
        firmware: FirmwareKind = "uefi",
        memory: int = 768,
        network: Sequence[str] | None = (),
        tpm: bool = False,
        cpus: int = 2,
        extra: Sequence[str] = (),
    ) -> Iterator[Machine]:
        """Yield a machine with the ISO, these disks, and one that is not named. Check that one at the end.

        ``direct`` starts the kernel without firmware's boot menu, with ``append`` to its arguments. Without ``medium``,
        the machine has no ISO. ``network`` are options of QEMU's user network, None for no network.
        """
        spec = MachineSpec(
            firmware=firmware,
            memory=memory,
            cpus=cpus,
            network="none" if network is None else "user",
            user_network=tuple(network or ()),
            empty_disks=tuple(disk_of(words, number) for number, words in enumerate((*disks, OTHER), 1)),
            tpm=tpm,
            cdrom=self.media.iso if medium else None,
            kernel=self.media.direct.copies[0] if direct else None,
            initrd=self.media.direct.copies[1] if direct else None,
            append=f"{self.media.direct.arguments} {append}".strip() if direct else "",
            extra=tuple(extra),
        )
        setup = MachineSetup(spec, accel.of(spec.architecture))
        machine = Machine(setup, Timeline(LIMIT, on_step=self.say), self.folder)
        try:
            yield machine
        finally:
            machine.stop()
        assert not written(machine.disks[-1]), "something was written to the disk that was not named"

    def say(self, text: str) -> None:
        """Report what the row does now."""
        print(f"{self.name}: {text}", flush=True)

    @contextlib.contextmanager
    def site(self) -> Iterator[tuple[Path, str]]:
        """Serve a new folder over HTTP. Yield it, and its address for machines."""
        folder = self.folder / "site"
        folder.mkdir(parents=True)
        with FileServer(folder) as server:
            yield folder, server.url(GATEWAY)


def answers(**values: str | None) -> str:
    """Return the text of a file of answers. ``values`` replace those of all rows; None removes one."""
    lines: dict[str, str | None] = {
        "disk": _DISK,
        "size": "2G",
        "hostname": "box",
        "locale": LOCALE,
        "timezone": "UTC",
        "network": "dhcp",
        "root-password": _HASH,
        "root-ssh-key": KEY,
        "user": "alice",
        "user.alice.groups": "users",
        "kernel-arguments": SLOW,
        **{key.replace("_", "-"): value for key, value in values.items()},
    }
    return "".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None)


def put(machine: Machine, text: str, path: str = FILE) -> None:
    """Write a text into a file of the machine."""
    machine.succeed(f"cat > {path} << 'END'\n{text}END")


def install(machine: Machine, text: str, *words: str, status: int = 0, expect: str = "") -> str:
    """Install by answers. Return what the program printed, which must have the expected pattern."""
    put(machine, text)
    return machine.check(" ".join([INSTALL, *words, "2>&1"]), status=status, expect=expect)


def wait_for_result(machine: Machine) -> None:
    """Wait for the end of an unattended installation, which prints its result and then ends the machine."""
    machine.wait_for_console_text(rf"{PROGRAM}: result: done")
    with machine.step("wait until the machine is off"):
        assert machine.console.wait_end(machine.timeline.left()), "the machine does not end"
    machine.stop()


def check_installed(machine: Machine, *more: tuple[str, str], fstype: str = "ext4", groups: str = "users") -> None:
    """Log in to what was installed, look for everything that the answers said, and shut down.

    ``more`` are further commands, each with a pattern that it must print.
    """
    machine.login("root", PASSWORD)
    with machine.subtest("installed"):
        machine.check("cat /proc/mounts", expect=rf"^\S+ / {fstype} rw")
        machine.check("cat /proc/sys/kernel/hostname /etc/hostname", expect=r"^box\s+box$")
        machine.check("cat /etc/locale.conf", expect=f"^LANG={LOCALE}$")
        machine.check("cat /root/.ssh/authorized_keys", expect=f"^{re.escape(KEY)}")
        machine.check("id alice", expect=groups)
        machine.check("wc -c < /etc/machine-id", expect="^33$")
        machine.wait_until_succeeds("ip -4 -brief address show scope global | grep -q 10.0.2.15")
        for command, pattern in more:
            machine.check(command, expect=pattern)
    machine.shutdown()


def written(disk: Path) -> bool:
    """Return True if a machine wrote anything to a disk that was made empty."""
    words = ["qemu-img", "map", "--output=json", str(disk)]
    parts = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return any(part["data"] for part in parts)


def sha256(path: Path) -> str:
    """Return the digest of a file as answers have it."""
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
