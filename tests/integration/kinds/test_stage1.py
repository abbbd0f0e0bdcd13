"""stage1: the least that can build a compiler, in a clean root; one of a systemd profile starts."""

from __future__ import annotations

import pytest

from integration.sites import Line

pytestmark = pytest.mark.real


def test_a_stage1_holds_what_builds_a_stage2_and_no_file_of_the_seed(line: Line) -> None:
    tree = line.tree("stage1")
    packages = {f"{path.parent.name}/{path.name}" for path in (tree / "var/db/pkg").glob("*/*")}
    names = {package.rpartition("-")[0] for package in packages}
    assert {"sys-devel/gcc", "sys-devel/binutils", "sys-libs/glibc", "sys-apps/portage", "app-shells/bash"} <= names
    assert "app-misc/hello" not in names
    assert (tree / "usr/bin/emerge").exists()
    assert not (tree / "var/lib/dpkg").exists() and not (tree / "usr/bin/dpkg").exists()


def test_a_stage1_of_a_systemd_profile_has_started(line: Line) -> None:
    console = (line.project / "out/stage1-systemd-starts/console.log").read_text(errors="replace", encoding="utf-8")
    assert "login:" in console
