"""A system of two slots that updates itself, of the shared root of Debian 13: for the tests of several kinds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from integration.support import REPOSITORY, TRIXIE, Warm, call, plan, seeds_of

PROJECT = """
format = 1
[project]
name = "fleet"
version = "1.0"
source_date_epoch = 2026-11-20
{seed}
[stages.boot]
kind = "livecd-stage2"
root = "trixie"
loaders = ["systemd-boot", "uki"]
[stages.boot.initramfs]
modules = ["dmsquash-live", "systemd", "systemd-initrd", "systemd-veritysetup"]
omit = ["plymouth", "crypt", "nfs", "i18n", "terminfo", "resume", "lvm", "mdraid", "multipath", "dmraid", "btrfs"]
drivers = ["dm_verity", "erofs", "ext4", "virtio_blk", "virtio_pci"]
[stages.fleet]
kind = "diskimage-stage1"
root = "trixie"
type = "console"
os_release = {{ IMAGE_ID = "fleet", IMAGE_VERSION = "{{version}}" }}
rm = ["/usr/lib/gcc", "/usr/lib/modules/*", "/usr/libexec/gcc", "/usr/bin/*-gnu-*", "/usr/lib/grub",
	"/usr/share/doc", "/usr/share/locale", "/usr/share/man", "/usr/share/perl*", "/usr/lib/x86_64-linux-gnu/*.a",
	"/usr/lib/python3*", "/boot/*", "/usr/include", "/var/cache/*", "/var/lib/apt/*"]
[stages.fleet.updates]
url = "https://example.org/fleet/latest/feed"
key = "fleet.asc"
compression = "gz"
automatic = true
deadline = 1800 # longer than a busy computer needs for a boot
[stages.disk]
kind = "diskimage-stage2"
root = "fleet"
boot = "boot"
layout = "ab"
uki = true
format = "raw"
size = "auto"
timeout = 0
[stages.disk.kernel_arguments]
console = ["ttyS0,115200"]
extra = ["panic=10", "rd.timeout=600", "no_timer_check", "systemd.default_device_timeout_sec=600"]
[stages.feed]
kind = "update-feed"
image = "disk"
compression = "gz"
[stages.next]
extends = "fleet"
os_release = {{ IMAGE_ID = "fleet", IMAGE_VERSION = "{{version}}.next" }}
[stages.next-disk]
extends = "disk"
root = "next"
[tests.update]
updates = ["disk", "next-disk"]
login = {{ user = "root" }}
changed = ["key"]
commands = [{{ run = "SYSTEMD_PAGER=cat bootctl list", expect = "fleet_1[.]0[.]efi" }}]
timeout = 1800
"""


@dataclass(frozen=True)
class Fleet:
    """A project with a feed and a disk image that were built, and the layer of its system."""

    project: Path
    store: Path

    @property
    def feed(self) -> Path:
        """The folder of the feed."""
        return self.project / "out" / "feed"

    @property
    def layer(self) -> Path:
        """The root of the system."""
        return self.store / "layers" / plan("fleet", cwd=self.project, store=self.store)["fleet"]["key"] / "tree"


@contextmanager
def fleet_of(trixie: Warm, folder: Path) -> Iterator[Fleet]:
    """Build a disk image and its feed."""
    (folder / "stagewright.toml").write_text(PROJECT.format(seed=seeds_of(TRIXIE)), encoding="utf-8")
    shutil.copy(REPOSITORY / "examples/updates/fleet.asc", folder)
    shutil.copy(trixie.lock, folder)
    store = trixie.copy(["seed:trixie"], binpkgs=False)
    try:
        call("build", "feed", "disk", cwd=folder, store=store)
        yield Fleet(folder, store)
    finally:
        shutil.rmtree(store)
