"""Real QEMU and OVMF, without any medium: the firmware ends in its shell."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.testing.boot import boot
from stagewright.testing.script import BootScript
from stagewright.vm import accel, firmware
from stagewright.vm.firmware_fix import fixes, write_fix
from stagewright.vm.firmware_known import installed
from stagewright.vm.firmware_survey import survey
from stagewright.vm.machine import Machine, is_png
from stagewright.vm.machine_spec import MachineSpec

pytestmark = pytest.mark.boot

LIMIT = 180.0
SMALL = MachineSpec(memory=512)


@pytest.fixture(scope="module")
def acceleration() -> accel.Acceleration:
    return accel.probe()


@pytest.fixture(scope="module")
def ovmf(tmp_path_factory: pytest.TempPathFactory) -> firmware.Firmware:
    """Firmware of a corrected descriptor: the broken one names files that do not exist."""
    folder = tmp_path_factory.mktemp("descriptors")
    mapping = {
        "device": "flash",
        "executable": {"filename": "/nonexistent/code.fd", "format": "raw"},
        "nvram-template": {"filename": "/nonexistent/vars.fd", "format": "raw"},
    }
    document = {"interface-types": ["uefi"], "mapping": mapping, "targets": [], "features": []}
    (folder / "60-edk2-x86_64.json").write_text(json.dumps(document), encoding="utf-8")
    (fix,) = fixes(survey([folder]), [folder], folder, installed())
    write_fix(fix)
    found = firmware.find(firmware.machine_type("q35"), folders=[folder], known=())
    assert found.descriptor == folder / "60-edk2-x86_64.json"
    return found


def test_probe_answers_and_says_why(tmp_path: Path) -> None:
    begin = time.monotonic()
    found = accel.probe(cache=tmp_path / "accel.json")
    assert time.monotonic() - begin < accel.LIMIT + 10
    assert found.name in ("kvm", "tcg")
    assert found.why
    assert accel.probe(cache=tmp_path / "accel.json") == found


def test_probe_sector_runs_where_guests_run(tmp_path: Path) -> None:
    """The same boot sector under emulation, which works everywhere: what the probe waits for does come."""
    disk = tmp_path / "disk"
    disk.write_bytes(accel.SECTOR.ljust(510, b"\0") + b"\x55\xaa" + bytes((1 << 20) - 512))
    command = [
        *("qemu-system-x86_64", *accel.tcg("").arguments, "-machine", "q35", "-m", "64", "-nodefaults", "-display"),
        *("none", "-drive", f"file={disk},format=raw,if=none,id=disk", "-device", "virtio-blk-pci,drive=disk"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
    ]
    assert subprocess.run(command, timeout=60, check=False).returncode == accel.PROVEN


def test_uefi_shell_and_screenshot(tmp_path: Path, acceleration: accel.Acceleration, ovmf: firmware.Firmware) -> None:
    with Machine(SMALL, acceleration, tmp_path, firmware=ovmf) as machine:
        pid = machine.pid
        machine.console.expect("UEFI Interactive Shell", LIMIT)
        machine.console.expect("Shell> ", LIMIT)
        machine.console.send("echo spoken by the shell\r")
        machine.console.expect("spoken by the shell\n", LIMIT)
        assert is_png(machine.screenshot(tmp_path / "screen.png"))
    assert not Path(f"/proc/{pid}").exists()
    assert b"UEFI Interactive Shell" in machine.log.read_bytes()


def test_boot_without_media_fails_early_and_says_so(
    tmp_path: Path, acceleration: accel.Acceleration, ovmf: firmware.Firmware
) -> None:
    with pytest.raises(StagewrightError) as caught:
        boot(SMALL, BootScript(expect=("login:",), seconds=LIMIT), tmp_path, acceleration, firmware=ovmf)
    assert caught.value.reason is Reason.BOOT_FAILED
    assert "opened its shell" in caught.value.message
    assert is_png(tmp_path / "screen.png")
    assert (tmp_path / "result.json").exists()


def test_unbootable_cd_is_noticed(tmp_path: Path, acceleration: accel.Acceleration, ovmf: firmware.Firmware) -> None:
    iso = tmp_path / "empty.iso"
    iso.write_bytes(bytes(1 << 20))
    spec = MachineSpec(memory=512, cdrom=iso)
    with pytest.raises(StagewrightError) as caught:
        boot(spec, BootScript(expect=("login:",), seconds=LIMIT), tmp_path, acceleration, firmware=ovmf)
    assert caught.value.reason is Reason.BOOT_FAILED
    assert "could not load" in caught.value.message


def test_kill_of_the_parent_ends_qemu_and_its_tpm(tmp_path: Path) -> None:
    program = f"""
        import sys, time
        from pathlib import Path
        from stagewright.vm.accel import tcg
        from stagewright.vm.machine import Machine
        from stagewright.vm.machine_spec import MachineSpec
        spec = MachineSpec(firmware="bios", memory=64, tpm=True)
        with Machine(spec, tcg("test"), Path({str(tmp_path)!r})) as machine:
            print(machine.pid, flush=True)
            time.sleep(120)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    assert len(tpm_of(tmp_path)) == 1
    assert b"qemu-system" in Path(f"/proc/{pid}/cmdline").read_bytes()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 30
    while (running(pid) or tpm_of(tmp_path)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not running(pid)
    assert not tpm_of(tmp_path)


def tpm_of(folder: Path) -> list[int]:
    """Return the processes of swtpm whose state is in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if words.startswith(b"swtpm\0") and os.fsencode(folder) in words:
            found.append(int(path.parent.name))
    return found


def running(pid: int) -> bool:
    """True if the process is alive. A process that has ended and was not waited for is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
