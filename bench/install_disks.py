"""Rows of `make install-matrix` about disks that must stay as they are, that vanish or are full, and power cuts."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.install_lab import (
    INSTALL,
    PROGRAM,
    TARGET,
    Lab,
    answers,
    check_installed,
    install,
    put,
    sha256,
    wait_for_result,
)
from stagewright.testing.machine import Machine

LAYOUT = "/run/layout"
_PARTS = {
    "10-esp.conf": "Type=esp\nFormat=vfat\nSizeMinBytes=40M\nSizeMaxBytes=40M",
    "50-root.conf": "Type=root\nFormat=ext4\nSizeMinBytes=48M",
}
"""A layout that small disks have room for: their content can be compared in seconds."""

SETTLED = 8
"""Seconds after which Linux has written everything that it writes by itself."""

WRONG = [
    "96M,serial=mounted",
    "96M,serial=raid1",
    "96M,serial=raid2",
    "96M,serial=volume",
    "96M,serial=swap",
    "48M,serial=small",
    "96M,serial=twin",
    "96M,serial=twin",
    "96M,serial=resized",
    "96M,serial=looped",
]
"""Disks that must not be written to. They are vda, vdb and so on."""

USES = (
    "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/vda && mkdir /run/m && mount /dev/vda /run/m",
    "modprobe raid1 && mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --assume-clean --bitmap=none "
    "/dev/vdb /dev/vdc",
    "pvcreate -q /dev/vdd && vgcreate -q group /dev/vdd && lvcreate -q -an -Zn -L 32M -n volume group && vgchange -ay",
    "mkswap -q /dev/vde && swapon /dev/vde",
    "losetup /dev/loop7 /dev/vdj",
)
"""Commands that begin to use the disks."""

REFUSED = (
    ({"disk": "mounted"}, "mounted at /run/m"),
    ({"disk": "raid1"}, "held by md0"),
    ({"disk": "volume"}, "held by dm-[0-9] group-volume"),
    ({"disk": "swap"}, r"used as swap \(/dev/vde\)"),
    ({"disk": "small", "size": "48M"}, "too small"),
    ({"disk": "twin"}, "several disks have this name"),
    ({"disk": "resized", "size": "100M"}, "has 100663296 bytes, the answers say 100M"),
    ({"disk": "looped"}, "used by loop7"),
    ({"disk": "live", "size": ""}, "the running system is on it"),
    ({"disk": "missing"}, "not found"),
)
"""Answers, and what the program says. Each time it ends with exit code 3."""

STOPPED = (
    ("mdadm --stop /dev/md0", {"disk": "raid1"}, "is a member of a RAID array"),
    ("vgchange -an group", {"disk": "volume"}, "is a physical volume of LVM"),
)
"""The same after the end of the use."""


def wrong_disks(lab: Lab) -> None:
    """Name disks that must not be written to. No byte of any disk changes."""
    iso = str(lab.media.iso).replace(",", ",,")
    live = ["-drive", f"if=none,id=live,format=raw,snapshot=on,file={iso}"]
    live += ["-device", "virtio-blk-pci,drive=live,serial=live"]
    size = str(lab.media.iso.stat().st_size)
    with lab.machine(*WRONG, medium=False, extra=live) as machine:
        machine.wait_for_prompt()
        _small_layout(machine)
        machine.succeed(*USES)
        _refuse(machine, REFUSED, size)
        for command, case, said in STOPPED:
            machine.succeed(command)
            _refuse(machine, [(case, said)], size)


def _refuse(machine: Machine, cases: Sequence[tuple[dict[str, str], str]], live: str) -> None:
    """Try to install by each of the answers. Check that it is refused, and that no disk changes."""
    machine.succeed(f"sync; sleep {SETTLED}")
    before = _contents(machine)
    put(machine, answers(disk=None, size=None, layout=LAYOUT, overwrite="yes"))
    for case, said in cases:
        named = f"--set disk=/dev/disk/by-id/virtio-{case['disk']} --set size={case.get('size', '96M') or live}"
        machine.check(f"{INSTALL} {named} 2>&1", status=3, expect=said)
    assert _contents(machine) == before, "a disk has changed"


def _contents(machine: Machine) -> str:
    """Return the sectors that were written, and the digest of what is on each disk."""
    counters = "cut -d ' ' -f 1-30 /sys/block/vd?/stat | awk '{ print $7 }'"
    digests = "for disk in /dev/vd[a-j]; do dd if=$disk bs=1M iflag=direct status=none | sha256sum; done"
    return machine.succeed(counters, digests)


def _small_layout(machine: Machine) -> None:
    machine.succeed(f"mkdir -p {LAYOUT}")
    for name, text in _PARTS.items():
        put(machine, f"[Partition]\n{text}\n", f"{LAYOUT}/{name}")


def vanishing(lab: Lab) -> None:
    """Remove the disk while the system is copied. After a restart with the disk, the installation goes on."""
    target = answers(disk="/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_target")
    with lab.machine(f"{TARGET},bus=scsi") as machine:
        machine.wait_for_prompt()
        put(machine, target)
        machine.succeed(f"({INSTALL} > /run/said 2>&1; echo $? > /run/code) > /dev/null 2>&1 &")
        machine.wait_until_succeeds("grep -q '^step copy' /run/said")
        machine.unplug_disk(1)
        machine.wait_until_succeeds("grep . /run/code")
        machine.check("cat /run/said /run/code", expect=r"vanished[\s\S]*hint: attach it, then --resume\s+1$")
        machine.crash()
        machine.start()
        machine.wait_for_prompt()
        install(machine, target, status=1, expect="an installation was interrupted after the step")
        install(machine, target, "--resume", expect="step table: whole already")
        machine.reboot(from_disk=True)
        check_installed(machine)


def full(lab: Lab) -> None:
    """Install more than the disk has room for: known before, and found in the middle. Then clear the disk."""
    small = answers(size="160M", layout=LAYOUT)
    tree = lab.folder / "tree"
    (tree / "etc").mkdir(parents=True)
    for name in ("passwd", "group", "shadow"):
        (tree / "etc" / name).write_text("root:x:0:0::/root:/bin/sh\n", encoding="utf-8")
    with (tree / "zeros").open("wb") as stream:
        stream.truncate(512 << 20)
    with lab.site() as (site, url), lab.machine("160M,serial=target") as machine:
        tarball = site / "large.tar.zst"
        subprocess.run(["tar", "-C", tree, "--zstd", "-cf", tarball, "."], check=True)
        machine.wait_for_prompt()
        _small_layout(machine)
        install(machine, small, status=1, expect="the system needs .*the partition for / has")
        machine.check("cat /sys/block/vda/stat | awk '{ print $7 }'", expect="^0$")
        large = answers(size="160M", layout=LAYOUT, source=f"{url}/{tarball.name}", checksum=sha256(tarball))
        install(machine, large, status=1, expect=r"the target is full[\s\S]*hint: .*--undo")
        machine.check(f"{INSTALL} --undo", expect="cleared the interrupted installation")
        machine.check("wipefs --noheadings /dev/vda | wc -l", expect="^0$")
        machine.check(f"{INSTALL} --undo 2>&1", status=1, expect="no interrupted installation")


CUTS = 10
_LONGEST = 45.0
"""Seconds after the first step within which a power cut comes."""

_STEP = rf"{PROGRAM}.*step table"
_UNDONE = (3, 7)
"""Numbers of cuts after which the installation is cleared, and begins again."""


def power_cuts(lab: Lab) -> None:
    """Cut the power at ten random moments of an unattended installation. It goes on at each start, or is cleared."""
    with lab.site() as (site, url):
        served = site / "answers"
        served.write_text(answers(finish="poweroff"), encoding="utf-8")
        # Linux patches its code at each start; where another processor runs it meanwhile, QEMU's emulation may fail.
        with lab.machine(TARGET, append=f"stagewright.install={url}/answers", cpus=1) as machine:
            for number in range(1, CUTS + 1):
                machine.start()
                _cut(lab, machine, number)
                if number in _UNDONE:
                    _undo(machine, served)
            machine.start()
            wait_for_result(machine)
            machine.start(from_disk=True)
            check_installed(machine)


def _cut(lab: Lab, machine: Machine, number: int) -> None:
    """Switch the machine off at a random moment after the first step. A complete disk is made empty for the next."""
    machine.wait_for_console_text(_STEP)
    delay = random.uniform(0, _LONGEST)
    with machine.step(f"cut {number}: power off {delay:.1f} s after the first step"):
        ended = machine.console.wait_end(delay)
    machine.crash()
    found = state_of(machine.disks[0], lab.folder / "raw.img")
    lab.say(f"cut {number}: the disk {found}")
    if ended:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", machine.disks[0], "2G"], check=True)


def _undo(machine: Machine, served: Path) -> None:
    """Start the medium without its answers, clear the disk, and switch off again."""
    text = served.read_text(encoding="utf-8")
    served.unlink()
    machine.start()
    machine.wait_for_prompt()
    put(machine, text)
    machine.check(f"{INSTALL} --undo", expect="cleared the interrupted installation")
    machine.check("wipefs --noheadings /dev/vda | wc -l", expect="^0$")
    machine.crash()
    served.write_text(text, encoding="utf-8")


def state_of(disk: Path, raw: Path) -> str:
    """Return what a machine that starts from the disk would find. Raises an error if it would find half a system."""
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    with raw.open("rb") as stream:
        stream.seek(512 << 10)
        text = stream.read(512).decode(errors="replace")
    (step,) = re.findall(r"^step (\w+)$", text, re.MULTILINE) or [""]
    partition = f"{raw}@@{1 << 20}"
    loader = subprocess.run(["mdir", "-i", partition, "::/EFI/BOOT/BOOTX64.EFI"], check=False, capture_output=True)
    raw.unlink()
    if loader.returncode:
        assert step != "done", "the state says that the installation is complete, but there is no boot loader"
        return f"does not start (after the step {step or '-'})"
    assert step in ("configure", "boot", "done"), f"there is a boot loader after the step {step}"
    return f"starts (after the step {step})"
