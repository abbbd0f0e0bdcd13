"""diskimage-stage2: a disk image of the demo's system, the same again, and started by a machine from its own disk."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from integration.sites import Disk
from integration.support import edit, plan
from stagewright.release.listing import read_contents
from stagewright.testing.boot import boot
from stagewright.testing.results import Report
from stagewright.testing.script import BootCommand, BootScript, Login
from stagewright.vm import accel
from stagewright.vm.machine_spec import FirmwareKind, MachineSpec

pytestmark = pytest.mark.real


GROWN = 3 << 30


def start(image: Path, folder: Path, firmware: FirmwareKind, *commands: BootCommand) -> Report:
    """Start a machine from a layer of 3 GiB over an image."""
    disk = folder / "grown.qcow2"
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image), "-F", "qcow2", str(disk), str(GROWN)]
    subprocess.run(words, check=True)
    spec = MachineSpec(firmware=firmware, memory=768, disk=disk)
    script = BootScript(login=Login("root"), commands=commands, poweroff=True, seconds=600)
    return boot(spec, script, folder / "machine", accel.probe())


@pytest.mark.boot
def test_a_disk_image_starts_by_uefi_grows_and_has_its_own_machine_id(disk: Disk, tmp_path: Path) -> None:
    report = start(
        disk.project / "out" / "demo-disk-amd64-1.0.qcow2",
        tmp_path,
        "uefi",
        BootCommand(run="cat /proc/sys/kernel/hostname", expect="diskdemo"),
        BootCommand(run="grep -x '[0-9a-f]*' /etc/machine-id | wc -c", expect="^33"),
        BootCommand(run="grep ' / ' /proc/mounts", expect="ext4 rw"),
        BootCommand(run="set -- $(df -k / | tail -1); test $2 -gt 2500000 && echo grown", expect="^grown"),
        BootCommand(run="touch /written && ls /lib/modules/*/kernel", expect="drivers"),
        BootCommand(run="cat /etc/fstab", expect="/efi"),
    )
    assert report.seconds > 0


@pytest.mark.boot
def test_a_hybrid_disk_starts_by_bios(disk: Disk, tmp_path: Path) -> None:
    image = disk.project / "out" / "demo-disk-hybrid-amd64-1.0.qcow2"
    report = start(
        image, tmp_path, "bios", BootCommand(run="ls -d /sys/firmware/efi || echo by BIOS", expect="^by BIOS")
    )
    assert report.seconds > 0


def test_a_disk_image_is_described(disk: Disk) -> None:
    image = disk.project / "out" / "demo-disk-amd64-1.0.qcow2"
    facts = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", image]))
    assert (facts["format"], facts["virtual-size"]) == ("qcow2", 1 << 30)
    manifest = json.loads(image.with_name(f"{image.name}.manifest.json").read_text(encoding="utf-8"))
    assert any(package["name"].startswith("sys-apps/busybox-") for package in manifest["packages"])
    assert "/usr/bin/busybox" in read_contents(image.with_name(f"{image.name}.CONTENTS.gz")).entries


def test_a_disk_image_has_two_partitions_and_a_sound_file_system(disk: Disk, tmp_path: Path) -> None:
    raw = disk.project / "out" / "demo-disk-raw-amd64-1.0.img"
    table = json.loads(subprocess.check_output(["sfdisk", "--json", raw]))["partitiontable"]
    assert [(part["name"], part["size"] // 2048) for part in table["partitions"]] == [("esp", 64), ("root", 958)]
    root = table["partitions"][1]
    system = tmp_path / "root.img"
    cut = ["dd", f"if={raw}", f"of={system}", "bs=1M", f"skip={root['start'] // 2048}", f"count={root['size'] // 2048}"]
    subprocess.run([*cut, "conv=sparse", "status=none"], check=True)
    subprocess.run(["e2fsck", "-fn", system], check=True, capture_output=True)
    owner = subprocess.check_output(["debugfs", "-R", "stat /etc/shadow", system], stderr=subprocess.DEVNULL, text=True)
    assert "User:     0" in owner and "Mode:  06" in owner


def test_a_disk_image_is_the_same_again(disk: Disk) -> None:
    digest = disk.project / "out" / "demo-disk-raw-amd64-1.0.img.sha256"
    first = digest.read_text(encoding="utf-8")
    keys = plan("disk-raw", cwd=disk.project, store=disk.store)
    for folder, node in (("layers", "disk-root"), ("artifacts", "disk-raw")):
        shutil.rmtree(disk.store / folder / keys[node]["key"])
    shutil.rmtree(disk.project / "out")
    assert disk.build("disk-raw").built() == {"disk-root", "disk-raw"}
    assert digest.read_text(encoding="utf-8") == first


def test_an_image_that_is_too_small_is_reported_with_the_size_that_suffices(disk: Disk) -> None:
    edit(disk.project, 'size = "1G"', 'size = "100M"')
    try:
        run = disk.build("disk", check=False)
        assert run.reasons == {"disk": "build-failed"}
        assert 'size = "' in run.stderr
    finally:
        edit(disk.project, 'size = "100M"', 'size = "1G"')
