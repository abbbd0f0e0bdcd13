"""stage2: the toolchain built again by itself, in the root of a stage1."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from integration.sites import Line
from integration.support import call

pytestmark = pytest.mark.real


def test_a_stage2_builds_the_toolchain_and_nothing_else(line: Line) -> None:
    log = call("log", "stage2", cwd=line.project, store=line.store).stdout
    built = set(re.findall(r">>> Emerging \(\d+ of \d+\) (\S+?)-\d", log))
    assert {"sys-devel/gcc", "sys-devel/binutils", "sys-libs/glibc"} <= built
    assert not {"sys-apps/coreutils", "app-shells/bash", "app-misc/hello"} & built


def test_the_toolchain_builds_itself_again_with_the_same_result(line: Line) -> None:
    """Most files of the example's compiler are copies; one object is compiled, by the compiler of the stage before."""
    report = json.loads((line.project / "out/selfhost/rebuild.json").read_text(encoding="utf-8"))
    packages = {package["name"].rpartition("-")[0]: package for package in report["packages"]}
    assert set(packages) >= {"sys-devel/binutils", "sys-devel/gcc", "sys-libs/glibc"}
    assert packages["sys-devel/gcc"]["equal"], packages
    log = call("log", "selfhost", cwd=line.project, store=line.store).stdout
    assert re.search(r">>> Emerging \(\d+ of \d+\) sys-devel/gcc-", log) and "Emerging binary" not in log
    object_file = line.tree("stage2") / "usr/lib/gcc/half.o"
    told = subprocess.run(["readelf", "-p", ".comment", object_file], check=True, capture_output=True, text=True).stdout
    assert "GCC: (" in told
