"""``make disk-matrix``: start a disk image of every layout and format of examples/disks, on a larger disk.

It writes a table in docs/disks.md. Each machine starts twice, with a reboot in between: the first start grows the last
partition and its file system, the second one must have the same machine id. Two images started once each must
have different ids. QEMU gets formats that it cannot extend as qcow2, converted by qemu-img. Two images have systemd:
one gets its key for SSH by cloud-init, and one asks for the passphrase of its root.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.matrix import ROOT, copy
from bench.table import line, write
from bench.vault_disk import PASSPHRASE, STAGE, add_vault
from stagewright.errors import StagewrightError
from stagewright.testing.machine import Machine
from stagewright.testing.setup import MachineSetup
from stagewright.testing.timeline import Timeline
from stagewright.vm import accel
from stagewright.vm.machine_spec import MachineSpec
from stagewright.vm.ssh import KeyBy

EXAMPLE, PAGE = ROOT / "examples" / "disks", ROOT / "docs" / "disks.md"
COLUMNS = ("stage", "format", "firmware", "file", "result", "login after")
GROWN = 4 << 30
"""The size of the disks, in bytes."""

LIMIT = 1800.0
"""Seconds for both starts of a disk."""

_ID = r"id=([0-9a-f]{32})"
_ASKED = r"[Pp]lease enter passphrase"

_VAULT = """
root = "console"
boot = "trixie-boot"
timeout = 1
kernel_arguments.console = ["ttyS0,115200"]
kernel_arguments.extra = ["no_timer_check", "systemd.default_device_timeout_sec=600"]
"""

Way = Literal["console", "passphrase", "cloud-init"]
"""How root logs in: on the console, also after the passphrase of the root was typed, or with a key of cloud-init."""


@dataclass(frozen=True)
class Trial:
    """A start of an image: its stage in the example, the firmware, the mount point that grows and its file system."""

    stage: str
    firmware: Literal["uefi", "bios"] = "uefi"
    grows: str = "/"
    file_system: str = "ext4"
    way: Way = "console"

    def run(self, image: Path, work: Path) -> tuple[float, list[str]]:
        """Start a machine from a larger copy of an image, and again.

        Return the seconds from the first start to the login, and the machine's id at both starts. Raises an error of
        :class:`Machine` if something is not as expected.
        """
        work.mkdir(parents=True, exist_ok=True)
        enlarge(image, work / "grown.qcow2")
        spec = MachineSpec(
            firmware=self.firmware,
            memory=1024 if self.way == "console" else 2048,
            network="user" if self.way == "cloud-init" else "none",
            disk=work / "grown.qcow2",
        )
        setup = MachineSetup(spec, accel.probe(), key_by=KeyBy.CLOUD_INIT)
        with Machine(setup, Timeline(LIMIT, on_step=self._say), work / "machine") as machine:
            begin = time.monotonic()
            self._log_in(machine)
            seconds = time.monotonic() - begin
            ids = [self._look(machine)]
            machine.reboot()
            self._log_in(machine)
            ids.append(self._look(machine))
            machine.shutdown()
        return seconds, ids

    def _log_in(self, machine: Machine) -> None:
        if self.way == "cloud-init":
            machine.ssh("true")
            return
        if self.way == "passphrase":
            machine.wait_for_console_text(_ASKED)
            machine.type(f"{PASSPHRASE}\n")
        machine.login("root")

    def _look(self, machine: Machine) -> str:
        """Check that the file system is there and has grown. Return the machine's id."""
        ask = machine.ssh if self.way == "cloud-init" else machine.check
        ask(f"grep ' {self.grows} ' /proc/mounts", expect=self.file_system)
        ask(f"set -- $(df -kP {self.grows} | tail -1); test $2 -gt 1000000 && echo size=$2", expect="size=[0-9]{7}")
        (found,) = re.findall(_ID, ask("echo id=$(cat /etc/machine-id)", expect=_ID))
        return str(found)

    def _say(self, text: str) -> None:
        print(f"{self.stage}: {text}", flush=True)


