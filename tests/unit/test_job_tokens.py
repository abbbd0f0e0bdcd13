"""Tokens of a run for a package: the lines of bashrc, with makes of several versions."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stagewright.portage.job_tokens import bashrc, knows_tokens
from stagewright.root.job_tokens import FIFO, INSIDE, SPARE

_SHOW = """
addwrite() { echo "write $1"; }
%s
echo "MAKEFLAGS=$MAKEFLAGS"
echo "MAKEOPTS=$MAKEOPTS"
"""


def phase(folder: Path, make: str, name: str = "compile", makeopts: str = "-j4", tokens: bool = True) -> dict[str, str]:
    """Return MAKEFLAGS and MAKEOPTS of a phase of Portage in a root whose make says that it has this version."""
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "make"
    program.write_text(f"#!/bin/sh\nprintf '{make}\\nBuilt for x86_64\\n'\n", encoding="utf-8")
    program.chmod(0o755)
    if tokens and not (folder / FIFO).exists():
        os.mkfifo(folder / FIFO)
        (folder / SPARE).write_text("3     \n", encoding="utf-8")
    script = _SHOW % bashrc(4).replace(INSIDE, str(folder))
    env = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "EBUILD_PHASE": name, "MAKEOPTS": makeopts, "MAKEFLAGS": "x"}
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run([bash, "-c", script], env=env, check=True, capture_output=True, text=True)
    assert not done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line.partition(" ")[0])


@pytest.mark.parametrize("version", ["4.4", "4.4.1", "4.10", "5.0"])
def test_a_new_make_gets_the_name_of_the_fifo(version: str, tmp_path: Path) -> None:
    found = phase(tmp_path, f"GNU Make {version}")
    assert found["MAKEFLAGS"] == f"-j4 --jobserver-auth=fifo:{tmp_path}/{FIFO}"


@pytest.mark.parametrize("version", ["4.2", "4.2.1", "4.3"])
def test_an_older_make_gets_descriptors_of_the_fifo(version: str, tmp_path: Path) -> None:
    assert phase(tmp_path, f"GNU Make {version}")["MAKEFLAGS"] == "-j4 --jobserver-auth=98,99"


@pytest.mark.parametrize("version", ["GNU Make 4.1", "GNU Make 3.82", "bmake"])
def test_another_make_gets_as_many_jobs_as_there_are_tokens_now(version: str, tmp_path: Path) -> None:
    assert phase(tmp_path, version) == {"MAKEFLAGS": "", "MAKEOPTS": "-j3 "}


def test_the_number_for_programs_without_tokens_is_that_of_each_phase(tmp_path: Path) -> None:
    assert phase(tmp_path, "GNU Make 4.4", "configure")["MAKEOPTS"] == "-j3 "
    (tmp_path / SPARE).write_text("1     \n", encoding="utf-8")
    assert phase(tmp_path, "GNU Make 4.4", makeopts="-j3 ")["MAKEOPTS"] == "-j1 "


def test_other_makeopts_of_a_package_are_obeyed(tmp_path: Path) -> None:
    assert phase(tmp_path, "GNU Make 4.4", makeopts="-j1") == {"MAKEFLAGS": "", "MAKEOPTS": "-j1"}


def test_only_phases_that_compile_use_tokens(tmp_path: Path) -> None:
    assert phase(tmp_path, "GNU Make 4.4", "configure")["MAKEFLAGS"] == ""


def test_a_build_without_tokens_stays_as_it_is(tmp_path: Path) -> None:
    assert phase(tmp_path, "GNU Make 4.4", tokens=False) == {"MAKEFLAGS": "x", "MAKEOPTS": "-j4"}


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: changing the root directory needs root")
@pytest.mark.parametrize(("text", "expected"), [('"fakeroot",\n"jobserver-token",\n', True), ('"fakeroot",\n', False)])
def test_a_portage_without_the_feature_is_not_given_it(text: str, expected: bool, tmp_path: Path) -> None:
    const = tmp_path / "usr/lib/python3.13/site-packages/portage/const.py"
    const.parent.mkdir(parents=True)
    const.write_text(text, encoding="utf-8")
    assert knows_tokens(tmp_path) is expected
