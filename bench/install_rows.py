"""Rows of `make install-matrix`: installations that start a machine afterwards."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.install_lab import (
    DRY_RUN,
    GUIDED,
    INSTALL,
    KEY,
    LIST,
    LOCALE,
    PASSPHRASE,
    PASSWORD,
    PROGRAM,
    TARGET,
    Lab,
    answers,
    check_installed,
    install,
    put,
    sha256,
    wait_for_result,
)
from bench.matrix import ROOT
from stagewright.netboot.methods import Method
from stagewright.netboot.writer import SCRIPT
from stagewright.store.links import link

PROGRAM_HERE = ROOT / "examples/demo/repo/sys-apps/stagewright-install/files" / PROGRAM
ASKED = r"[Pp]lease enter passphrase"

LUKS2 = (
    ("cryptsetup status root", "type: +LUKS2"),
    ("findmnt --noheadings --output SOURCE /", "^/dev/mapper/root$"),
)
"""Commands in a system with an encrypted root, and what they print."""


def from_iso(lab: Lab) -> None:
    """Start the ISO by its boot menu, install by a file of answers, and start from the disk."""
    with lab.machine(TARGET, direct=False) as machine:
        machine.wait_for_prompt()
        machine.check(LIST, expect="disk = /dev/disk/by-id/virtio-target")
        put(machine, answers())
        machine.check(DRY_RUN, expect="Nothing was written")
        machine.check("cat /sys/block/vda/stat | tr -s ' ' | cut -d ' ' -f 8", expect="^0$")
        install(machine, answers(), expect="installed on disk vda")
        machine.reboot(from_disk=True)
        check_installed(machine)


def on_btrfs(lab: Lab) -> None:
    """Install with another file system."""
    with lab.machine(TARGET) as machine:
        machine.wait_for_prompt()
        install(machine, answers(layout="btrfs"))
        machine.reboot(from_disk=True)
        check_installed(machine, fstype="btrfs")


def encrypted(lab: Lab) -> None:
    """Encrypt the root. The second start has a wrong passphrase first."""
    with lab.machine(TARGET, memory=1024) as machine:
        machine.wait_for_prompt()
        done = install(machine, answers(layout="luks", passphrase=PASSPHRASE))
        assert PASSPHRASE not in done
        machine.reboot(from_disk=True)
        for words in ("wrong horse", PASSPHRASE):
            machine.wait_for_console_text(ASKED)
            machine.type(f"{words}\n")
        check_installed(machine, *LUKS2)


def by_tpm(lab: Lab) -> None:
    """Encrypt the root with a key in the TPM. The disk starts without a question there, and not with another TPM."""
    with lab.machine(TARGET, memory=1024, tpm=True) as machine:
        machine.wait_for_prompt()
        install(machine, answers(layout="luks-tpm2", passphrase=PASSPHRASE))
        machine.reboot(from_disk=True)
        check_installed(machine, *LUKS2, ("cryptsetup luksDump /dev/disk/by-partlabel/root", "systemd-tpm2"))
        shutil.rmtree(lab.folder / "tpm")  # another computer
        machine.start()
        machine.wait_for_console_text(ASKED)
        machine.type(f"{PASSPHRASE}\n")
        machine.login("root", PASSWORD)
        machine.shutdown()


def from_network(lab: Lab) -> None:
    """Start from the network with 512 MiB, with an image that is read over HTTP, and install from there."""
    with lab.site() as (site, url):
        for path in lab.media.net.rglob("*"):
            if path.is_file():
                link(path.resolve(), site / path.relative_to(lab.media.net))
        lines = ["#!ipxe", f"set method {Method.STREAM}", f"set base-url {url}", f"chain --replace {SCRIPT}", ""]
        (site / "start.ipxe").write_text("\n".join(lines), encoding="utf-8")
        network = [f"bootfile={url}/start.ipxe"]
        with lab.machine(TARGET, direct=False, medium=False, memory=512, network=network) as machine:
            machine.wait_for_prompt()
            machine.check("cat /proc/cmdline", expect="stream")
            install(machine, answers())
            machine.reboot(from_disk=True)
            check_installed(machine)


def unattended(lab: Lab) -> None:
    """Install by a kernel argument with an address, without a person. The machine turns itself off."""
    with lab.site() as (site, url):
        (site / "answers").write_text(answers(finish="poweroff"), encoding="utf-8")
        with lab.machine(TARGET, append=f"stagewright.install={url}/answers") as machine:
            wait_for_result(machine)
            machine.start(from_disk=True)
            check_installed(machine)


def by_stick(lab: Lab) -> None:
    """Install by a file of answers on a stick, with the file system XFS."""
    file, stick = lab.folder / "answers", lab.folder / "stick.img"
    file.write_text(answers(layout="xfs", finish="reboot"), encoding="utf-8")
    with stick.open("wb") as stream:
        stream.truncate(16 << 20)
    subprocess.run(["mkfs.vfat", "-n", "ANSWERS", stick], check=True, capture_output=True)
    subprocess.run(["mcopy", "-i", stick, file, "::/answers"], check=True)
    device = ["-drive", f"if=none,id=stick,format=raw,readonly=on,file={stick}"]
    device += ["-device", "virtio-blk-pci,drive=stick"]  # the kernel of clouds has no driver of USB sticks
    with lab.machine(TARGET, append="stagewright.install=LABEL=ANSWERS:/answers", extra=device) as machine:
        wait_for_result(machine)
        machine.start(from_disk=True)
        check_installed(machine, fstype="xfs")


def of_tarball(lab: Lab) -> None:
    """Install a tarball over HTTP. A changed one is refused, and does not start."""
    with lab.site() as (site, url):
        good, bad = (site / f"{name}{lab.media.tarball.name}" for name in ("", "changed-"))
        link(lab.media.tarball.resolve(), good)
        shutil.copyfile(good, bad)
        with bad.open("r+b") as stream:
            stream.seek(bad.stat().st_size // 2)
            stream.write(b"changed")
        digest = sha256(good)
        with lab.machine(TARGET) as machine:
            machine.wait_for_prompt()
            changed = answers(source=f"{url}/{bad.name}", checksum=digest)
            install(machine, changed, status=1, expect="the file was not used")
            machine.check(f"{INSTALL} --undo", expect="cleared the interrupted installation")
            install(machine, answers(source=f"{url}/{good.name}", checksum=digest))
            machine.reboot(from_disk=True)
            check_installed(machine)


def of_image(lab: Lab) -> None:
    """Install onto a file on this computer, then install the file over HTTP."""
    with lab.site() as (site, url):
        image = site / "disk.img"
        file = lab.folder / "answers"
        source = {"source": str(lab.media.squashfs.resolve()), "source_type": "squashfs"}
        more = {"checksum": sha256(lab.media.squashfs), "disk": None, "size": None, "console": "ttyS0,115200"}
        file.write_text(answers(**source, **more), encoding="utf-8")
        words = [str(PROGRAM_HERE), "--image", str(image), "--size", "1536M", "--answers", str(file)]
        subprocess.run(words, check=True)
        subprocess.run(["zstd", "-q", "-T2", "--rm", image], check=True)
        packed = Path(f"{image}.zst")
        with lab.machine(TARGET) as machine:
            machine.wait_for_prompt()
            lines = [
                "disk = /dev/disk/by-id/virtio-target",
                "size = 2G",
                f"source = {url}/{packed.name}",
                "source-type = image",
                f"checksum = {sha256(packed)}",
                "",
            ]
            install(machine, "\n".join(lines))
            machine.reboot(from_disk=True)
            check_installed(machine)


def by_bios(lab: Lab) -> None:
    """Start the ISO by BIOS, install with GRUB, and start the disk by BIOS."""
    with lab.machine(TARGET, direct=False, firmware="bios") as machine:
        machine.wait_for_prompt()
        install(machine, answers(layout="bios"))
        machine.reboot(from_disk=True)
        check_installed(machine, ("test ! -e /sys/firmware/efi && echo by BIOS", "by BIOS"))


def unified(lab: Lab) -> None:
    """Install with a unified kernel image, which ukify makes on the live system."""
    with lab.machine(TARGET) as machine:
        machine.wait_for_prompt()
        install(machine, answers(boot="uki"))
        machine.reboot(from_disk=True)
        entries = "ls /efi/loader/entries/*.conf || echo no entry"
        check_installed(machine, ("ls /efi/EFI/Linux", r"[.]efi$"), (entries, "^no entry"))


QUESTIONS = (
    (r"^Disk \[vda\]: ", "sr0"),
    (r"there is no disk sr0\s+Disk \[vda\]: ", "vda"),
    (r"Layout .*: ", "ext5"),
    (r"layout ext5: not found[\s\S]*?Layout .*: ", "ext4"),
    (r"Source .*: ", ""),
    (r"Host name .*: ", "box"),
    (r"Time zone .*: ", ""),
    (r"Keyboard layout .*: ", ""),
    (r"Locale .*: ", LOCALE),
    (r"Network .*: ", "dhcp"),
    (r"Password of root .*: ", PASSWORD),
    (r"again: ", PASSWORD),
    (r"SSH key of root .*: ", KEY),
    (r"Name of a user .*: ", "alice"),
    (r"Password of alice: ", "wonder"),
    (r"again: ", "land"),
    (r"the two differ\s+Password of alice: ", "wonder"),
    (r"again: ", "wonder"),
    (r"Then .*: ", ""),
    (r'Type "vda" to erase it and to begin: ', "vda"),
)
"""Patterns of questions, and what is typed."""


def guided(lab: Lab) -> None:
    """Answer the questions on the console. Wrong replies are asked for again."""
    with lab.machine(TARGET) as machine:
        machine.wait_for_prompt()
        machine.type(f"{GUIDED}\n")
        for question, reply in QUESTIONS:
            machine.wait_for_console_text(question)
            machine.type(f"{reply}\n")
        machine.wait_for_console_text(r"installed on disk vda")
        machine.wait_for_prompt()
        machine.reboot(from_disk=True)
        check_installed(machine, groups="alice")
