"""Tests of the program stagewright-install: its code, its options and its answers, without root."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import installer
import pytest


@pytest.mark.slow
def test_shellcheck_has_no_findings() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("NOT TESTED: shellcheck is not installed")
    files = [installer.PROGRAM, *installer.FILES.glob("lib/*.sh"), installer.FILES / "service/S95install"]
    done = subprocess.run(["shellcheck", "-s", "sh", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox ash"])
def test_every_shell_reads_all_parts(shell: str) -> None:
    for file in [installer.PROGRAM, *installer.FILES.glob("lib/*.sh")]:
        subprocess.run([*shell.split(), "-n", file], check=True)


def test_parts_are_short() -> None:
    for file in installer.FILES.glob("lib/*.sh"):
        assert len(file.read_text(encoding="utf-8").splitlines()) < 400, file


def test_the_ebuild_installs_every_part() -> None:
    program = installer.PROGRAM.read_text(encoding="utf-8")
    (parts,) = [line for line in program.splitlines() if line.startswith("for part in ")]
    assert {*parts.removeprefix("for part in ").removesuffix("; do").split()} == {
        file.stem for file in installer.FILES.glob("lib/*.sh")
    }


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox ash"])
def test_an_empty_disk_has_nothing_known_in_every_shell(shell: str, tmp_path: Path) -> None:
    """With ``pipefail``, which not every shell has, the exit code of blkid for an empty disk is that of its pipe."""
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    (tmp_path / "blkid").write_text("#!/bin/sh\nexit 2\n", encoding="utf-8")
    (tmp_path / "blkid").chmod(0o755)
    lines = [
        "set -eu; (set -o pipefail) 2> /dev/null && set -o pipefail",
        f"PATH={tmp_path}:$PATH sysfs=/sys probe_by_blkid=yes",
        f". {installer.FILES}/lib/inuse.sh; . {installer.FILES}/lib/disks.sh",
        f'found=$(contents_of {tmp_path}/disk "the disk"); echo "found=$found"',
    ]
    done = subprocess.run([*shell.split(), "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout == "found=\n"
