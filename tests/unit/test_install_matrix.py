"""``make install-matrix``: its project, its rows and its commands, without machines."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bench import install_disks, install_page
from bench.install_lab import COMMANDS, answers, written
from bench.install_matrix import BUILT, PAGE, ROWS
from bench.install_media import MASKED, write_small
from stagewright.engine.session import Session
from stagewright.kinds.registry import kinds
from stagewright.project.load import load
from stagewright.store.store import Store


def test_the_small_variant_of_the_cd_can_be_planned(tmp_path: Path) -> None:
    project = write_small(tmp_path / "install")
    plan = Session(load(project, kinds()), Store(tmp_path / "store")).plan()
    assert {"system", "live", *BUILT} <= set(plan.steps)
    text = (project / "stagewright.toml").read_text(encoding="utf-8")
    assert '"linux-image-cloud-amd64"' in text and '"linux-image-amd64"' not in text and "usb_storage" not in text
    assert (project / "overlay/etc/systemd/system" / MASKED[0]).is_symlink()
    assert not any(name in (project / "prepare").read_text(encoding="utf-8") for name in ("ssh.service", "resolved"))


def test_rows_type_the_commands_of_the_page() -> None:
    typed = re.findall(r"^    # (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(typed) == set(COMMANDS)


def test_a_row_types_the_commands_for_a_computer() -> None:
    *builds, install, start = install_page.commands_of(PAGE.read_text(encoding="utf-8"))
    assert [words.split()[0] for words in builds] == ["cd", "stagewright"]
    assert install.startswith("stagewright boot iso ") and start == f"{install} --from-disk"


def test_each_row_has_its_own_name_in_the_table() -> None:
    assert len({row.way for row in ROWS.values()}) == len(ROWS)


def test_answers_of_a_row_replace_those_of_all() -> None:
    text = answers(layout="xfs", root_password=None, hostname="other")
    assert "layout = xfs\n" in text and "hostname = other\n" in text
    assert "root-password" not in text and "hostname = box" not in text


def test_each_wrong_disk_is_named_once() -> None:
    serials = {words.partition("serial=")[2] for words in install_disks.WRONG}
    named = {case["disk"] for case, _ in install_disks.REFUSED}
    assert serials - named == {"raid2"} and named - serials == {"live", "missing"}


def disk_with(folder: Path, commands: list[str]) -> Path:
    """Return a disk of 64 MiB that commands of qemu-io wrote to."""
    disk = folder / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "64M"], check=True)
    for command in commands:
        subprocess.run(["qemu-io", "-c", command, disk], check=True, capture_output=True)
    return disk


def test_a_byte_on_a_disk_is_found(tmp_path: Path) -> None:
    assert not written(disk_with(tmp_path, []))
    assert written(disk_with(tmp_path, ["write -P 7 33000000 1"]))


STATE = b"stagewright-install 1\nid 0\ndisk 0 x\nstep copy\n"


@pytest.mark.parametrize(("step", "found"), [(b"", "step -"), (b"copy", "step copy")])
def test_the_state_of_a_disk_is_read(tmp_path: Path, step: bytes, found: str) -> None:
    raw = tmp_path / "start"
    raw.write_bytes(bytes(512 << 10) + (STATE.replace(b"copy", step) if step else b"").ljust(512, b"\0"))
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, disk], check=True)
    assert found in install_disks.state_of(disk, tmp_path / "raw.img")
