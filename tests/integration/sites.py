"""Projects that several test modules look at after one build, each with its store."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.demo_disk import DISK
from integration.support import (
    DEMO,
    MINUTES,
    REPOSITORY,
    SEED,
    Run,
    Warm,
    build,
    call,
    copy_project,
    edit,
    plan,
    seeds_of,
    use_seed,
    write_project,
)

LINE = ("stage1", "stage2", "stage3", "base", "desk")
TESTED = ("stage3-tarball", "selfhost", "stage1-systemd-starts")

NOT_TO_START = ("sys-apps/portage", "sys-apps/which", "sys-devel/binutils", "sys-devel/gcc", "virtual/os-headers")
"""Packages that a stage1 needs to build a stage2 but not to start: the one of the systemd profile has none of them."""

COMPILED = """src_compile() {
	# made by the compiler that builds this package, not copied from it
	echo 'int half(int number) { return number / 2; }' > half.c || die
	"${CC:-${CHOST}-gcc}" -O2 -c half.c -o half.o || die "the compiler failed"
}

src_install() {
	insinto /usr/lib/gcc
	doins half.o
"""


@dataclass(frozen=True)
class Line:
    """The example on the shared seed, its store, and the run that built it."""

    project: Path
    store: Path
    run: Run

    def tree(self, stage: str) -> Path:
        """Return the files of a stage's own layer."""
        key = plan(stage, cwd=self.project, store=self.store)[stage]["key"]
        return self.store / "layers" / str(key) / "tree"

    def inside(self, stage: str, *words: str) -> Run:
        """Run a command in a fresh root of a stage."""
        return call("shell", "--before", stage, "--", *words, cwd=self.project, store=self.store, check=False)


@contextmanager
def line_of(seed: Warm, folder: Path) -> Iterator[Line]:
    """Build examples/stages, smaller in some places, on the shared seed. Packing its packages would take a minute."""
    project = copy_project(REPOSITORY / "examples" / "stages", folder / "stages")
    use_seed(project, seed, "debian-systemd")
    for name, atom in (("packages", "*sys-libs/timezone-data"), ("packages.build", "sys-libs/timezone-data")):
        edit(project, f"{atom}\n", "", f"repo/profiles/base/{name}")
    stages = project / "stagewright.toml"
    text = stages.read_text(encoding="utf-8").replace("\nprofile = ", "\nbinpkgs = false\nprofile = ")
    stages.write_text(text.replace('root = "stage3"\n\n#', 'root = "stage3"\nlevel = 1\n\n#'), encoding="utf-8")
    (gcc,) = (project / "repo/sys-devel/gcc").glob("*.ebuild")
    edit(project, "src_install() {\n", COMPILED, str(gcc.relative_to(project)))
    with (project / "repo/profiles/default/linux/amd64/systemd/packages.build").open("a", encoding="utf-8") as stream:
        stream.write("".join(f"-{name}\n" for name in NOT_TO_START))
    store = seed.copy(["seed:debian"], binpkgs=False)
    yield Line(project, store, build(*LINE, *TESTED, cwd=project, store=store, timeout=40 * MINUTES))
    shutil.rmtree(store)


MORE_DISKS = """
[stages.disk-hybrid]
extends = "disk"
layout = "hybrid"
loader = "grub-hybrid"

[stages.disk-raw]
extends = "disk"
format = "raw"

[stages.packed]
kind = "tarball"
root = "disk-root"
"""


@dataclass(frozen=True)
class Disk:
    """The demo with disk images, and a store with its system."""

    project: Path
    store: Path

    def build(self, *targets: str, check: bool = True) -> Run:
        return build(*targets, cwd=self.project, store=self.store, check=check)


@contextmanager
def disk_of(warm: Warm, folder: Path) -> Iterator[Disk]:
    """Build two disk images of the demo's system, which the warm store has."""
    project = copy_project(DEMO, folder / "demo")
    shutil.copy(warm.lock, project)
    with (project / "stagewright.toml").open("a", encoding="utf-8") as file:
        file.write(DISK + MORE_DISKS)
    store = warm.copy(["seed:debian", "seed:debian-boot", "system"], binpkgs=False)
    made = Disk(project, store)
    stages = ("disk", "disk-hybrid", "disk-raw")
    assert {"disk-root", "disk-boot", *stages} <= made.build(*stages).built()
    yield made
    shutil.rmtree(store)


BOX = """
[stages.box]
kind = "stage4"
root = "debian"
root_overlay = ["files"]
hostname = "box"
services = { enable = ["ssh", "systemd-networkd"], target = "multi-user" }
rm = [
	"/boot", "/usr/include", "/usr/lib/gcc", "/usr/libexec", "/usr/share/doc", "/usr/share/man", "/usr/share/locale",
	"/var/cache", "/var/lib/apt", "/var/lib/portage",
]
[stages.box.users.root]
authorized_keys = ["image.pub"]

[stages.box-root]
kind = "diskimage-stage1"
root = "box"

[stages.box-boot]
kind = "livecd-stage2"
root = "debian"
kernel.dracut_arguments = ["--no-compress"]
initramfs.modules = ["dmsquash-live"]
initramfs.omit = [
	"systemd", "systemd-initrd", "dracut-systemd", "plymouth", "crypt", "nfs", "i18n", "terminfo", "resume", "network",
]
initramfs.drivers = ["ext4", "virtio_blk", "virtio_pci", "squashfs", "loop", "overlay", "iso9660"]

[stages.box-disk]
kind = "diskimage-stage2"
root = "box-root"
boot = "box-boot"
size = "2G"
esp = "64M"
timeout = 0
kernel_arguments = { console = ["ttyS0,115200"], extra = ["no_timer_check"] }
"""

NETWORK = "[Match]\nType=ether\n[Network]\nDHCP=ipv4\n"

MASKED = (
    *(f"{name}.mount" for name in ("dev-hugepages", "dev-mqueue", "sys-kernel-debug", "sys-kernel-tracing")),
    *(f"{name}.mount" for name in ("sys-fs-fuse-connections", "sys-kernel-config")),
    *(f"modprobe@{name}.service" for name in ("configfs", "dm_mod", "efi_pstore", "fuse", "loop")),
    *(f"systemd-{name}.service" for name in ("update-utmp", "update-utmp-runlevel", "random-seed", "journal-flush")),
    *("kmod-static-nodes.service", "systemd-logind.service", "getty.target", "timers.target"),
)
"""Units without which an emulated machine starts in half of the time."""


@dataclass(frozen=True)
class Box:
    """A system with an SSH server on a disk image, whose root has a key already."""

    project: Path
    store: Path


@contextmanager
def box_of(seed: Warm, folder: Path) -> Iterator[Box]:
    """Build a disk image of a stage4 with systemd and an SSH server from the shared seed."""
    project = write_project(folder / "box", seeds_of(SEED) + BOX, "box")
    shutil.copy(seed.lock, project)
    units = project / "files/etc/systemd/system"
    units.mkdir(parents=True)
    for name in MASKED:
        (units / name).symlink_to("/dev/null")
    (project / "files/etc/systemd/network").mkdir()
    (project / "files/etc/systemd/network/80-dhcp.network").write_text(NETWORK, encoding="utf-8")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "image"], check=True)
    shutil.copy(folder / "image.pub", project)
    store = seed.copy(["seed:debian"], binpkgs=False)
    build("box-disk", cwd=project, store=store)
    yield Box(project, store)
    shutil.rmtree(store)


