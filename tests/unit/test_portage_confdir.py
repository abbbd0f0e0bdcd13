"""The /etc/portage of a build: the order of its settings, and what Portage reads from it."""

from __future__ import annotations

import configparser
import os
import re
import shlex
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.portage.confdir import FEATURES, FIXED, ParallelJobs, assemble_confdir, make_conf
from stagewright.portage.confdir_check import make_conf_notes, shape_problems
from stagewright.portage.repositories import Repository
from stagewright.portage.settings import PortageSettings
from stagewright.run import run

JOBS = ParallelJobs(4, 2)


@pytest.fixture
def repos(tmp_path: Path) -> list[Repository]:
    (tmp_path / "gentoo/profiles/base").mkdir(parents=True)
    farm = Repository("farm", tmp_path / "farm", priority=5, eclass_overrides=("gentoo", "zoo"))
    return [farm, Repository("gentoo", tmp_path / "gentoo", main=True)]


MAKE_CONFS = Path(__file__).parents[1] / "data" / "make_conf"
"""The make.conf of a desktop, of a server, and of a system with musl."""


def variables(folder: Path) -> dict[str, str]:
    """Return the variables of make.conf as Portage reads them: all files in order, with ``${NAME}`` expanded."""
    found: dict[str, str] = {}
    files = [path for path in (folder / "make.conf").rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda path: path.parts):
        for word in shlex.split(file.read_text(encoding="utf-8"), comments=True):
            name, _, value = word.partition("=")
            found[name] = re.sub(r"\$\{(\w+)\}", lambda match: found.get(match[1], ""), value)
    return found


def confdir(folder: Path, **texts: str) -> Path:
    """Write a confdir: files by name, with __ for / and _ for . in the names."""
    for name, text in texts.items():
        place = folder / name.replace("__", "/").replace("_", ".")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["desktop", "server", "musl"])
@pytest.mark.parametrize("shape", ["file", "folder"])
def test_what_a_build_needs_wins_over_the_make_conf_of_a_user(tmp_path: Path, name: str, shape: str) -> None:
    mine = tmp_path / "mine"
    place = mine / "make.conf" if shape == "file" else mine / "make.conf/zz/last"
    place.parent.mkdir(parents=True)
    place.write_bytes((MAKE_CONFS / name).read_bytes())
    more = {"PORTAGE_RO_DISTDIRS": "/var/cache/distfiles.shared"}
    found = variables(assemble_confdir(tmp_path / "etc", PortageSettings(use=["two"]), [mine], [], JOBS, more))
    assert {key: found[key] for key in FIXED} == FIXED
    assert found["PORTAGE_RO_DISTDIRS"] == "/var/cache/distfiles.shared"
    last = {word.removeprefix("-"): word for word in found["FEATURES"].split()}  # the last word decides
    assert {last[word.removeprefix("-")] for word in FEATURES} == set(FEATURES)
    own = {"desktop": ("candy", "~amd64"), "server": ("split-elog", "xz"), "musl": ("noman", "clang")}[name]
    assert own[0] in found["FEATURES"].split()
    assert own[1] in (found.get("ACCEPT_KEYWORDS"), found["BINPKG_COMPRESS"], found.get("CC"))
    assert found["USE"].split()[-1] == "two"


def test_check_notes_what_a_build_does_not_take_from_make_conf(tmp_path: Path) -> None:
    notes = {}
    for sample in MAKE_CONFS.iterdir():
        (tmp_path / sample.name / "make.conf").mkdir(parents=True)
        (tmp_path / sample.name / "make.conf/mine").write_bytes(sample.read_bytes())
        notes[sample.name] = "\n".join(make_conf_notes("portage", tmp_path / sample.name))
    assert "set DISTDIR, EMERGE_DEFAULT_OPTS, PKGDIR, PORTAGE_IONICE_COMMAND" in notes["desktop"]
    assert "switch off FEATURES binpkg-request-signature, getbinpkg" in notes["desktop"]
    assert "COMMON_FLAGS, RUSTFLAGS with `native`" in notes["desktop"]
    assert "MAKEOPTS" in notes["desktop"]
    assert "set CLEAN_DELAY, PORTAGE_ELOG_SYSTEM themselves" in notes["server"]
    assert "switch off FEATURES binpkg-signing, cgroup, distcc" in notes["server"]
    assert notes["musl"] == ""


