"""QEMU command lines for machine specifications."""

import re
from pathlib import Path

import pytest

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.vm import accel
from stagewright.vm.disks import DiskBus, EmptyDisk
from stagewright.vm.firmware import Firmware
from stagewright.vm.machine_spec import MachineSpec, architecture_of, check, command_line, prepare

TCG = accel.tcg("test")
OVMF = Firmware(Path("/fw/CODE.fd"), Path("/fw/VARS.fd"))


def line(spec: MachineSpec, firmware: Firmware | None = None) -> str:
    return " ".join(command_line(spec, TCG, ["-serial", "stdio"], firmware=firmware, variables=Path("/t/variables.fd")))


def test_uefi_cd() -> None:
    text = line(MachineSpec(cdrom=Path("/a/live.iso")), OVMF)
    assert text.startswith(
        "qemu-system-x86_64 -no-user-config -nodefaults -no-reboot -accel tcg,thread=multi,tb-size=512"
    )
    assert "-machine q35 -m 1536 -smp 2 -display none -vga std -serial stdio" in text
    assert "-drive if=pflash,unit=0,format=raw,readonly=on,file=/fw/CODE.fd" in text
    assert "-drive if=pflash,unit=1,format=raw,file=/t/variables.fd" in text
    assert "file=/a/live.iso" in text
    assert "scsi-cd,bus=scsi.0,drive=cdrom,bootindex=1" in text
    assert "-netdev" not in text


def test_secure_boot_needs_smm() -> None:
    text = line(MachineSpec(), Firmware(OVMF.code, OVMF.variables, features=frozenset({"requires-smm"})))
    assert "-machine q35,smm=on" in text
    assert "driver=cfi.pflash01,property=secure,value=on" in text


def test_writes_to_media_are_discarded_by_default() -> None:
    spec = MachineSpec(firmware="bios", disk=Path("/d.qcow2"), usb=Path("/u.img"))
    assert "id=disk,snapshot=on,format=qcow2,file=/d.qcow2" in line(spec)
    assert "id=usb,snapshot=on,format=raw,file=/u.img" in line(spec)
    kept = MachineSpec(firmware="bios", disk=Path("/d.qcow2"), keep_writes=True)
    assert "id=disk,format=qcow2,file=/d.qcow2" in line(kept)


def test_commas_in_paths_are_doubled() -> None:
    assert "file=/a,,b.iso" in line(MachineSpec(firmware="bios", cdrom=Path("/a,b.iso")))


def test_direct_boot() -> None:
    spec = MachineSpec(firmware=None, kernel=Path("/k"), initrd=Path("/i"), append="console=ttyS0 quiet")
    words = command_line(spec, TCG, [])
    assert words[words.index("-append") + 1] == "console=ttyS0 quiet"
    assert words[words.index("-kernel") + 1] == "/k"
    assert "pflash" not in " ".join(words)


def test_a_machine_on_an_interface_of_this_computer() -> None:
    text = line(MachineSpec(firmware="bios", network="tap"))
    assert MachineSpec(network="tap").boot_options() == 2
    assert "-netdev tap,id=net,ifname=tap0,script=no,downscript=no -device virtio-net-pci,netdev=net" in text


def test_network_options_and_extra() -> None:
    spec = MachineSpec(firmware="bios", network="user", user_network=("tftp=/t", "bootfile=x"), extra=("-snapshot",))
    assert "-netdev user,id=net,tftp=/t,bootfile=x -device virtio-net-pci,netdev=net,bootindex=4 -snapshot" in line(
        spec
    )


def test_media_leave_boot_index_0_to_the_kernel() -> None:
    places = re.findall(
        r"bootindex=(\d+)", line(MachineSpec("bios", kernel=Path("/k"), cdrom=Path("/c"), usb=Path("/u")))
    )
    assert len(places) == len(set(places)) == 2
    assert "0" not in places  # QEMU uses it for a kernel that it starts


def test_empty_disks_have_serial_numbers_and_start_after_the_network() -> None:
    empty = tuple(EmptyDisk(1 << 30, bus.value, bus, Path(f"/{bus}.qcow2")) for bus in DiskBus)
    spec = MachineSpec(cdrom=Path("/c"), network="user", tpm=True, empty_disks=empty)
    text = line(spec)
    assert "id=drive1,format=qcow2,file=/virtio.qcow2" in text
    assert "virtio-blk-pci,werror=report,id=disk1,drive=drive1,serial=virtio,bootindex=11" in text
    assert "scsi-hd,bus=disks.0,werror=report,id=disk2,drive=drive2,serial=scsi,bootindex=12" in text
    assert "-device nvme,id=disk3,drive=drive3,serial=nvme,bootindex=13" in text
    assert "net,bootindex=4" in text
    assert (spec.boot_options(), spec.from_disk().boot_options()) == (2, 4)
    text = line(spec.from_disk())
    assert "/c" not in text
    assert "net,bootindex=90" in text
    assert spec.from_disk().tpm


@pytest.mark.parametrize("spec", [MachineSpec(), MachineSpec(None, kernel=Path("/k"), empty_disks=(EmptyDisk(1),))])
def test_a_machine_without_disk_or_firmware_cannot_start_from_disk(spec: MachineSpec) -> None:
    with pytest.raises(StagewrightError) as caught:
        spec.from_disk()
    assert caught.value.reason is Reason.USAGE


@pytest.mark.parametrize(
    "settings",
    [
        {"firmware": None},
        {"append": "quiet"},
        {"initrd": Path("/i")},
        {"architecture": "aarch64", "firmware": "bios"},
    ],
)
def test_inconsistent_settings_are_rejected(settings: dict[str, object]) -> None:
    with pytest.raises(StagewrightError) as caught:
        MachineSpec(**settings)  # type: ignore[arg-type]
    assert caught.value.reason is Reason.INVALID_VALUE


def test_missing_media_and_tools_are_reported(tmp_path: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        check(MachineSpec(cdrom=tmp_path / "no.iso"), "sh")
    assert caught.value.reason is Reason.MISSING_FILE
    with pytest.raises(StagewrightError) as caught:
        check(MachineSpec(), str(tmp_path / "qemu"))
    assert caught.value.reason is Reason.MISSING_TOOL


def test_each_machine_has_its_own_variables(tmp_path: Path) -> None:
    template = tmp_path / "VARS.fd"
    template.write_bytes(b"template")
    command = prepare(MachineSpec(), TCG, tmp_path, [], firmware=Firmware(OVMF.code, template))
    assert (tmp_path / "variables.fd").read_bytes() == b"template"
    assert f"if=pflash,unit=1,format=raw,file={tmp_path}/variables.fd" in command


def test_unsupported_architectures_are_reported() -> None:
    assert architecture_of(Arch.X86) == "x86_64"
    assert architecture_of(Arch.ARM64) == "aarch64"
    with pytest.raises(StagewrightError) as caught:
        architecture_of(Arch.RISCV)
    assert caught.value.reason is Reason.HOST_FEATURE