SEEDS = ("seed:debian", "seed:debian-boot")

NETBOOT = """
[stages.web]
extends = "pxe"
uki = true
base_url = "http://boot.example.org/live"

[tests.pxe-uefi]
netboots = "web"
start = "http-boot"
expect = ["the live system is ready"]
login = { user = "root" }
commands = [
	{ run = "cat /proc/cmdline", expect = "root=live:http://boot.example.org/live/image.squashfs" },
	{ run = "touch /written && hello there", expect = "hello, there" },
]
poweroff = true

[tests.pxe-stream]
netboots = "pxe"
method = "stream"
expect = ["x"]

[tests.pxe-pxelinux]
netboots = "pxe"
start = "pxelinux"
firmware = "bios"
expect = ["x"]
"""


@dataclass(frozen=True)
class NetSite:
    """The demo with its ISO and its set for the network."""

    project: Path
    store: Path

    @property
    def iso(self) -> Path:
        return self.project / "out/demo-iso-amd64-1.0.iso"

    @property
    def set(self) -> Path:
        return self.project / "out/pxe"


@contextmanager
def net_of(warm: Warm, folder: Path) -> Iterator[NetSite]:
    """Build an ISO of the demo, then a set for the network, which takes nothing but links."""
    project = copy_project(DEMO, folder / "demo")
    shutil.copy(warm.lock, project)
    edit(project, 'loaders = ["systemd-boot", "grub"]', 'loaders = ["systemd-boot", "uki"]')
    with (project / "stagewright.toml").open("a", encoding="utf-8") as stream:
        stream.write(NETBOOT)
    store = warm.copy([*SEEDS, "system", "live"], binpkgs=False)
    assert {"boot", "iso"} <= build("iso", cwd=project, store=store).built()
    assert build("pxe", cwd=project, store=store).built() == {"pxe"}  # the parts of the ISO are used again
    yield NetSite(project, store)
    shutil.rmtree(store)


