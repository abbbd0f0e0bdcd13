"""Unit tests of the lists of packages that ``packages/install`` installs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stagewright.arch import MACHINES
from stagewright.engine.doctor import BASE, REPOSITORY_TOOLS, USERS, VERIFIER
from stagewright.kinds.common.tools import NBD_SERVER, NFS_SERVER, QEMU_ARM64, emulator
from stagewright.kinds.registry import by_kind

FOLDER = Path(__file__).parents[2] / "packages"
RARE = {NBD_SERVER, NFS_SERVER, QEMU_ARM64, *map(emulator, MACHINES)}
"""Programs that the doctor reports, and that a first build need not wait for."""


def listed(name: str) -> list[str]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [words[0] for line in lines if (words := line.partition("#")[0].split())]


def test_every_program_of_a_build_is_in_a_list() -> None:
    models = by_kind().values()
    tools = {tool for model in models for tool in (*model.required_tools, *model.optional_tools)}
    tools |= {*BASE, *USERS, VERIFIER, *(tool for many in REPOSITORY_TOOLS.values() for tool in many)}
    essential = {"apt", "gzip"}  # parts of every Debian
    assert {tool.apt for tool in tools - RARE} <= {*listed("apt.txt")} | essential
    assert {tool.apt for tool in RARE} <= {*listed("apt-more.txt")}


def test_no_package_is_listed_twice() -> None:
    for system in ("apt", "emerge"):
        names = listed(f"{system}.txt") + listed(f"{system}-more.txt")
        assert len(names) == len(set(names))


@pytest.mark.parametrize(("words", "lists"), [([], ["apt"]), (["--all"], ["apt", "apt-more"])])
def test_what_is_missing_is_installed(tmp_path: Path, words: list[str], lists: list[str]) -> None:
    log = tmp_path / "log"
    for name, text in (("dpkg-query", "exit 1"), ("apt-get", f'echo "$@" >> {log}'), ("mkdir", ""), ("ln", "")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "sudo").write_text('#!/bin/sh\nexec "$@"\n', encoding="utf-8")
    (tmp_path / "sudo").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run([FOLDER / "install", *words], check=True, env=path, capture_output=True)
    update, install = log.read_text(encoding="utf-8").splitlines()
    assert update.endswith(" update")
    assert install.split()[4:] == [package for name in lists for package in listed(f"{name}.txt")]
