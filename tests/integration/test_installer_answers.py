"""Answers, disks and refusals of stagewright-install. No test here installs anything."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from installer import FILES, Installer

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: installing needs root"),
]
ROOT = Path(__file__).parents[2]
WRONG = [
    ("disk = /dev/sda", "is a name that can change with each start"),
    ("disk = sda", "is not /dev/disk/by-id/"),
    ("size = 8 apples", "is not a size"),
    ("layout = ../x", "neither the name of a layout"),
    ("overwrite = maybe", "neither yes nor no"),
    ("source = ftp://server/x.tar", "is not live, a path or an address"),
    ("source-type = zip", "is not one of tarball, image, squashfs"),
    ("checksum = md5:abc", "is not sha256:HEX"),
    ("digests = here", "is not live, a path or an address"),
    ("signature = here", "is not live, a path or an address"),
    ("signing-key = key.asc", "is not a path"),
    ("verify = some", "is not one of required, none"),
    ("passphrase = short", "a passphrase of at least 8 characters"),
    ("passphrase-file = x", "is not a path"),
    ("boot = lilo", "is not one of auto"),
    ("console = $(reboot)", "is not consoles"),
    ("hostname = $(touch /tmp/never)", "is not a host name"),
    ("locale = german!", "is not a locale"),
    ("keymap = de de", "is not a word"),
    ("timezone = ../etc/passwd", "is not a time zone"),
    ("network = wifi", "is not one of keep, dhcp, static, none"),
    ("interface = eth 0", "is not a word"),
    ("address = 192.0.2.7", "is not an address with its prefix"),
    ("gateway = router", "is not an IP address"),
    ("dns = one two", "is not IP addresses"),
    ("root-password = secret", "is not a hash"),
    ("root-ssh-key = AAAA", "is not a line of an OpenSSH public key"),
    ("user = Alice!", "is not a user name"),
    ("user.bob.groups = wheel", "no user bob before this line"),
    ("finish = explode", "is not one of exit, reboot, poweroff"),
    ("hostnam = x", "unknown key hostnam"),
    ("only words", "not a line"),
]


@pytest.fixture
def installer(tmp_path: Path) -> Installer:
    made = Installer(tmp_path, tmp_path / "source.squashfs")
    made.source.write_bytes(b"")
    return made


def answer(installer: Installer, *lines: str, words: tuple[str, ...] = ()) -> str:
    """Return the errors of answers."""
    path = installer.folder / "answers"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    done = installer("--answers", str(path), *words)
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


@pytest.mark.parametrize("shell", ["dash", "busybox ash"])
def test_all_errors_are_reported_with_their_lines(installer: Installer, shell: str) -> None:
    installer.shell = shell
    found = answer(installer, "# answers", *[line for line, _ in WRONG])
    for number, (line, problem) in enumerate(WRONG, 2):
        assert re.search(rf"^{installer.folder}/answers:{number}: .*{re.escape(problem)}", found, re.MULTILINE), line
    assert "secret" not in found and "short" not in found
    assert "nothing was written" in found
    assert not Path("/tmp/never").exists()


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "no key disk"),
        (["disk = serial:X"], "no key size"),
        (["hostname = a", "hostname = b"], "hostname is there twice"),
        (["user = a", "user = a"], "user a is there twice"),
        (["user = a", "user.a.shell = b"], "the keys of a user are password, groups and ssh-key"),
        (["user = a", "user.a.password = b"], "is not a hash"),
        (["network = static"], "network = static without address"),
        (["network = static"], "network = static without interface"),
        (["address = 192.0.2.7/24"], "need network = static"),
        (["passphrase = 12345678", "passphrase-file = /x"], "exclude each other"),
        (["signing-key = /x"], "without digests or signature"),
        (["digests = /x"], "digests without signing-key"),
        (["signature = /x"], "signature without signing-key"),
        (["source = /x.tar.xz"], "nothing verifies /x.tar.xz"),
        (["source = /x.iso", "verify = none"], "the type of /x.iso is unknown"),
        (["source = /x.img", "verify = none", "hostname = a"], "a disk image has its own settings"),
        (["source = live"], "no way to log in"),
    ],
)
def test_answers_that_need_or_exclude_each_other(installer: Installer, lines: list[str], problem: str) -> None:
    assert problem in answer(installer, *lines)


def test_options_that_are_wrong(installer: Installer) -> None:
    for words, problem in [
        (["--bogus"], "unknown option --bogus"),
        (["--answers"], "--answers needs a value"),
        (["--size", "1G"], "--size needs --image"),
        (["--answers", "/nowhere"], "/nowhere: not found"),
        ([], "stdin is not a terminal"),
    ]:
        done = installer(*words)
        assert done.returncode == 2 and problem in done.stderr, words
    assert installer("--unattended").returncode == 0  # this machine was started without the argument


def test_every_key_is_documented_and_tested() -> None:
    table = (FILES / "lib/answers.sh").read_text(encoding="utf-8").partition("cat << 'END'\n")[2].partition("END\n")[0]
    keys = [line.split()[0] for line in table.splitlines()]
    page = (ROOT / "docs/install-reference.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z][a-z.A-Z-]*)` \|", page, re.MULTILINE)
    assert [key for key in documented if not key.startswith("user.")] == keys
    assert {line.partition(" = ")[0] for line, _ in WRONG} >= {*keys} - {"kernel-arguments"}  # any text is right
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_installer*.py"))
    right = re.sub(r"WRONG = \[.*?^\]", "", tests, flags=re.DOTALL | re.MULTILINE)
    assert [key for key in keys if key not in right and key.replace("-", "_") not in right] == []


@pytest.fixture
def other_disks(installer: Installer, tmp_path: Path) -> None:
    """Disks on a bus each, two with one serial number, one that is write-protected, and one in an array."""
    block = tmp_path / "sys/block"
    for name, files in {
        "vdq": {"serial": "VIRT1"},
        "nvme9n1": {"device/serial": "S123 ", "device/model": "Example SSD  ", "wwid": "eui.0011"},
        "sdq": {"device/vendor": "ATA     ", "device/model": "QEMU HARDDISK", "device/wwid": "naa.5000c500"},
        "sdr": {"device/vendor": "ATA", "device/model": "Twin", "device/wwid": "naa.1", "serial": "SAME"},
        "sds": {"device/vendor": "ATA", "device/model": "Twin", "device/wwid": "naa.2", "serial": "SAME"},
        "vdr": {"serial": "LOCKED", "ro": "1"},
        "vds": {"serial": "TINY", "size": "2048"},
        "vdt": {"serial": "MEMBER", "vdt1/partition": "1", "vdt1/size": "100", "vdt1/holders/dm-7/dm/name": "vg-root"},
        "vdu": {},
        "loop9": {"size": "2048"},
        "sr0": {"size": "2048"},
    }.items():
        for path, text in ({"size": "16777216", "ro": "0", "diskseq": "1"} | files).items():
            (block / name / path).parent.mkdir(parents=True, exist_ok=True)
            (block / name / path).write_text(text + "\n", encoding="utf-8")
    (block / "sdq/device/vpd_pg80").write_bytes(b"\x00\x80\x00\x08QM00001 ")
    installer.environment["STAGEWRIGHT_INSTALL_SYSFS"] = str(tmp_path / "sys")


@pytest.mark.usefixtures("other_disks")
def test_disks_are_listed_with_the_lines_that_name_them(installer: Installer) -> None:
    done = installer("--list", "--json")
    disks = {found["name"]: found for found in map(json.loads, done.stdout.splitlines())}
    assert sorted(disks) == ["nvme9n1", "sdq", "sdr", "sds", "vdq", "vdr", "vds", "vdt", "vdu"]
    assert {name: found["disk"] for name, found in disks.items()} == {
        "vdq": "/dev/disk/by-id/virtio-VIRT1",
        "nvme9n1": "/dev/disk/by-id/nvme-Example_SSD_S123",
        "sdq": "/dev/disk/by-id/ata-QEMU_HARDDISK_QM00001",
        "sdr": "/dev/disk/by-id/ata-Twin_SAME",
        "sds": "/dev/disk/by-id/ata-Twin_SAME",
        "vdr": "/dev/disk/by-id/virtio-LOCKED",
        "vds": "/dev/disk/by-id/virtio-TINY",
        "vdt": "/dev/disk/by-id/virtio-MEMBER",
        "vdu": "",
    }
    assert disks["vdr"]["refused"] == "it is read-only"
    assert disks["vdt"]["refused"] == "held by dm-7 vg-root"
    text = installer("--list").stdout
    assert "  disk = /dev/disk/by-id/virtio-VIRT1\n  size = 8589934592\n" in text
    assert "vdu  8.0 GiB\n  has no serial number" in text


@pytest.mark.usefixtures("other_disks")
@pytest.mark.parametrize(
    ("disk", "size", "problem"),
    [
        ("/dev/disk/by-id/virtio-OTHER", "8G", "not found"),
        ("serial:SAME", "8G", "several disks have this name (sdr sds)"),
        ("/dev/disk/by-id/ata-Twin_SAME", "8G", "several disks have this name"),
        ("wwn:0x1", "8G", "sdr and sds have the same serial number (SAME)"),
        ("/dev/disk/by-id/virtio-VIRT1", "9G", "vdq has 8589934592 bytes, the answers say 9G"),
        ("/dev/disk/by-id/virtio-VIRT1", "8589934593", "the answers say 8589934593"),
        ("/dev/disk/by-id/virtio-LOCKED", "8G", "it is read-only"),
        ("/dev/disk/by-id/virtio-TINY", "1M", "it is too small: 1.0 MiB, at least 770.0 MiB are needed"),
        ("serial:MEMBER", "8G", "held by dm-7 vg-root"),
    ],
)
def test_a_disk_that_was_not_named_by_id_and_size_is_refused(
    installer: Installer, disk: str, size: str, problem: str
) -> None:
    path = installer.answers(disk=disk, size=size, layout="ext4", verify="none", checksum=None)
    done = installer("--answers", str(path))
    assert done.returncode == 3 and problem in done.stderr, done.stderr


def test_the_disk_of_the_running_system_is_refused(installer: Installer) -> None:
    """Of this machine, if it has one."""
    disks = [json.loads(line) for line in installer("--list", "--json").stdout.splitlines()]
    source = next(
        line.split()[0]
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        if line.split()[1] == "/"
    )
    if source.removeprefix("/dev/") not in {disk["name"] for disk in disks}:
        pytest.skip("NOT TESTED: this machine's root is not on a disk")
    (disk,) = [disk for disk in disks if disk["name"] == source.removeprefix("/dev/")]
    assert "the running system is on it (mounted at /)" in disk["refused"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Type=root\n", "10.conf:1: no [Partition] before this line"),
        ("[Partition]\nType=cellar\n", "10.conf:2: unknown Type=cellar"),
        ("[Partition]\nFormat=ext4\n", "no Type="),
        ("[Partition]\nType=root\nFormat=ntfs\n", "10.conf:3: Format=ntfs is unsupported"),
        ("[Partition]\nType=root\nEncrypt=rot13\n", "10.conf:3: Encrypt=rot13 is unsupported"),
        ("[Partition]\nType=root\nSizeMinBytes=big\n", "10.conf:3: not a size (big)"),
        ("[Partition]\nType=root\nWeight=heavy\n", "10.conf:3: Weight is not a number"),
        ("[Partition]\nType=root\nVerity=data\n", "10.conf:3: Verity is unsupported"),
        ("[Partition]\nType=root\nFormat=ext4\n", "no EFI system partition"),
        ("[Partition]\nType=esp\nFormat=vfat\n", "no partition for /"),
        ("[Partition]\nType=esp\nFormat=ext4\n", "Type=esp needs Format=vfat"),
        ("[Partition]\nType=esp\nFormat=vfat\nEncrypt=tpm2\n", "Type=esp cannot be encrypted"),
        ("[Partition]\nType=home\nFormat=ext4\nSizeMinBytes=2G\nSizeMaxBytes=1G\n", "below the least size"),
    ],
)
def test_a_wrong_layout_is_reported(installer: Installer, text: str, problem: str) -> None:
    folder = installer.folder / "layout"
    folder.mkdir()
    (folder / "10.conf").write_text(text, encoding="utf-8")
    done = installer.install()
    assert done.returncode == 2 and problem in done.stderr, done.stderr
    assert not installer.image.exists()


def test_unknown_and_empty_layouts_are_reported(installer: Installer) -> None:
    done = installer.install(layout="attic")
    assert done.returncode == 2 and "the layouts are: bios btrfs ext4 luks luks-tpm2 swap xfs" in done.stderr
    (installer.folder / "layout").mkdir()
    assert "no definitions" in installer.install().stderr
