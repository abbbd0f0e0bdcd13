"""diskimage-stage1: a system made ready to run from a disk image, whose copies start as new machines."""

from __future__ import annotations

import pytest

from integration.sites import Disk
from integration.support import plan

pytestmark = pytest.mark.real


def test_a_system_for_disk_images_is_named_and_starts_as_new(disk: Disk) -> None:
    step = plan("disk-root", cwd=disk.project, store=disk.store)["disk-root"]
    tree = disk.store / "layers" / step["key"] / "tree"
    assert (tree / "etc/hostname").read_text(encoding="utf-8") == "diskdemo\n"
    machine_id = tree / "etc/machine-id"
    assert not machine_id.exists() or machine_id.read_text(encoding="utf-8") in ("", "uninitialized\n")
    assert list((tree / "etc").glob("ssh/ssh_host_*")) == []
    assert not (tree / "usr/bin/busybox").exists(), "the layer below has it"