def test_a_make_conf_that_cannot_be_parsed_is_read_line_by_line(tmp_path: Path) -> None:
    broken = confdir(tmp_path / "mine", make_conf='DISTDIR="/srv\nexport PKGDIR=/srv/packages\n')
    assert "set DISTDIR, PKGDIR themselves" in next(make_conf_notes("mine", broken))


@pytest.mark.parametrize("turned", [False, True])
def test_names_that_are_files_or_folders_merge_in_any_order(tmp_path: Path, turned: bool) -> None:
    """Portage reads the members in the order of their names: the later confdir decides."""
    one = confdir(
        tmp_path / "one", package_use="a/b one\n", repos_conf="[x]\n", make_conf="A=1\n", package_mask__zzy="a/one\n"
    )
    two = confdir(
        tmp_path / "two",
        package_use__zoo="a/b two\n",
        repos_conf__x="[x]\n",
        make_conf__aa="A=2\n",
        package_mask="a/two\n",
    )
    confdirs = [two, one] if turned else [one, two]
    assert not list(shape_problems({folder.name: folder for folder in confdirs}))
    folder = assemble_confdir(tmp_path / "etc", PortageSettings(), confdirs, [], JOBS)
    last = confdirs[-1].name
    for name in ("package.use", "package.mask"):
        members = sorted((folder / name).iterdir())
        assert [last in path.read_text(encoding="utf-8") for path in members] == [False, True]
    assert variables(folder)["A"] == {"one": "1", "two": "2"}[last]
    assert (folder / "repos.conf/stagewright.conf").is_file()


def test_files_of_the_folder_make_conf_replace_those_of_the_same_name(tmp_path: Path) -> None:
    one = confdir(tmp_path / "one", make_conf__flags="A=1\n", make_conf__use="B=1\n")
    two = confdir(tmp_path / "two", make_conf__flags="C=2\n")
    found = variables(assemble_confdir(tmp_path / "etc", PortageSettings(), [one, two], [], JOBS))
    assert (found.get("A"), found["B"], found["C"]) == (None, "1", "2")


def test_a_name_that_cannot_be_a_folder_is_reported(tmp_path: Path) -> None:
    one, two = confdir(tmp_path / "one", bashrc="true\n"), confdir(tmp_path / "two", bashrc__a="true\n")
    (problem,) = shape_problems({"one": one, "two": two})
    assert problem.reason is Reason.INVALID_VALUE
    assert "two/bashrc: a folder, but a file in one" in problem.message
    for number, confdirs in enumerate(([one, two], [two, one])):
        with pytest.raises(StagewrightError) as caught:
            assemble_confdir(tmp_path / f"etc{number}", PortageSettings(), confdirs, [], JOBS)
        assert caught.value.reason is Reason.INVALID_VALUE


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


def test_a_build_gets_no_more_compilers_than_its_memory_allows(tmp_path: Path, repos: list[Repository]) -> None:
    """A big package on a machine with many cores and little memory must not exhaust it."""
    for cores, memory, make in ((64, 8 << 10, 4), (2, 64 << 10, 2), (16, 1 << 10, 1)):
        jobs = ParallelJobs.of(cores, memory)
        assert jobs.make * jobs.packages * 2048 <= max(memory, 2048)
        folder = assemble_confdir(tmp_path / f"etc{cores}", PortageSettings(), [], repos, jobs)
        written = "".join(path.read_text(encoding="utf-8") for path in sorted((folder / "make.conf").glob("*")))
        assert f'MAKEOPTS="-j{make}"' in written


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
