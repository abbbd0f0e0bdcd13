"""A system of two slots that updates itself, of the shared root of Debian 13: for the tests of several kinds."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from integration.sites import MASKED as MASKED_UNITS
from integration.support import REPOSITORY, TRIXIE, Warm, call, plan, seeds_of
from stagewright.media.disk.definitions import texts_of

REMOVED = (
    *(f"/usr/bin/{name}" for name in ("*-gnu-*", "apt*", "dpkg*", "gp-*", "gprofng*", "grub-*", "perl*", "python3*")),
    *(f"/usr/bin/{name}" for name in ("openssl", "pzstd", "sqv", "ssh*", "tpm2*")),
    *(f"/usr/sbin/{name}" for name in ("dhclient", "grub-*", "sshd", "tc")),
    *(f"/usr/lib/{name}" for name in ("apt", "file", "gcc", "grub", "linux", "openssh", "portage", "python3*")),
    *(f"/usr/lib/systemd/system-generators/systemd-{name}-generator" for name in ("ssh", "sysv", "tpm2")),
    *(f"/usr/lib/x86_64-linux-gnu/{name}" for name in ("*.a", "*.o", "gprofng", "ldscripts", "perl*")),
    *(
        f"/usr/lib/x86_64-linux-gnu/lib{name}*"
        for name in ("[atl]san", "apt", "bfd", "ctf", "db-5", "freetype", "gomp")
    ),
    *(
        f"/usr/lib/x86_64-linux-gnu/lib{name}*"
        for name in ("gprofng", "hwasan", "isl", "mpc", "mpfr", "mvec", "opcodes")
    ),
    *(f"/usr/lib/x86_64-linux-gnu/lib{name}*" for name in ("quadmath", "ubsan")),
    *(f"/usr/share/{name}" for name in ("doc", "file", "grub", "locale", "man", "perl*", "python3", "zoneinfo")),
    *("/etc/ssh", "/usr/include", "/usr/lib/udev/hwdb*", "/usr/libexec/gcc"),
    *("/var/cache/*", "/var/lib/apt/*", "/var/lib/dpkg/info"),
    *(
        f"/usr/lib/modules/*/kernel/drivers/{name}"
        for name in ("comedi", "hid", "infiniband", "net/ethernet", "target")
    ),
    *(f"/usr/lib/modules/*/kernel/fs/{name}" for name in ("bcachefs", "btrfs", "ceph", "nfs*", "smb", "xfs")),
    *(f"/usr/lib/modules/*/kernel/net/{name}" for name in ("bridge", "ceph", "netfilter", "sched", "sctp", "sunrpc")),
    "/usr/lib/modules/*/kernel/arch/x86/kvm",
)
"""Files that neither a build of a disk image nor the system on it uses. An emulated machine reads all others."""

OTHERS = ("getty.target", "timers.target", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service")
"""Units of the other systemd that these machines need, or that this one does not have."""

MASKED = (
    *(name for name in MASKED_UNITS if name not in OTHERS),
    *(
        f"{name}.service"
        for name in ("dracut-shutdown", "e2scrub_reap", "getty@", "grub-common", "modprobe@drm", "ssh")
    ),
    *(f"systemd-{name}.service" for name in ("binfmt", "boot-random-seed", "networkd-persistent-storage")),
    *("proc-sys-fs-binfmt_misc.automount", "sshd-keygen.service", "user@.service"),
)
"""Units without which a machine starts sooner."""

SIZES = {
    "512M": "96M",
    "1G": "192M",
    "16M": "4M",
    "256M": "48M",
}
"""Sizes of the layout ``ab``, and those of these disks, whose zeros are read and digested, too."""

PROJECT = """
format = 1
[project]
name = "fleet"
version = "1.0"
source_date_epoch = 2026-11-20
{seed}
[stages.lean]
kind = "stage4"
root = "trixie"
rm = [{removed}]
services.mask = [{masked}]
[stages.boot]
kind = "livecd-stage2"
root = "lean"
loaders = ["systemd-boot", "uki"]
[stages.boot.initramfs]
modules = ["dmsquash-live", "systemd", "systemd-initrd", "systemd-veritysetup"]
omit = ["plymouth", "crypt", "nfs", "i18n", "terminfo", "resume", "lvm", "mdraid", "multipath", "dmraid", "btrfs",
	"hwdb", "nvdimm", "overlay-root", "qemu", "qemu-net", "systemd-battery-check", "systemd-pcrphase", "tpm2-tss",
	"virtfs", "virtiofs"]
drivers = ["dm_verity", "erofs", "ext4", "virtio_blk", "virtio_pci"]
[stages.fleet]
kind = "diskimage-stage1"
root = "lean"
type = "console"
os_release = {{ IMAGE_ID = "fleet", IMAGE_VERSION = "{{version}}" }}
rm = ["/usr/lib/modules/*", "/usr/lib/dracut", "/boot/*"]
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
layout = "./ab"
uki = true
format = "raw"
size = "auto"
timeout = 0
[stages.disk.kernel_arguments]
console = ["ttyS0,115200"]
extra = ["quiet", "systemd.show_status=1", "lsm=capability", "mitigations=off", "panic=10", "rd.timeout=600",
	"no_timer_check", "systemd.default_device_timeout_sec=600"]
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


def write_fleet(folder: Path) -> None:
    """Write the project."""
    removed, masked = (", ".join(f'"{name}"' for name in names) for names in (REMOVED, MASKED))
    text = PROJECT.format(seed=seeds_of(TRIXIE), removed=removed, masked=masked)
    (folder / "stagewright.toml").write_text(text, encoding="utf-8")
    (folder / "ab").mkdir()
    for name, definition in texts_of("ab", None).items():
        small = re.sub(r"(?<==)\d+[MG]$", lambda size: SIZES[size[0]], definition, flags=re.MULTILINE)
        (folder / "ab" / name).write_text(small, encoding="utf-8")
    shutil.copy(REPOSITORY / "examples/updates/fleet.asc", folder)


@contextmanager
def fleet_of(trixie: Warm, folder: Path) -> Iterator[Fleet]:
    """Build a disk image and its feed."""
    write_fleet(folder)
    shutil.copy(trixie.lock, folder)
    store = trixie.copy(["seed:trixie"], binpkgs=False)
    try:
        call("build", "feed", "disk", cwd=folder, store=store)
        yield Fleet(folder, store)
    finally:
        shutil.rmtree(store)
