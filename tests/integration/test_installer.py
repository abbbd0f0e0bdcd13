"""Installations by stagewright-install into files, as root, with loop devices and the host's real tools."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.installer import KERNEL, LOADER, SHELLS, Installer, make_tree

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: installing needs root"),
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="NOT TESTED: no loop devices"),
]
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small system as a squashfs."""
    folder = tmp_path_factory.mktemp("source")
    make_tree(folder / "tree")
    subprocess.run(
        ["mksquashfs", folder / "tree", folder / "system.squashfs", "-quiet", "-no-progress"],
        check=True,
        capture_output=True,
    )
    return folder / "system.squashfs"


@pytest.fixture
def installer(tmp_path: Path, source: Path) -> Installer:
    return Installer(tmp_path, source)


@contextmanager
def mounted(image: Path, folder: Path, start: int = 513 * MIB) -> Iterator[Path]:
    """Mount the root partition of an image, read-only."""
    folder.mkdir(exist_ok=True)
    loop = subprocess.run(
        ["losetup", "--find", "--show", "--read-only", "--offset", str(start), image],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    try:
        subprocess.run(["mount", "-o", "ro", loop, folder], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


def on_esp(image: Path, path: str) -> bytes:
    return subprocess.run(["mtype", "-i", f"{image}@@1M", f"::/{path}"], check=True, capture_output=True).stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_an_installation_has_what_was_asked_for(installer: Installer, shell: str, tmp_path: Path) -> None:
    installer.shell = shell
    done = installer.install(hostname="box", root_password="$6$salt$hash")
    assert done.returncode == 0, done.stderr
    with mounted(installer.image, tmp_path / "root") as root:
        assert (root / "etc/hostname").read_text() == "box\n"
        assert (root / "etc/machine-id").read_text() == ""
        assert (root / "etc/shadow").read_text().startswith("root:$6$salt$hash:")
        assert (root / "usr/bin/program").stat().st_nlink == 2
        assert not (root / "etc/ssh/ssh_host_rsa_key").exists()
    assert on_esp(installer.image, "demo/6.1-test/linux") == KERNEL
    assert on_esp(installer.image, "EFI/BOOT/BOOTX64.EFI") == LOADER
    entry = on_esp(installer.image, "loader/entries/demo-6.1-test.conf").decode()
    assert "rw console=ttyS0,115200\n" in entry
