"""A disk image of the demo's system: built twice the same, and started by a virtual machine from its own disk."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.support import MINUTES, build, call
from stagewright.release.listing import read_contents

pytestmark = pytest.mark.real

DISK = """
[stages.disk-root]
kind = "diskimage-stage1"
root = "system"
hostname = "diskdemo"

[stages.disk-boot]
kind = "livecd-stage2"
root = "debian-boot"
initramfs.modules = ["dmsquash-live"]
initramfs.omit = ["systemd", "systemd-initrd", "plymouth", "crypt", "nfs", "i18n", "terminfo", "resume"]
initramfs.drivers = ["ext4", "virtio_blk", "virtio_pci", "squashfs", "loop", "overlay", "iso9660"]

[stages.disk]
kind = "diskimage-stage2"
root = "disk-root"
boot = "disk-boot"
size = "1G"
esp = "64M"
timeout = 1
kernel_arguments = { console = ["tty0", "ttyS0,115200"], extra = ["no_timer_check"] }

[stages.disk-raw]
extends = "disk"
format = "raw"

[tests.disk-boots]
boots = "disk"
attach = "disk"
login = { user = "root" }
commands = [
	{ run = "cat /proc/sys/kernel/hostname /etc/machine-id", expect = "diskdemo" },
	{ run = "findmnt / || grep ' / ' /proc/mounts", expect = "ext4" },
	{ run = "touch /written && ls /lib/modules/*/kernel", expect = "drivers" },
	{ run = "cat /etc/fstab", expect = "/efi" },
]
poweroff = true
"""


@pytest.fixture
def project(demo: Path) -> Path:
    with (demo / "stagewright.toml").open("a", encoding="utf-8") as file:
        file.write(DISK)
    return demo


@pytest.mark.boot
def test_a_disk_image_starts_and_is_the_same_again(project: Path, fresh: Callable[..., Path], tmp_path: Path) -> None:
    store = fresh("seed:debian", "seed:debian-boot", "system")
    run = build("disk", "disk-raw", "disk-boots", cwd=project, store=store, timeout=15 * MINUTES)
    assert {"disk-root", "disk-boot", "disk", "disk-raw", "test:disk-boots"} <= run.built()
    image = project / "out" / "demo-disk-amd64-1.0.qcow2"
    facts = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", image]))
    assert (facts["format"], facts["virtual-size"]) == ("qcow2", 1 << 30)
    manifest = json.loads(image.with_name(f"{image.name}.manifest.json").read_text(encoding="utf-8"))
    assert any(package["name"].startswith("sys-apps/busybox-") for package in manifest["packages"])

    assert "/usr/bin/busybox" in read_contents(image.with_name(f"{image.name}.CONTENTS.gz")).entries

    raw = project / "out" / "demo-disk-raw-amd64-1.0.img"
    table = json.loads(subprocess.check_output(["sfdisk", "--json", raw]))["partitiontable"]
    assert [(part["name"], part["size"] // 2048) for part in table["partitions"]] == [("esp", 64), ("root", 958)]
    root = table["partitions"][1]
    system = tmp_path / "root.img"
    cut = ["dd", f"if={raw}", f"of={system}", "bs=1M", f"skip={root['start'] // 2048}", f"count={root['size'] // 2048}"]
    subprocess.run([*cut, "conv=sparse", "status=none"], check=True)
    subprocess.run(["e2fsck", "-fn", system], check=True, capture_output=True)
    owner = subprocess.check_output(["debugfs", "-R", "stat /etc/shadow", system], stderr=subprocess.DEVNULL, text=True)
    assert "User:     0" in owner and "Mode:  06" in owner

    first = raw.with_name(f"{raw.name}.sha256").read_text(encoding="utf-8")
    again = fresh("seed:debian", "seed:debian-boot", "system")
    build("disk-raw", cwd=project, store=again, timeout=10 * MINUTES)
    assert raw.with_name(f"{raw.name}.sha256").read_text(encoding="utf-8") == first


def test_what_has_no_room_is_told_with_the_size_that_has(project: Path, fresh: Callable[..., Path]) -> None:
    text = (project / "stagewright.toml").read_text(encoding="utf-8")
    (project / "stagewright.toml").write_text(text.replace('size = "1G"', 'size = "100M"'), encoding="utf-8")
    store = fresh("seed:debian", "seed:debian-boot", "system")
    run = build("disk", cwd=project, store=store, check=False, timeout=10 * MINUTES)
    assert run.reasons == {"disk": "build-failed"}
    said = call("build", "disk", cwd=project, store=store, check=False).stderr
    assert 'size = "' in said
