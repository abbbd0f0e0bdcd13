"""Licences that a channel refuses for certain are reported before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.engine.session import Session
from stagewright.errors import ProblemsError, Reason, StagewrightError

PROJECT = """
format = 1
project = { name = "p", version = "1" }
repos.main.path = "repo"
[channels.stable]
accept_license = ["@FREE"]
[seeds.base]
file = "base.tar"
[stages.builder]
kind = "stage4"
root = "base"
profile = "default"
packages = ["app-misc/tool"]
[stages.system]
kind = "embedded"
root = "builder"
profile = "default"
packages = ["app-misc/x"]
[stages.live]
kind = "livecd-stage1"
root = "system"
profile = "default"
unmerge = ["app-misc/y"]
[stages.boot]
kind = "livecd-stage2"
root = "builder"
profile = "default"
kernel = { package = "sys-kernel/k" }
[stages.packed]
kind = "tarball"
root = "live"
[stages.iso]
kind = "livecd-stage3"
live = "live"
boot = "boot"
[releases.all]
artifacts = ["ARTIFACT"]
channel = "stable"
"""
FREE = 'LICENSE="MIT"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "base.tar", "")
    write(tmp_path, "repo/profiles/repo_name", "main\n")
    write(tmp_path, "repo/profiles/license_groups", "FREE MIT GPL-2\n")
    write(tmp_path, "repo/profiles/default/eapi", "8\n")
    write(tmp_path, "repo/metadata/layout.conf", "masters =\n")
    for package in ("app-misc/tool", "app-misc/x", "app-misc/y", "sys-kernel/k"):
        ebuild(tmp_path, package, FREE)
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def ebuild(folder: Path, package: str, text: str, version: str = "1") -> None:
    name = package.rpartition("/")[2]
    write(folder, f"repo/{package}/{name}-{version}.ebuild", f"EAPI=8\nSLOT=0\n{text}\n")


def refusals(folder: Path, artifact: str = "packed", project: str = PROJECT) -> list[StagewrightError]:
    write(folder, "stagewright.toml", project.replace("ARTIFACT", artifact))
    try:
        Session.open(folder, store=folder / "store").check()
    except ProblemsError as error:
        return error.problems
    return []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('LICENSE="proprietary"', "has the licence proprietary (proprietary not accepted)"),
        ('LICENSE="MIT proprietary"', "proprietary not accepted"),
        ('LICENSE="|| ( proprietary other )"', "proprietary, other not accepted"),
        ('LICENSE=""', "does not name a licence"),
        (f'{FREE}\nRESTRICT="bindist"', "RESTRICT=bindist"),
    ],
)
def test_a_package_that_is_refused_for_certain_is_reported(folder: Path, text: str, words: str) -> None:
    ebuild(folder, "app-misc/x", text)
    (problem,) = refusals(folder)
    assert problem.reason is Reason.LICENCE_REFUSED
    assert words in problem.message and "app-misc/x" in problem.message
    assert "in root: `packages` of system" in problem.detail
    assert problem.place and problem.place.line == PROJECT[: PROJECT.index("artifacts")].count("\n") + 1


@pytest.mark.parametrize(
    "text",
    [
        'LICENSE="|| ( MIT proprietary )"',
        'LICENSE="MIT codecs? ( proprietary )"',
        'LICENSE="codecs? ( MIT )"',
        'LICENSE="${PN}-license"',
        'LICENSE="proprietary"\nLICENSE+=" x"',
        "inherit licenses",
        f'{FREE}\nRESTRICT="codecs? ( bindist ) test"',
    ],
)
def test_what_a_build_can_decide_in_another_way_is_not_reported(folder: Path, text: str) -> None:
    ebuild(folder, "app-misc/x", text)
    assert not refusals(folder)


def test_another_version_may_be_free(folder: Path) -> None:
    ebuild(folder, "app-misc/x", 'LICENSE="proprietary"', version="2")
    assert not refusals(folder)


def test_an_entry_of_the_metadata_cache_counts(folder: Path) -> None:
    ebuild(folder, "app-misc/x", "inherit licenses")
    write(folder, "repo/metadata/md5-cache/app-misc/x-1", "EAPI=8\nLICENSE=proprietary\nSLOT=0\n")
    assert [problem.reason for problem in refusals(folder)] == [Reason.LICENCE_REFUSED]


def test_what_is_only_used_for_building_does_not_count(folder: Path) -> None:
    ebuild(folder, "app-misc/tool", 'LICENSE="proprietary"')
    assert not refusals(folder)


def test_the_kernel_of_a_payload_counts(folder: Path) -> None:
    ebuild(folder, "sys-kernel/k", 'LICENSE="proprietary"')
    assert not refusals(folder)
    (problem,) = refusals(folder, "iso")
    assert "sys-kernel/k" in problem.message and "in kernel: the kernel of boot" in problem.detail


def test_a_removed_package_does_not_count(folder: Path) -> None:
    project = PROJECT.replace('packages = ["app-misc/x"]', 'packages = ["app-misc/x", "app-misc/y"]')
    ebuild(folder, "app-misc/y", 'LICENSE="proprietary"')
    assert not refusals(folder, project=project)
    assert refusals(folder, project=project.replace('unmerge = ["app-misc/y"]', ""))


def test_a_refusal_concerns_only_the_release(folder: Path) -> None:
    """Other targets are built, and all other commands work."""
    ebuild(folder, "app-misc/x", 'LICENSE="proprietary"')
    assert refusals(folder)
    session = Session.open(folder, store=folder / "store")
    assert session.check(["packed"]) == ("packed",)
    with pytest.raises(ProblemsError):
        session.check(["all"])
