"""Boot tests with a program that acts as QEMU."""

import json
import os
import re
from pathlib import Path

import pytest
from plays import BIOS, LOGIN, TCG, play

from stagewright.errors import Reason, StagewrightError
from stagewright.testing.machine import MENU
from stagewright.testing.script import BootCommand, BootScript, Login
from stagewright.vm.firmware import Firmware
from stagewright.vm.interactive import terminal
from stagewright.vm.machine import Machine, is_png
from stagewright.vm.machine_spec import MachineSpec

PANIC = ["[ 0.05] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug\r\n", "stay"]
OOPS = ["[ 104.9] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\r\n[ 104.9] Kernel panic - not syncing: Fatal\r\n", "stay"]


@pytest.mark.parametrize("said", ["BdsDxe: starting Boot0001", "GNU GRUB  version 2.06", "ISOLINUX 6.04"])
def test_boot_menus_are_known(said: str) -> None:
    assert re.search(MENU, f"{said}\r\n")


@pytest.mark.slow
def test_the_line_of_the_boot_menu_is_chosen_by_keys(stage: Path) -> None:
    script = BootScript(expect=("third line",), entry=3, seconds=30)
    phases: list[str] = []
    menu = ["GNU GRUB  version 2.06\r\n", ["\x1b[B\x1b[B\r"], "the third line it is\r\n", "stay"]
    assert play(stage, script, menu, on_phase=phases.append).passed
    assert phases[1] == "choose line 3 of the boot menu"


@pytest.mark.slow
def test_a_missing_boot_menu_is_reported(stage: Path) -> None:
    script = BootScript(expect=("x",), entry=2, seconds=0.5)
    with pytest.raises(StagewrightError, match="a boot menu"):
        play(stage, script, ["something else\r\n", "stay"])


