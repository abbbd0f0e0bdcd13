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

pytestmark = pytest.mark.real


@pytest.mark.boot
def test_a_disk_image_starts_from_its_own_disk(disk: Disk) -> None:
    disk.build("disk-boots")
    report = json.loads((disk.project / "out/disk-boots/result.json").read_text(encoding="utf-8"))
    assert report["passed"]


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
