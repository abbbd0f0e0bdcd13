"""``stagewright boot``: how options become machines; nothing is started."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from stagewright.cli.main import run
from stagewright.errors import Exit, Reason, StagewrightError
from stagewright.run import run as run_program
from stagewright.vm import disks
from stagewright.vm.display import Graphic, screen
from stagewright.vm.folder import kept_folder

Lines = Callable[..., list[str]]

MENU = """DEFAULT live
LABEL live
\tKERNEL boot/gentoo
\tINITRD combined.igz
\tAPPEND root=live:/image.squashfs.img quiet
"""


@pytest.fixture
def network_set(tmp_path: Path) -> Path:
    """The folder of a network set."""
    folder = tmp_path / "set"
    for name in ("boot/gentoo", "combined.igz", "image.squashfs", "pxelinux.cfg/default"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(MENU, encoding="utf-8")
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(510) + b"\x55\xaa" + bytes(1 << 20))
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that remembers the test of KVM, which takes a second."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "cache").mkdir()
    return folder


@pytest.fixture
def lines(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Run the command and return its lines."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str | Path, code: Exit = Exit.OK) -> list[str]:
        capsys.readouterr()
        assert run(["--store", str(store), "boot", *map(str, words)]) == code
        said = capsys.readouterr()
        return (said.out or said.err).splitlines()

    return call


def test_the_lines_for_a_shell_have_variables_tpm_and_every_option(disk: Path, lines: Lines, tmp_path: Path) -> None:
    said = lines(disk, "--qemu", "--tpm", "--disk", "5G", "--forward", "2222:22", "--memory", "512")
    folder = tmp_path / "disk.machine"
    assert not folder.exists()
    assert [line.split()[0] for line in said[:-1]] == ["mkdir", "qemu-img", "mkdir", "cp", "mkdir", "swtpm"]
    qemu = shlex.split(said[-1])
    assert f"if=pflash,unit=1,format=raw,file={folder}/variables.fd" in qemu
    assert f"if=none,id=disk,snapshot=on,format=raw,file={disk}" in qemu
    assert f"if=none,id=drive1,format=qcow2,file={folder}/empty.qcow2" in qemu
    assert "user,id=net,hostfwd=tcp:127.0.0.1:2222-:22" in qemu
    assert "tpm-crb,tpmdev=tpm0" in qemu
    assert qemu[qemu.index("-m") + 1] == "512"


def test_a_network_set_is_started_with_its_kernel_and_more_arguments(network_set: Path, lines: Lines) -> None:
    qemu = shlex.split(lines(network_set, "--qemu", "--append", "rd.break x=1")[-1])
    assert qemu[qemu.index("-kernel") + 1] == str(network_set / "boot/gentoo")
    assert qemu[qemu.index("-initrd") + 1] == str(network_set / "combined.igz")
    words = "root=live:/image.squashfs.img quiet console=ttyS0,115200 rd.break x=1"
    assert qemu[qemu.index("-append") + 1] == words


def test_secure_boot_is_required_of_the_firmware(disk: Path, lines: Lines) -> None:
    said = "\n".join(lines(disk, "--qemu", "--secure"))
    assert "smm=on" in said
    assert re.search(r"VARS\S*\.ms\.fd|VARS\S*secboot", said)


def test_writes_are_kept_in_a_layer_of_the_folder(disk: Path, lines: Lines, tmp_path: Path) -> None:
    before = disk.read_bytes()
    qemu = shlex.split(lines(disk, "--qemu", "--keep", tmp_path / "vm")[-1])
    assert f"if=none,id=disk,format=qcow2,file={tmp_path}/vm/disk.qcow2" in qemu
    assert disks.layer(disk, tmp_path / "vm") == tmp_path / "vm" / "disk.qcow2"
    assert str(disk) in run_program(["qemu-img", "info", tmp_path / "vm" / "disk.qcow2"]).stdout
    with pytest.raises(StagewrightError) as caught:
        disks.layer(tmp_path / "other.img", tmp_path / "vm")
    assert caught.value.reason is Reason.INVALID_VALUE
    assert disk.read_bytes() == before


def test_a_disk_of_the_folder_itself_is_used_as_it_is(lines: Lines, tmp_path: Path) -> None:
    made = disks.empty(tmp_path / "vm" / disks.EMPTY, disks.disk_size("1G"))
    qemu = shlex.split(lines(made, "--qemu", "--keep", tmp_path / "vm")[-1])
    assert f"if=none,id=disk,format=qcow2,file={made}" in qemu


def test_the_domain_of_libvirt(disk: Path, network_set: Path, lines: Lines, tmp_path: Path) -> None:
    said = lines(network_set, "--libvirt-xml", "--tpm", "--network", "--graphic")
    root = ET.fromstring("\n".join(said))
    found = {name: root.findtext(f"os/{name}") for name in ("kernel", "initrd", "cmdline")}
    assert found["kernel"] == str(network_set / "boot/gentoo")
    assert str(found["cmdline"]).startswith("root=live:/image.squashfs.img")
    system, feature = root.find("os"), root.find("os/firmware/feature")
    assert system is not None
    assert system.get("firmware") == "efi"
    assert feature is not None
    assert feature.attrib == {"enabled": "no", "name": "secure-boot"}
    assert root.find("devices/tpm") is not None
    assert root.find("devices/interface") is not None

    assert lines(disk, "--libvirt-xml", code=Exit.INVALID)  # libvirt would write to the image
    root = ET.fromstring("\n".join(lines(disk, "--libvirt-xml", "--keep", tmp_path / "vm", "--secure")))
    source = root.find("devices/disk/source")
    assert source is not None
    assert source.get("file") == str(tmp_path / "vm" / "disk.qcow2")
    assert root.find("features/smm") is not None


def test_the_command_line_of_virt_install(disk: Path, network_set: Path, lines: Lines, tmp_path: Path) -> None:
    (line,) = lines(network_set, "--virt-install", "--os-variant", "linux2022")
    words = shlex.split(line)
    assert words[words.index("--os-variant") + 1] == "linux2022"
    install = words[words.index("--install") + 1]
    assert install.startswith(f"kernel={network_set}/boot/gentoo,initrd={network_set}/combined.igz")
    assert 'kernel_args="root=live:/image.squashfs.img quiet console=ttyS0,115200"' in install
    (line,) = lines(disk, "--virt-install", "--keep", tmp_path / "vm", "--disk", "1G")
    assert f"--import --disk path={tmp_path}/vm/disk.qcow2,format=qcow2,bus=virtio" in line
    assert f"--disk path={tmp_path}/vm/empty.qcow2" in line


@pytest.mark.parametrize(
    "words",
    [
        ["--qemu", "--libvirt-xml"],
        ["--until", "x"],
        ["--secure", "--firmware", "bios"],
        ["--disk", "5"],
        ["--disk", "0G"],
        ["--disk", "1G,serial=a b"],
        ["--disk", "1G,bus=floppy"],
        ["--disk", "1G,name=x"],
        ["--from-disk"],
        ["--from-disk", "--disk", "1G"],
        ["--forward", "22"],
        ["--forward", "0:22"],
        ["--append", "x"],
        ["--", "uname"],
        ["--libvirt-xml", "--disk", "1G"],
        ["--libvirt-xml", "--attach", "usb", "--keep", "vm"],
        ["--libvirt-xml", "--forward", "2222:22", "--keep", "vm"],
        ["--virt-install", "--variables", "disk.img", "--keep", "vm"],
        ["--virt-install", "--graphic", "sdl", "--keep", "vm"],
        ["--key-by", "credential"],
        ["--screenshot", "/nowhere/screen.png"],
        ["--forward", "2222:22", "--forward", "2222:80"],
    ],
    ids=" ".join,
)
def test_options_that_do_not_fit_are_refused(disk: Path, lines: Lines, words: list[str]) -> None:
    said = "\n".join(lines(disk, *words, code=Exit.INVALID))
    assert "hint: " in said


FILES = {
    "no.img": b"",
    "zero.img": bytes(1 << 16),
    "text.img": b"hello\n" * 1000,
    "wrong.img": b"QFI\xfb" + bytes(1 << 16),
    "vm.vmdk": b"KDMV" + bytes(1 << 16),
    "raw.qcow2": bytes(510) + b"\x55\xaa",
    "system.squashfs": b"hsqs" + bytes(1 << 16),
    "no.iso": b"",
    "text.iso": b"hello\n" * 10000,
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_no_machine_starts_are_refused(lines: Lines, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    said = "\n".join(lines(tmp_path / name, code=Exit.INVALID))
    assert name in said
    assert "hint: " in said
    assert not list(tmp_path.glob("*.machine"))


def test_what_is_missing_is_not_looked_for_in_a_project(lines: Lines, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for word in ("./nothing", "nothing.iso", "./folder", "nothing"):
        said = "\n".join(lines(word, code=Exit.INVALID))
        assert word in said
        assert "stagewright.toml" not in said


def test_a_port_that_another_program_uses_is_named(disk: Path, lines: Lines) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = lines(disk, "--forward", f"{port}:22", code=Exit.INVALID)
    assert f"--forward {port}: " in said[0]


def test_a_folder_that_another_machine_uses_is_named(disk: Path, lines: Lines, tmp_path: Path) -> None:
    with kept_folder(tmp_path / "vm"):
        said = lines(disk, "--keep", tmp_path / "vm", code=Exit.STORE)
    assert f"{tmp_path}/vm" in said[0]


def test_an_empty_disk_keeps_its_size(disk: Path, lines: Lines, tmp_path: Path) -> None:
    disks.empty(tmp_path / "vm" / disks.EMPTY, disks.disk_size("1G"))
    said = lines(disk, "--libvirt-xml", "--keep", tmp_path / "vm", "--disk", "2G", code=Exit.INVALID)
    assert "1024 MiB, not 2048 MiB" in said[0]
    assert lines(disk, "--libvirt-xml", "--keep", tmp_path / "vm", "--disk", "1G")


def test_what_was_installed_is_started_without_the_image(disk: Path, lines: Lines, tmp_path: Path) -> None:
    disks_of_machine = ("--disk", "1G", "--disk", "2G,serial=data,bus=nvme", "--keep", tmp_path / "vm")
    made = lines(disk, "--qemu", *disks_of_machine)
    assert f"qemu-img create -q -f qcow2 {tmp_path}/vm/empty-2.qcow2 {2 << 30}" in made
    (*before, qemu) = lines(disk, "--qemu", "--from-disk", *disks_of_machine)
    assert not any("qemu-img" in line for line in before)
    assert str(disk) not in qemu
    assert f"format=qcow2,file={tmp_path}/vm/empty.qcow2" in qemu
    assert "nvme,id=disk2,drive=drive2,serial=data" in qemu
    (line,) = lines(disk, "--virt-install", "--from-disk", *disks_of_machine)
    assert f"--import --disk path={tmp_path}/vm/empty.qcow2,format=qcow2,bus=virtio,serial=disk1" in line
    root = ET.fromstring("\n".join(lines(disk, "--libvirt-xml", "--from-disk", *disks_of_machine)))
    assert [item.get("dev") for item in root.findall("devices/disk/target")] == ["vdb", "nvme1n1"]
    assert root.findtext("devices/disk/serial") == "disk1"


@pytest.mark.skipif(shutil.which("osinfo-query") is None, reason="NOT TESTED: no libosinfo")
def test_systems_that_libosinfo_does_not_know_are_refused(disk: Path, lines: Lines, tmp_path: Path) -> None:
    said = "\n".join(
        lines(disk, "--virt-install", "--keep", tmp_path / "vm", "--os-variant", "gento", code=Exit.INVALID)
    )
    assert "did you mean 'gentoo'?" in said
    xml = "\n".join(lines(disk, "--libvirt-xml", "--keep", tmp_path / "vm", "--os-variant", "debian11"))
    assert 'id="http://debian.org/debian/11"' in xml


def test_a_screen_is_shown_by_what_qemu_has(tmp_path: Path) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text('#!/bin/sh\n[ "$1" = -spice ] && exit 1\nprintf "Available:\\nnone\\nsdl\\n"\n', encoding="utf-8")
    qemu.chmod(0o755)
    window = screen(Graphic.AUTO, str(qemu), tmp_path, {"DISPLAY": ":0"})
    assert window.arguments[:2] == ("-display", "sdl")
    assert "DISPLAY" in window.variables
    viewer = screen(Graphic.AUTO, str(qemu), tmp_path, {})
    assert f"unix:{tmp_path}/vnc.socket" in viewer.arguments
    assert str(tmp_path) in viewer.notice
    with pytest.raises(StagewrightError) as caught:
        screen(Graphic.SPICE, str(qemu), tmp_path, {})
    assert caught.value.reason is Reason.HOST_FEATURE
