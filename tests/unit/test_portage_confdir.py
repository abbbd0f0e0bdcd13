"""The /etc/portage of a build: the order of its settings, and what Portage reads from it."""

from __future__ import annotations

import configparser
import os
import shlex
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.portage.confdir import ParallelJobs, assemble_confdir, make_conf
from stagewright.portage.repositories import Repository
from stagewright.portage.settings import PortageSettings
from stagewright.run import run

JOBS = ParallelJobs(4, 2)


@pytest.fixture
def repos(tmp_path: Path) -> list[Repository]:
    (tmp_path / "gentoo/profiles/base").mkdir(parents=True)
    farm = Repository("farm", tmp_path / "farm", priority=5, eclass_overrides=("gentoo", "zoo"))
    return [farm, Repository("gentoo", tmp_path / "gentoo", main=True)]


def variables(folder: Path) -> dict[str, str]:
    """Return the variables of make.conf as Portage reads them: all files in order, with ``${NAME}`` expanded."""
    found: dict[str, str] = {}
    for file in sorted((folder / "make.conf").iterdir()):
        for word in shlex.split(file.read_text(encoding="utf-8"), comments=True):
            name, _, value = word.partition("=")
            for known, text in found.items():
                value = value.replace(f"${{{known}}}", text)
            found[name] = value
    return found


def test_settings_of_the_stage_override_confdirs_and_defaults(tmp_path: Path, repos: list[Repository]) -> None:
    confdir = tmp_path / "mine"
    (confdir / "package.use").mkdir(parents=True)
    (confdir / "package.use/a").write_text("app-misc/hello shout\n", encoding="utf-8")
    (confdir / "make.conf").write_text('MAKEOPTS="-j1"\nCFLAGS="-O1"\nUSE="one"\n', encoding="utf-8")
    settings = PortageSettings(
        profile="base", use=["two"], common_flags='-DNAME="x y"', make_conf={"FEATURES": "test"}, ccache=True
    )
    folder = assemble_confdir(tmp_path / "etc", settings, [confdir], repos, JOBS, {"GENTOO_MIRRORS": "http://m"})
    found = variables(folder)
    assert found["MAKEOPTS"] == "-j1"
    assert found["USE"] == "one two"
    assert found["CFLAGS"] == found["COMMON_FLAGS"] == '-DNAME="x y"'
    assert found["GENTOO_MIRRORS"] == "http://m"
    assert {"binpkg-multi-instance", "ccache", "test"} <= set(found["FEATURES"].split())
    assert found["CCACHE_COMPILERCHECK"] == "content"
    assert (folder / "package.use/a").is_file()
    assert str((folder / "make.profile").readlink()) == "/var/db/repos/gentoo/profiles/base"


def test_without_settings_of_the_stage_the_defaults_stay(tmp_path: Path) -> None:
    found = variables(assemble_confdir(tmp_path / "etc", PortageSettings(), [], [], JOBS))
    assert found["MAKEOPTS"] == "-j4"
    assert "ccache" not in found["FEATURES"].split()
    assert not (tmp_path / "etc/make.profile").is_symlink()


def test_repositories_are_listed_with_their_priorities(tmp_path: Path, repos: list[Repository]) -> None:
    folder = assemble_confdir(tmp_path / "etc", PortageSettings(), [], repos, JOBS)
    parser = configparser.ConfigParser(default_section="")
    parser.read(folder / "repos.conf/stagewright.conf", encoding="utf-8")
    assert parser["DEFAULT"]["main-repo"] == "gentoo"
    assert dict(parser["farm"]) == {
        "location": "/var/db/repos/farm",
        "priority": "5",
        "auto-sync": "no",
        "eclass-overrides": "gentoo",
    }


def test_a_missing_profile_is_reported(tmp_path: Path, repos: list[Repository]) -> None:
    with pytest.raises(StagewrightError) as caught:
        assemble_confdir(tmp_path / "etc", PortageSettings(profile="basic"), [], repos, JOBS)
    assert caught.value.reason is Reason.MISSING_FILE


def test_make_conf_keeps_quotes_and_backslashes() -> None:
    values = {"A": 'x "y" \\z', "B": "it's", "C": "two\nlines"}
    words = shlex.split(make_conf(values))
    assert dict(word.split("=", 1) for word in words) == values


@pytest.mark.parametrize(
    ("cores", "memory", "expected"),
    [(8, 64 << 10, (8, 4)), (8, 4 << 10, (2, 1)), (2, 32 << 10, (2, 2)), (4, 100, (1, 1))],
)
def test_parallel_jobs_depend_on_cores_and_memory(cores: int, memory: int, expected: tuple[int, int]) -> None:
    assert ParallelJobs.of(cores, memory) == ParallelJobs(*expected)


def test_files_of_packages_are_not_newer_than_the_time_stamp(tmp_path: Path, repos: list[Repository]) -> None:
    """Portage reads the bashrc before it makes a package. That of the project is read first."""
    confdir, image = tmp_path / "mine", tmp_path / "image"
    confdir.mkdir()
    (confdir / "bashrc").symlink_to("bashrc.real")  # it is not followed on this machine
    folder = assemble_confdir(tmp_path / "etc", PortageSettings(), [confdir], repos, JOBS)
    assert (folder / "bashrc.project").readlink() == Path("bashrc.real")
    assert "source /etc/portage/bashrc.project" in (folder / "bashrc").read_text(encoding="utf-8")
    image.mkdir()
    for name, time in (("old", 500), ("new", 2000)):
        (image / name).touch()
        (image / f"{name}-link").symlink_to("nowhere")
        for path in (image / name, image / f"{name}-link"):
            os.utime(path, (time, time), follow_symlinks=False)
    env = {"SOURCE_DATE_EPOCH": "1000", "D": str(image)}
    words = ["bash", "-euc", f"source {folder / 'bashrc'}"]
    run(words, env={**env, "EBUILD_PHASE": "install"})
    assert (image / "new").stat().st_mtime == 2000
    run(words, env={**env, "EBUILD_PHASE": "package"})
    found = {path.name: path.lstat().st_mtime for path in [image, *image.iterdir()]}
    assert found == {"image": 1000, "old": 500, "old-link": 500, "new": 1000, "new-link": 1000}
