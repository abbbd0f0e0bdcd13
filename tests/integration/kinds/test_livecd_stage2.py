"""livecd-stage2: kernel, initramfs, modules and loaders of an environment as a payload; missing things are reported.

The sources of kernels are a stand-in, a Makefile with the targets of a kernel's, and make is the real one: a real
kernel takes minutes, and `make demo-kernel` builds and boots one.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from integration.archives import busybox_root, link, member
from integration.processes import sha512
from integration.support import Warm, build, edit, notices, write_project
from stagewright.kernel.features import INITRAMFS_OPTIONS, LIVE_SYSTEM_OPTIONS, VERITY_OPTIONS
from stagewright.media.initramfs_contents import InitramfsContents

pytestmark = pytest.mark.real

PROJECT = """
[seeds.it]
file = "seed.tar"
[stages.boot]
kind = "livecd-stage2"
root = "it"
default = "gentoo"
[stages.boot.kernels.gentoo]
tree = "/usr/src/linux"
config = "kernel.config"
[stages.boot.kernels.signed]
tree = "/usr/src/linux-signed"
config = "signed.config"
"""

MAKEFILE = b"""
all:
\t@echo COMPILED
olddefconfig:
\tsed -i -e /CONFIG_ORPHAN=/d .config
"""

REQUIRED = (*INITRAMFS_OPTIONS, *LIVE_SYSTEM_OPTIONS, *VERITY_OPTIONS, "RD_ZSTD", "EFI_STUB")
ENOUGH = "".join(f"CONFIG_{option}=y\n" for option in REQUIRED)


def real_make() -> dict[str, bytes]:
    """Return this machine's make and its libraries, by their paths."""
    found = shutil.which("make")
    assert found, "make is in packages/apt.txt"
    linked = subprocess.run(["ldd", found], check=True, capture_output=True, text=True).stdout
    return {name[1:]: Path(name).read_bytes() for name in [found, *re.findall(r"(/\S+) \(", linked)]}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    found = shutil.which("busybox")
    if found is None:
        pytest.skip("NOT TESTED: no busybox (package busybox-static)")
    path = write_project(tmp_path / "project", PROJECT)
    members = [member(name, data, mode=0o755) for name, data in real_make().items()]
    members += [link(f"bin/{name}", "busybox") for name in ("cp", "echo", "sed")]
    members += [member(f"usr/src/{name}/Makefile", MAKEFILE) for name in ("linux", "linux-signed")]
    busybox_root(path / "seed.tar", Path(found), members)
    (path / "kernel.config").write_text(ENOUGH.replace("CONFIG_SQUASHFS=y\n", "CONFIG_ORPHAN=m\n"), encoding="utf-8")
    (path / "signed.config").write_text(
        f"{ENOUGH}CONFIG_MODULE_SIG=y\nCONFIG_DEBUG_INFO_BTF=y\nCONFIG_KERNEL_ZSTD=y\n", encoding="utf-8"
    )
    return path


def test_everything_that_kernels_lack_is_reported_before_one_is_compiled(project: Path, tmp_path: Path) -> None:
    done = build("boot", cwd=project, store=tmp_path / "store", check=False)
    assert done.reasons["boot"] == "environment-lacks"
    wanted = [
        *("/usr/src/linux cannot start a live system: missing CONFIG_SQUASHFS (squashfs)", "has no dracut"),
        *("lacks openssl, ", "header openssl/opensslv.h, ", "lacks pahole, ", "requires for CONFIG_DEBUG_INFO_BTF"),
        *("lacks zstd, which the kernel build requires for CONFIG_KERNEL_ZSTD", "systemd-boot"),
    ]
    for words in wanted:
        assert words in done.stderr, words
    assert [text for text in notices(done) if "CONFIG_ORPHAN" in text]
    phases = [event["phase"] for event in done.events if event["event"] == "NodePhase"]
    assert any("configure /usr/src/linux-signed" in phase for phase in phases)
    assert not any("compile" in phase for phase in phases)


def test_a_configuration_that_disables_squashfs_is_reported_before_the_build(project: Path, tmp_path: Path) -> None:
    edit(project, "CONFIG_ORPHAN=m", "# CONFIG_SQUASHFS is not set", "kernel.config")
    done = build("boot", cwd=project, store=tmp_path / "store", check=False)
    assert not done.built()
    assert "stagewright.toml:" in done.stderr
    assert "kernel.config disables what every live system requires: CONFIG_SQUASHFS" in done.stderr


def test_a_payload_holds_what_media_are_made_of(warm: Warm, tmp_path: Path) -> None:
    tree = warm.tree("boot")
    facts = json.loads((tree / "payload.json").read_text(encoding="utf-8"))
    (kernel,) = facts["kernels"]
    assert (kernel["kernel"], kernel["initramfs"]) == ("boot/gentoo", "boot/gentoo.igz")
    assert kernel["verifies"] and kernel["network"] and kernel["verity"]
    assert (tree / "boot/gentoo").read_bytes()[0x202:0x206] == b"HdrS"  # Linux, Documentation/arch/x86/boot.rst
    modules = tree / "modules" / kernel["version"]
    assert (modules / "modules.dep").exists()
    assert not list((modules / "kernel/drivers/gpu").rglob("*.ko*"))  # `exclude` of the seed
    assert {path.name for path in (tree / "loaders").iterdir()} == {"systemd-boot", "grub"}
    assert (tree / "boot/gentoo.igz").stat().st_size % 4 == 0
    contents = InitramfsContents.of(tree / "boot/gentoo.igz", tmp_path)
    assert {"ahci", "ata_piix", "sr_mod", "virtio_scsi"} <= contents.drivers  # the CD of default machines
    for name in ("boot/gentoo", "boot/gentoo.igz"):
        assert facts["sha512"][name] == sha512(tree / name)