TRIALS = (
    Trial("ext4"),
    Trial("xfs", file_system="xfs"),
    Trial("btrfs", file_system="btrfs"),
    Trial("hybrid"),
    Trial("hybrid", "bios"),
    Trial("verity", grows="/var"),
    Trial("ab", grows="/var"),
    Trial("own", grows="/home", file_system="xfs"),
    *(Trial(kind) for kind in ("raw", "vmdk", "vhd", "vdi")),
    Trial("ova", "bios"),
    Trial(STAGE, way="passphrase"),
    Trial("cloud", way="cloud-init"),
)


def enlarge(image: Path, target: Path) -> None:
    """Write a qcow2 layer of :data:`GROWN` bytes over an image of any format."""
    kind = {".img": "raw", ".qcow2": "qcow2"}.get(image.suffix)
    if kind is None:
        image, kind = _as_qcow2(image, target.parent), "qcow2"
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image), "-F", kind, str(target), str(GROWN)]
    subprocess.run(words, check=True)


def _as_qcow2(image: Path, folder: Path) -> Path:
    if image.suffix == ".ova":
        with tarfile.open(image) as archive:
            name = next(name for name in archive.getnames() if name.endswith(".vmdk"))
            archive.extract(name, folder, filter="data")
        image = folder / name
    target = folder / "converted.qcow2"
    kind = {".vhd": "vpc"}.get(image.suffix, image.suffix[1:])
    subprocess.run(["qemu-img", "convert", "-f", kind, "-O", "qcow2", str(image), str(target)], check=True)
    return target


def row(trial: Trial, image: Path, work: Path) -> tuple[list[str], str, bool]:
    """Run a trial. Return its row of the table, the machine's id, and True if it passed."""
    cells = [trial.stage, image.suffix[1:], trial.firmware, f"{image.stat().st_size >> 20} MiB"]
    try:
        seconds, found = trial.run(image, work)
    except StagewrightError as error:
        print(error, error.detail, sep="\n", file=sys.stderr)
        return [*cells, "FAILED", "-"], "", False
    kept = len(set(found)) == 1
    cells += ["starts, grows, keeps its id" if kept else "FAILED: another id at the second start", f"{seconds:.0f} s"]
    return cells, found[0], kept


def main() -> int:
    """Build the images, start them and write the table; return 1 if a start was not as expected."""
    parser = argparse.ArgumentParser(prog="python -m bench.disk_matrix", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright"), help="kept between runs")
    parser.add_argument("--built", type=Path, help="a folder with finished images, to build nothing")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        help="a stage of the example; can be repeated, and the rows of others stay",
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    options = parser.parse_args()
    chosen = [trial for trial in TRIALS if not options.only or trial.stage in options.only]
    rows: list[list[str]] = []
    passed = True
    ids: list[str] = []
    with tempfile.TemporaryDirectory(prefix="disks-", dir="/var/tmp") as name:
        out = options.built or build(Path(name) / "project", options.store, sorted({one.stage for one in chosen}))
        for trial in chosen:
            (image,) = (path for path in out.glob(f"disks-{trial.stage}-*") if path.suffix in _SUFFIXES)
            work = Path(name) / f"{trial.stage}-{trial.firmware}"
            cells, found, good = row(trial, image, work)
            shutil.rmtree(work, ignore_errors=True)
            print(line(cells), end="", flush=True)
            rows, passed, ids = [*rows, cells], passed and good, [*ids, found]
    different = len(set(ids)) == len(ids)
    if not different:
        print("machines have the same id", file=sys.stderr)
    write(options.page, "disk-matrix", COLUMNS, rows, part_of=3 if options.only else 0)
    return 0 if passed and different else 1


_SUFFIXES = {".img", ".qcow2", ".vmdk", ".vhd", ".vdi", ".ova"}


def build(project: Path, store: Path, stages: list[str]) -> Path:
    """Build stages of the example, and return the folder with the images."""
    copy(EXAMPLE, project)
    add_vault(project, _VAULT)
    words = [sys.executable, "-m", "stagewright", "-C", str(project), "--store", str(store), "build", *stages]
    subprocess.run(words, check=True)
    return project / "out"


if __name__ == "__main__":
    sys.exit(main())