OVMF = Path("/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd")
SNAKEOIL = Path("/usr/share/ovmf/PkKek-1-snakeoil.key")
"""Public test keys of the package ovmf: variables with the certificate, and the private key."""

MEDIA = """
[stages.boot-two]
extends = "boot"
loaders = ["grub-hybrid"]
kernels = { second = { dracut_arguments = ["--no-compress"] }, first = {} }
default = "first"

[stages.boot-signed]
extends = "boot"
loaders = ["uki"]
secure_boot = { key = "{key}", certificate = "db.crt" }

[stages.hybrid]
extends = "iso"
boot = "boot-two"
loader = "grub-hybrid"
volume_id = "Gentoo amd64 20261120T000000Z"
publisher = "Gentoo"
entries = ["ram"]

[stages.hybrid.kernel_arguments]
console = ["tty0", "ttyS0,115200"]
extra = ["no_timer_check"]
verify = true

[stages.uki]
extends = "iso"
boot = "boot-signed"
loader = "uki"

[stages.pxe-signed]
extends = "pxe"
boot = "boot-signed"
uki = true
combined = false
base_url = "https://boot.example.org/live"

[tests.hybrid-bios]
boots = "hybrid"
firmware = "bios"
timeout = 600
expect = ["The media check is complete", "the live system is ready"]

[tests.uki-secure]
boots = "uki"
firmware = "uefi-secure"
variables = "variables.fd"
timeout = 600
expect = ["the live system is ready"]

[tests.refused]
boots = "iso"
firmware = "uefi-secure"
variables = "variables.fd"
timeout = 600
refused = true

[stages.dropped]
extends = "boot"
[stages.dropped.initramfs]
modules = ["dmsquash-live"]
omit = ["systemd", "systemd-initrd", "crypt", "i18n", "terminfo", "resume", "network"]

[stages.wrong]
extends = "boot"
loaders = ["isolinux"]
memtest = true
microcode = true
"""


@dataclass(frozen=True)
class Media:
    """The demo with further payloads and media."""

    project: Path
    store: Path

    def tree(self, node: str) -> Path:
        key = plan(cwd=self.project, store=self.store)[node]["key"]
        return self.store / "artifacts" / key / "tree"


@contextmanager
def media_of(warm: Warm, folder: Path) -> Iterator[Media]:
    """Build three ISOs from three payloads of the demo's parts."""
    project = copy_project(DEMO, folder / "media")
    shutil.copy(warm.lock, project)
    shutil.copy(OVMF, project / "variables.fd")
    key = project.parent / "db.key"
    words = ["openssl", "pkey", "-in", SNAKEOIL, "-passin", "pass:snakeoil", "-out", key]
    subprocess.run(words, check=True, capture_output=True)
    shutil.copy(SNAKEOIL.with_suffix(".pem"), project / "db.crt")
    with (project / "stagewright.toml").open("a", encoding="utf-8") as stream:
        stream.write(MEDIA.replace("{key}", str(key)))
    store = warm.copy([*SEEDS, "system", "live", "boot", "live+boot.squashfs", "iso"], binpkgs=True)
    build("hybrid", "uki", "iso", "pxe-signed", cwd=project, store=store)
    yield Media(project, store)
    shutil.rmtree(store)
