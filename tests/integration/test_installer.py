"""Installations by stagewright-install into files, as root, with loop devices and the host's real tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from installer import KERNEL, LOADER, Installer, make_tree, sha256

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: installing needs root"),
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="NOT TESTED: no loop devices"),
]
MIB = 1024 * 1024
ESP = 40
"""MiB of the EFI system partition of the layout for tests."""
KEY = "ssh-ed25519 AAAAC3Nz a@b"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("source") / "tree")


@pytest.fixture(scope="module")
def source(tree: Path) -> Path:
    """The small system as a squashfs."""
    return squashed(tree)


def squashed(tree: Path) -> Path:
    image = tree.parent / "system.squashfs"
    words = ["mksquashfs", tree, image, "-quiet", "-no-progress", "-noappend"]
    subprocess.run(words, check=True, capture_output=True)
    return image


@pytest.fixture
def installer(tmp_path: Path, source: Path) -> Iterator[Installer]:
    made = Installer(tmp_path, source)
    made.layout(root="Format=ext4\n")
    yield made
    made.pull_the_plug()


class Root:
    """The root file system of an image, read without a mount that other programs could keep busy."""

    def __init__(self, image: Path, start: int = (1 + ESP) * MIB) -> None:
        self.image = f"{image}?offset={start}"

    def ask(self, request: str) -> bytes:
        words = ["debugfs", "-R", request, self.image]
        return subprocess.run(words, check=True, capture_output=True).stdout

    def text(self, path: str) -> str:
        return self.ask(f"cat /{path}").decode()

    def stat(self, path: str) -> str:
        """Return type, mode, owner, number of links and target of a link, as words."""
        return " ".join(self.ask(f"stat /{path}").decode().split())

    def has(self, path: str) -> bool:
        return "Inode:" in self.stat(path)


def on_esp(image: Path, path: str, start: int = MIB) -> bytes:
    return subprocess.run(["mtype", "-i", f"{image}@@{start}", f"::/{path}"], check=True, capture_output=True).stdout


def loops_of(image: Path) -> str:
    return subprocess.run(["losetup", "-j", image], check=True, capture_output=True, text=True).stdout


def used(image: Path) -> bool:
    """True if something was written to a file that was made sparse."""
    return image.stat().st_blocks > 0


def starts(image: Path) -> bool:
    """True if firmware would find a boot loader on the image."""
    words = ["mdir", "-i", f"{image}@@{MIB}", "::/EFI/BOOT/BOOTX64.EFI"]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


# dash of Debian 13 has pipefail, as bash has: there blkid of util-linux, which fails for an empty disk, ends a program.
@pytest.mark.parametrize(("shell", "tool"), [("bash --posix", "systemd-repart"), ("busybox ash", "sfdisk")], ids=str)
def test_an_installation_has_what_was_asked_for(installer: Installer, shell: str, tool: str) -> None:
    installer.shell = shell
    if tool == "sfdisk":
        installer.fakes.hide("systemd-repart")
    done = installer.install(
        hostname="box.example.org",
        locale="de_DE.UTF-8",
        keymap="de-latin1",
        timezone="Europe/Berlin",
        root_password="$6$salt$root",
        root_ssh_key=KEY,
        user="alice",
        user__alice__password="$6$salt$alice",
        user__alice__groups="wheel audio",
        user__alice__ssh_key=KEY,
        kernel_arguments="quiet loglevel=3",
    )
    assert done.returncode == 0, done.stderr
    root = Root(installer.image)
    assert root.text("etc/hostname") == "box\n"
    assert "127.0.1.1\tbox.example.org box" in root.text("etc/hosts")
    assert root.text("etc/locale.conf") == "LANG=de_DE.UTF-8\n"
    assert root.text("etc/vconsole.conf") == "KEYMAP=de-latin1\n"
    assert 'Fast link dest: "../usr/share/zoneinfo/Europe/Berlin"' in root.stat("etc/localtime")
    assert root.has("etc/machine-id") and root.text("etc/machine-id") == ""
    assert not root.has("etc/ssh/ssh_host_rsa_key")
    shadow = root.text("etc/shadow")
    assert shadow.startswith("root:$6$salt$root:") and "\nalice:$6$salt$alice:" in shadow
    assert "Mode: 0600" in root.stat("etc/shadow")
    assert "alice:x:1000:1000::/home/alice:/bin/sh\n" in root.text("etc/passwd")
    assert "wheel:x:10:alice\naudio:x:18:root,alice\n" in root.text("etc/group")
    assert root.text("root/.ssh/authorized_keys") == KEY + "\n"
    assert root.text("home/alice/.ssh/authorized_keys") == KEY + "\n"
    keys = root.stat("home/alice/.ssh/authorized_keys")
    assert "User: 1000 Group: 1000" in keys and "Mode: 0600" in keys
    assert root.has("home/alice/.profile")
    assert "Links: 2" in root.stat("usr/bin/program")
    assert 'Fast link dest: "program"' in root.stat("usr/bin/link")
    fstab, log = root.text("etc/fstab"), root.text("var/log/stagewright-install.log")
    assert "salt" not in log
    assert ("systemd-repart" in log) == (tool == "systemd-repart")
    assert "\t/efi\tvfat\tumask=0077\t0 2\n" in fstab
    (uuid,) = [line.split()[0] for line in fstab.splitlines() if "\t/\text4\t" in line]
    entry = on_esp(installer.image, "loader/entries/demo-6.1-test.conf").decode()
    assert f"options root={uuid} rootfstype=ext4 rw console=ttyS0,115200 quiet loglevel=3\n" in entry
    assert on_esp(installer.image, "demo/6.1-test/linux") == KERNEL
    assert on_esp(installer.image, "EFI/BOOT/BOOTX64.EFI") == LOADER
    assert not loops_of(installer.image)


def test_a_dry_run_shows_everything_and_writes_nothing(installer: Installer) -> None:
    installer.image.write_bytes(os.urandom(MIB))
    os.truncate(installer.image, 128 * MIB)
    before = sha256(installer.image), installer.image.stat().st_mtime_ns
    done = installer.install("--dry-run", hostname="box")
    assert done.returncode == 0, done.stderr
    assert "system.squashfs" in done.stdout and "ext4  /" in done.stdout and "Nothing was written" in done.stdout
    assert (sha256(installer.image), installer.image.stat().st_mtime_ns) == before
    assert not loops_of(installer.image)


def test_content_is_lost_only_if_the_answers_say_so(installer: Installer) -> None:
    subprocess.run(["mkfs.ext4", "-q", "-L", "precious", installer.image, "100M"], check=True)
    before = sha256(installer.image)
    done = installer.install()
    assert done.returncode == 3 and 'ext4 "precious"' in done.stderr and "overwrite = yes" in done.stderr
    assert sha256(installer.image) == before
    assert installer.install(overwrite="yes").returncode == 0
    done = installer.install("--resume")
    assert done.returncode == 0 and "installed by these answers already" in done.stdout
    assert installer("--undo", "--image", str(installer.image)).returncode == 1


STOPS = [
    ("systemd-repart", "*", False, "begun"),
    ("mkfs.vfat", "*", True, "encrypt"),
    ("mkfs.ext4", "*", True, "encrypt"),
    ("cp", "-a*", True, "format"),
    ("rm", "*machine-id*", True, "copy"),
    ("mcopy", "*vmlinuz*", True, "configure"),
    ("mcopy", "*BOOTX64*", False, "configure"),
]
"""A call during which an installation is killed, after or before it, and the last step that was whole then."""


def test_a_killed_installation_goes_on(installer: Installer) -> None:
    """Kill it in each step. Each time the image does not start, and --resume repeats no step that was whole."""
    for program, words, after, step in STOPS:
        installer.kill_at(program, when=words, after=after)
        done = installer.install("--resume", hostname="box")
        assert done.returncode == -9, (program, done.stdout, done.stderr)
        installer.pull_the_plug()
        assert not starts(installer.image)
        assert f"step {step}\n".encode() in installer.image.read_bytes()[512 * 1024 : 513 * 1024], program
    installer.kill_at("")
    refused = installer.install(hostname="box")
    assert refused.returncode == 1 and "after the step configure" in refused.stderr
    done = installer.install("--resume", hostname="box")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("whole already") == 4  # table, encrypt, format, copy
    assert starts(installer.image)
    assert "Links: 2" in Root(installer.image).stat("usr/bin/program")
    assert not loops_of(installer.image)


def test_an_interrupted_installation_can_be_undone(installer: Installer) -> None:
    done = installer.install("--undo")
    assert done.returncode == 1 and "no interrupted installation" in done.stderr
    installer.kill_at("cp", when="-a*")
    assert installer.install().returncode == -9
    installer.pull_the_plug()
    installer.kill_at("")
    installer.layout(root="Format=ext4\nSizeMinBytes=60M\n")
    other = installer.install("--resume")
    assert other.returncode == 1 and "had another disk, layout or source" in other.stderr
    done = installer("--undo", "--image", str(installer.image))
    assert done.returncode == 0, done.stderr
    for start in (0, MIB, (1 + ESP) * MIB):
        words = ["blkid", "-p", "--offset", str(start), installer.image]
        assert subprocess.run(words, check=False, capture_output=True).returncode == 2, start
    assert installer.install().returncode == 0
    assert not loops_of(installer.image)


def test_a_terminated_installation_leaves_no_mounts(installer: Installer) -> None:
    installer.kill_at("cp", when="-a*", signal="TERM")
    done = installer.install("--json")
    assert done.returncode == 143
    assert not loops_of(installer.image)
    assert json.loads(done.stdout.splitlines()[-1]) == {"event": "result", "state": "failed", "code": 143}


def test_a_full_target_is_reported_before_and_in_the_middle(installer: Installer, tree: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    shutil.copytree(tree, big, symlinks=True)
    (big / "blob").write_bytes(os.urandom(85 * MIB))
    image, archive = squashed(big), tmp_path / "big.tar"
    done = installer.install(source=str(image), checksum=None, verify="none")
    assert done.returncode == 1 and "the system needs 85." in done.stderr and not used(installer.image)
    subprocess.run(["tar", "-C", big, "-cf", archive, "."], check=True)
    done = installer.install(source=str(archive), checksum=f"sha256:{sha256(archive)}")
    assert done.returncode == 1 and "the target is full" in done.stderr and "--undo" in done.stderr
    assert installer("--undo", "--image", str(installer.image)).returncode == 0
    said = "tar: ./blob: Wrote only 512 of 10240 bytes"  # of a block that was written in part
    installer.fakes.put("tar", f'"$real" "$@" 2> /dev/null || {{ echo "{said}" >&2; exit 2; }}')
    done = installer.install(source=str(archive), checksum=f"sha256:{sha256(archive)}")
    assert done.returncode == 1 and f"the target is full ({said}" in done.stderr
    assert not starts(installer.image)
    assert not loops_of(installer.image)
