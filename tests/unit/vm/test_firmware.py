"""Selection of firmware from descriptors in test folders."""

import os
from pathlib import Path

import pytest
from descriptors import describe, pair

from stagewright.errors import Reason, StagewrightError
from stagewright.vm import firmware
from stagewright.vm.firmware_known import SECURE, Pair
from stagewright.vm.firmware_survey import directories

Q35 = "pc-q35-7.2"


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("general", "etc", "user")]
    for folder in made:
        folder.mkdir()
    return made


def test_the_first_match_by_file_name_is_used(folders: list[Path]) -> None:
    describe(folders[0], "60-plain")
    first = describe(folders[2], "10-mine")
    found = firmware.find(Q35, folders=folders, known=())
    assert found.descriptor == first
    assert found.code == folders[2] / ".10-mine.code.fd"
    assert (found.code_format, found.variables_format) == ("raw", "raw")


def test_a_more_specific_folder_overrides_a_descriptor(folders: list[Path]) -> None:
    describe(folders[0], "60-plain")
    describe(folders[1], "60-plain")
    mine = describe(folders[2], "60-plain")
    assert firmware.find(Q35, folders=folders, known=()).descriptor == mine


def test_an_empty_file_disables_a_descriptor(folders: list[Path]) -> None:
    describe(folders[0], "10-first")
    second = describe(folders[0], "20-second")
    (folders[1] / "10-first.json").touch()
    assert firmware.find(Q35, folders=folders, known=()).descriptor == second


def test_secure_boot_firmware_is_only_used_on_request(folders: list[Path]) -> None:
    enrolled = describe(folders[0], "40-enrolled", "secure-boot", "enrolled-keys", "requires-smm")
    secure = describe(folders[0], "50-secure", "secure-boot", "requires-smm")
    plain = describe(folders[0], "60-plain", "acpi-s3")
    assert firmware.find(Q35, folders=folders, known=()).descriptor == plain
    assert firmware.find(Q35, want=["secure-boot"], folders=folders, known=()).descriptor == secure
    wanted = ["secure-boot", "enrolled-keys"]
    assert firmware.find(Q35, want=wanted, folders=folders, known=()).descriptor == enrolled


def test_known_paths_are_used_if_no_descriptor_matches(folders: list[Path], tmp_path: Path) -> None:
    code, variables = pair(tmp_path, "known")
    missing = Pair("x86_64", Path("/nonexistent/code.fd"), Path("/nonexistent/vars.fd"))
    plain, secure = Pair("x86_64", code, variables), Pair("x86_64", code, variables, SECURE)
    known = [missing, secure, plain]
    assert firmware.find(Q35, folders=folders, known=known) == firmware.Firmware(code, variables)
    with pytest.raises(StagewrightError):
        firmware.find(Q35, want=["secure-boot"], folders=folders, known=[missing, plain])
    assert firmware.find(Q35, want=["secure-boot"], folders=folders, known=known).features == SECURE


def test_the_error_lists_all_candidates(folders: list[Path]) -> None:
    describe(folders[0], "10-gone", missing=True)
    describe(folders[0], "20-bios", **{"interface-types": ["bios"]})
    describe(folders[0], "30-memory", mapping={"device": "memory", "filename": __file__})
    describe(
        folders[0],
        "35-stateless",
        mapping={"device": "flash", "mode": "stateless", "executable": {"filename": "/x", "format": "raw"}},
    )
    describe(folders[0], "40-arm", targets=[{"architecture": "aarch64", "machines": ["virt-*"]}])
    describe(folders[0], "45-old", targets=[{"architecture": "x86_64", "machines": ["pc-i440fx-*"]}])
    describe(folders[0], "50-smm", "requires-smm")
    (folders[1] / "60-broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        firmware.find(
            Q35, folders=folders, known=[Pair("x86_64", Path("/nonexistent/code.fd"), Path("/nonexistent/vars.fd"))]
        )
    assert caught.value.reason is Reason.NO_FIRMWARE
    assert "ovmf" in caught.value.hint
    assert "sys-firmware/edk2-bin" in caught.value.hint
    for name in ("10-gone", "20-bios", "30-memory", "35-stateless", "40-arm", "45-old", "50-smm", "60-broken"):
        assert f"{name}.json: " in caught.value.detail
    assert "10-gone.code.fd does not exist" in caught.value.detail
    assert "/nonexistent/code.fd" in caught.value.detail


def test_firmware_for_arm_is_found(folders: list[Path]) -> None:
    describe(folders[0], "10-pc")
    arm = describe(folders[0], "20-arm", targets=[{"architecture": "aarch64", "machines": ["virt-*"]}])
    for file in folders[0].glob(".20-arm.*.fd"):
        os.truncate(file, 64 << 20)
    found = firmware.find("virt-7.2", architecture="aarch64", folders=folders, known=())
    assert found.descriptor == arm
    with pytest.raises(StagewrightError) as caught:
        firmware.find("virt-7.2", architecture="aarch64", folders=folders[1:], known=())
    assert "qemu-efi-aarch64" in caught.value.hint


def test_the_users_folder_is_under_xdg_config_home() -> None:
    assert directories({"XDG_CONFIG_HOME": "/c"})[-1] == Path("/c/qemu/firmware")
    assert directories({"HOME": "/h"})[-1] == Path("/h/.config/qemu/firmware")


def test_a_machine_alias_is_resolved(tmp_path: Path) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text(
        "#!/bin/sh\ncat <<'END'\nSupported machines are:\n"
        "pc                   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-7.2)\n"
        "q35                  Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-7.2)\n"
        "pc-q35-7.2           Standard PC (Q35 + ICH9, 2009)\nEND\n",
        encoding="utf-8",
    )
    qemu.chmod(0o755)
    assert firmware.machine_type("q35", str(qemu)) == Q35
    assert firmware.machine_type(Q35, str(qemu)) == Q35