def result(stage: Path) -> dict:
    return json.loads((stage / "out/result.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_script_runs_from_boot_to_poweroff(stage: Path) -> None:
    script = BootScript(
        expect=("Linux version", "login:"),
        login=Login("root", "secret"),
        commands=(BootCommand("echo release 42", expect=r"^release \d+$"), BootCommand("exit 7", status=7)),
        poweroff=True,
        seconds=60,
    )
    phases: list[str] = []
    report = play(stage, script, LOGIN, on_phase=phases.append)
    assert report.passed
    assert report.attempts == 1
    assert (report.machine.firmware, report.machine.acceleration) == ("SeaBIOS", "tcg")
    steps = ["shell", "echo release 42", "exit 7", "off"]  # a busy host may give "kernel" the time of the shell
    assert [name for name in report.machine.milestones if name in steps] == steps
    assert {"kernel", "Linux version", "login:", "login prompt", "password prompt"} <= set(report.machine.milestones)
    assert report.machine.memory_available is not None
    assert report.machine.memory_available > 1000
    assert report.machine.screenshot is not None
    assert is_png(report.machine.screenshot)
    assert b"live login: " in report.machine.console.read_bytes()
    assert result(stage)["passed"] is True
    assert phases[0] == "start"
    assert phases[-1] == "poweroff"


@pytest.mark.slow
def test_text_that_ends_like_a_prompt_for_a_moment_is_not_a_prompt(stage: Path) -> None:
    scene = ["Linux version 6.18 #", "stay"]
    with pytest.raises(StagewrightError):
        play(stage, BootScript(commands=(BootCommand("true"),), seconds=0.5), scene)


def test_poweroff_without_a_shell_presses_the_power_button(stage: Path) -> None:
    report = play(stage, BootScript(expect=("up",), poweroff=True, seconds=60), ["up\r\n", "stay"])
    assert "off" in report.machine.milestones
    assert "system_powerdown" in (stage / "qmp.log").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("panic", "words"), [(PANIC, "IO-APIC"), (OOPS, "int3")])
def test_emulator_panic_is_tried_once_more(stage: Path, panic: list[str], words: str) -> None:
    report = play(stage, BootScript(expect=("up",), seconds=60), panic, ["up\r\n", "stay"])
    assert report.attempts == 2
    assert words in (stage / "out/console-1.log").read_text(encoding="utf-8")
    assert (stage / "out/console.log").read_bytes() == b"up\r\n"


@pytest.mark.slow
def test_emulator_panic_twice_fails(stage: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        play(stage, BootScript(expect=("up",), seconds=60), PANIC, PANIC)
    assert caught.value.reason is Reason.BOOT_FAILED
    assert result(stage)["attempts"] == 2


@pytest.mark.slow
def test_other_panics_are_not_retried(stage: Path) -> None:
    scene = ["hello\r\nKernel panic - not syncing: No working init found.\r\n", "stay"]
    with pytest.raises(StagewrightError) as caught:
        play(stage, BootScript(expect=("up",), seconds=60), scene)
    assert "No working init" in caught.value.detail
    assert (stage / "starts").read_text(encoding="utf-8") == "1"
    found = result(stage)
    assert found["passed"] is False
    assert "panicked" in found["error"]
    assert is_png(Path(found["screenshot"]))


@pytest.mark.slow
def test_the_time_limit_applies_to_the_whole_script(stage: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        play(stage, BootScript(expect=("one", "two"), seconds=3), ["one\r\n", "stay"])
    assert "/two/" in caught.value.message
    assert "one" in caught.value.detail


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "told"),
    [
        (BootCommand("false"), "wrong exit status (found 1, expected 0)"),
        (BootCommand("echo a", expect="b"), "/b/ not found in its output"),
    ],
)
def test_a_command_with_wrong_status_or_output_fails_the_test(stage: Path, command: BootCommand, told: str) -> None:
    script = BootScript(login=Login("root", "secret"), commands=(command,), seconds=60)
    with pytest.raises(StagewrightError) as caught:
        play(stage, script, LOGIN)
    assert told in caught.value.message


def test_a_failed_login_is_reported(stage: Path) -> None:
    scene = ["login: ", ["root\n"], "Password: ", ["secret\n"], "\r\nLogin incorrect\r\nlogin: ", "stay"]
    with pytest.raises(StagewrightError) as caught:
        play(stage, BootScript(login=Login("root", "secret"), seconds=60), scene)
    assert "login failed (Login incorrect)" in caught.value.message


def test_a_login_that_gives_up_on_a_slow_guest_is_repeated(stage: Path) -> None:
    scene = ["login: ", ["root\n"], "Password: ", ["secret\n"], "\r\nlogin: timed out after 60 seconds\r\n", *LOGIN]
    play(stage, BootScript(login=Login("root", "secret"), seconds=60), scene)
    assert result(stage)["passed"] is True


def test_a_machine_that_ends_early_fails_the_test(stage: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        play(stage, BootScript(expect=("up",), seconds=60), ["rebooting\r\n"])
    assert "the machine ended" in caught.value.message


def test_with_several_media_the_firmware_may_fail_to_load_one(stage: Path) -> None:
    iso = stage / "a.iso"
    iso.touch()
    scene = ["BdsDxe: failed to load Boot0001: Not Found\r\n", "up\r\n", "stay"]
    spec = MachineSpec(firmware="bios", cdrom=iso, disk=iso)
    assert play(stage, BootScript(expect=("up",), seconds=60), scene, spec=spec).passed


def test_a_qemu_that_does_not_start_is_reported_with_its_messages(stage: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        play(stage, BootScript(), None)
    assert caught.value.reason is Reason.BOOT_FAILED
    assert "no such device" in caught.value.detail
    assert "qemu-fake" in caught.value.detail


def test_an_invalid_pattern_is_reported_before_the_boot() -> None:
    with pytest.raises(StagewrightError) as caught:
        BootScript(expect=("(",))
    assert caught.value.reason is Reason.INVALID_VALUE


def test_leaving_the_machine_ends_qemu_after_any_exception(stage: Path) -> None:
    (stage / "scenes.json").write_text(json.dumps([["hi", "stay"]]), encoding="utf-8")
    machine = Machine(BIOS, TCG, stage / "out", qemu=str(stage / "qemu-fake"))
    with pytest.raises(KeyboardInterrupt), machine:
        machine.console.expect("hi", 30)
        pid = machine.pid
        raise KeyboardInterrupt
    assert not Path(f"/proc/{pid}").exists()


def machine(stage: Path, *scene: object, spec: MachineSpec = BIOS, firmware: Firmware | None = None) -> Machine:
    (stage / "scenes.json").write_text(json.dumps([scene]), encoding="utf-8")
    return Machine(spec, TCG, stage / "out", firmware=firmware, qemu=str(stage / "qemu-fake"))


def descriptors() -> set[str]:
    """The open files and sockets of this process."""
    return {f"{path.name} {os.readlink(path)}" for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}


def test_a_console_log_that_cannot_be_opened_leaves_neither_qemu_nor_sockets(stage: Path) -> None:
    (stage / "out/console.log").mkdir(parents=True)
    before = descriptors()
    with pytest.raises(IsADirectoryError), machine(stage, "stay"):
        pass
    assert not (stage / "starts").exists()
    assert descriptors() == before


def test_a_failing_preparation_leaves_no_sockets(stage: Path) -> None:
    missing = stage / "VARS.fd"
    before = descriptors()
    with (
        pytest.raises(FileNotFoundError),
        machine(stage, "stay", spec=MachineSpec(), firmware=Firmware(missing, missing)),
    ):
        pass
    assert descriptors() == before


def test_an_error_after_the_start_ends_qemu_and_closes_its_sockets(stage: Path) -> None:
    (stage / "greeting").write_bytes(b"no JSON\n")
    guest = machine(stage, "stay")
    before = descriptors()
    with pytest.raises(ValueError, match="Expecting value"), guest:
        pass
    assert not Path(f"/proc/{guest.pid}").exists()
    assert descriptors() == before


def test_qmp_messages_that_are_not_utf8_are_read(stage: Path) -> None:
    (stage / "greeting").write_bytes(b'{"QMP": {"package": "\xe9\xff"}}\r\n')
    with machine(stage, "hi", "stay") as guest:
        guest.console.expect("hi", 30)


def test_the_terminal_notice_says_how_to_leave(stage: Path) -> None:
    template = stage / "VARS.fd"
    template.touch()
    (stage / "scenes.json").write_text(json.dumps([None]), encoding="utf-8")
    qemu = str(stage / "qemu-fake")
    made = terminal(MachineSpec(), stage / "out", TCG, firmware=Firmware(template, template), qemu=qemu)
    assert "Ctrl-A X" in made.notice
    assert "-serial mon:stdio" in " ".join(made.command)
    assert made.run() == 1
    assert not re.search("setpriv", " ".join(made.command))
