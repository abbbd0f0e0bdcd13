"""stagewright-install in a machine: a live system installs itself on an empty disk, and the disk starts.

All other ways, wrong disks and power failures are in `make install-matrix`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from installer import FILES

from integration.sites import Disk
from stagewright.testing.machine import Machine
from stagewright.testing.setup import MachineSetup
from stagewright.testing.timeline import Timeline
from stagewright.vm import accel
from stagewright.vm.disks import disk_of
from stagewright.vm.machine_spec import MachineSpec

pytestmark = pytest.mark.real

STAGES = """
[stages.install-live]
kind = "livecd-stage1"
root = "system"
root_overlay = ["overlays/install"]
rm = ["/var/db/pkg", "/var/cache/edb", "/var/lib/portage", "/usr/include"]

[stages.install-iso]
kind = "livecd-stage3"
live = "install-live"
boot = "disk-boot"
installable = true
timeout = 0
kernel_arguments = { console = ["ttyS0,115200"], extra = ["no_timer_check"] }
"""

TOOLS = ("sfdisk", "mkfs.vfat", "mkfs.ext4")
"""Programs that the demo's busybox does not have. They come from this computer, with their libraries."""

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7cM0nT1rZ5Yx8bCq0m3fV2sQ9dKp4uLwEo6hRtGyXa admin@example.org"

ANSWERS = f"""disk = /dev/disk/by-id/virtio-target
size = 1G
hostname = box
timezone = UTC
root-password = $6$stagewright$PpIEAUkJ5lZNggA0OoSLVz/WIlrrJhGWRTiJ9gWzpOC1u/GXkPtPT4rKUFDOvFEjd4OK4/BsVuz9TBMdwbijG0
root-ssh-key = {KEY}
user = alice
user.alice.groups = wheel
kernel-arguments = no_timer_check
finish = poweroff
"""


def add_tool(name: str, root: Path) -> None:
    """Add a program of this computer to a root, with its own loader and libraries."""
    place = root / "usr/lib/tools"
    place.mkdir(parents=True, exist_ok=True)
    found = shutil.which(name)
    assert found
    shutil.copy(found, place)
    libraries = re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", found], text=True))
    for library in libraries:
        shutil.copy(library, place)
    (loader,) = (Path(path).name for path in libraries if Path(path).name.startswith("ld-linux"))
    script = root / "usr/bin" / name
    run = f"/usr/lib/tools/{loader} --argv0 {name} --library-path /usr/lib/tools /usr/lib/tools/{name}"
    script.write_text(f'#!/bin/sh\nexec {run} "$@"\n', encoding="utf-8")
    script.chmod(0o755)


@pytest.fixture
def iso(disk: Disk) -> Path:
    """An ISO of the demo with the installer."""
    root = disk.project / "overlays/install"
    (root / "usr/bin").mkdir(parents=True)
    shutil.copy(FILES / "stagewright-install", root / "usr/bin")
    shutil.copytree(FILES / "lib", root / "usr/lib/stagewright-install")
    shutil.copytree(FILES / "layouts", root / "usr/share/stagewright-install/layouts")
    for name in TOOLS:
        add_tool(name, root)
    with (disk.project / "stagewright.toml").open("a", encoding="utf-8") as file:
        file.write(STAGES)
    disk.build("install-iso")
    return disk.project / "out/demo-install-iso-amd64-1.0.iso"


@pytest.mark.boot
def test_a_live_system_installs_itself_and_starts_from_the_disk(iso: Path, tmp_path: Path) -> None:
    disks = tuple(disk_of(words, number) for number, words in enumerate(("1G,serial=target", "64M,serial=other"), 1))
    spec = MachineSpec(memory=768, disk=iso, empty_disks=disks)
    with Machine(MachineSetup(spec, accel.of(spec.architecture)), Timeline(1800), tmp_path / "machine") as machine:
        machine.login("root")
        machine.check("stagewright-install --list", expect="disk = /dev/disk/by-id/virtio-target")
        machine.succeed(f"cat > /run/answers << 'END'\n{ANSWERS}END")
        machine.type("stagewright-install --answers /run/answers\n")
        machine.wait_for_console_text(r"installed on disk vd[a-c]\s+turning off")
        with machine.step("wait until the machine is off"):
            assert machine.console.wait_end(machine.timeline.left())
        machine.stop()
        machine.start(from_disk=True)
        machine.login("root", "install")
        machine.check("cat /proc/mounts", expect=r"^/dev/\S+ / ext4 rw")
        machine.check("cat /proc/sys/kernel/hostname", expect="^box$")
        machine.check("cat /root/.ssh/authorized_keys", expect=f"^{re.escape(KEY)}$")
        machine.check("id alice", expect=r"\(wheel\)")
        machine.shutdown()
    words = ["qemu-img", "map", "--output=json", machine.disks[1]]
    parts = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    assert not any(part["data"] for part in parts), "a disk that was not named was written to"
