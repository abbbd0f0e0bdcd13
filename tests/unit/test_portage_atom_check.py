"""Atoms are checked against ebuilds, masks and keywords before a build."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.registry import kinds
from stagewright.portage.atom_check import AtomCheck
from stagewright.portage.atoms import parse_atom
from stagewright.portage.config_files import files_of
from stagewright.portage.ebuilds import Ebuild
from stagewright.portage.repositories import Repository, known_chain
from stagewright.portage.settings import PortageSettings
from stagewright.portage.use_check import package_use_notes
from stagewright.portage.visibility import Visibility
from stagewright.project.load import load

CACHE = {
    "sys-libs/ncurses-6.4": "SLOT=0/6\nKEYWORDS=amd64\nIUSE=+cxx debug",
    "sys-libs/ncurses-6.5-r1": "SLOT=0/6\nKEYWORDS=amd64\nIUSE=+cxx debug doc",
    "sys-libs/ncurses-6.6": "SLOT=0/6\nKEYWORDS=~amd64\nIUSE=+cxx debug doc",
    "dev-lang/python-3.12.9": "SLOT=3.12\nKEYWORDS=amd64",
    "dev-lang/python-3.13.2": "SLOT=3.13\nKEYWORDS=~amd64",
    "dev-vcs/git-2.50": "SLOT=0\nKEYWORDS=amd64",
    "dev-vcs/git-9999": "SLOT=0\nPROPERTIES=live",
    "app-misc/live-9999": "SLOT=0\nKEYWORDS=amd64\nPROPERTIES=live",
    "app-misc/old-1": "SLOT=0\nKEYWORDS=amd64",
    "app-misc/far-1": "SLOT=0\nKEYWORDS=arm64",
    "app-misc/bare-1": "SLOT=0",
}


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def add(tree: Path, cpv: str, cache: str | None, text: str = "EAPI=8\n") -> None:
    name = cpv.rpartition("/")[2].partition("-")[0]
    write(tree / cpv.partition("/")[0] / name / f"{cpv.rpartition('/')[2]}.ebuild", text)
    if cache is not None:
        digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        write(tree / "metadata/md5-cache" / cpv, f"{cache}\n_md5_={digest}\n")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Make a main repository with metadata, an overlay without, and a confdir."""
    gentoo = tmp_path / "gentoo"
    for cpv, cache in CACHE.items():
        add(gentoo, cpv, cache)
    write(gentoo / "profiles/package.mask", "# for removal\n<app-misc/old-2\n")
    write(gentoo / "profiles/base/make.defaults", 'USE_EXPAND_IMPLICIT="ELIBC"\nIUSE_IMPLICIT="prefix"\n')
    write(gentoo / "profiles/amd64/make.defaults", 'ARCH="amd64"\nACCEPT_KEYWORDS="${ARCH}"\n')
    write(gentoo / "profiles/amd64/parent", "../base\n")
    add(tmp_path / "farm", "app-farm/cow-1", None, 'SLOT="0"\nKEYWORDS="~amd64"\n')
    add(tmp_path / "farm", "app-farm/owl-9999", None, "inherit git-r3\n")
    write(tmp_path / "farm/metadata/layout.conf", "masters = gentoo\n")
    (tmp_path / "confdir").mkdir()
    return tmp_path


def check(world: Path, text: str, *, binhosts: bool = False, **settings: Sequence[str]) -> list[StagewrightError]:
    return list(checker(world, binhosts=binhosts, **settings).problems(text, "packages.0"))


def checker(world: Path, *, binhosts: bool = False, **settings: Sequence[str]) -> AtomCheck:
    repos = [Repository("gentoo", world / "gentoo", main=True), Repository("farm", world / "farm")]
    confdirs = (world / "confdir",)
    chain = known_chain("amd64", confdirs, repos)
    visibility = Visibility(repos, chain, confdirs, PortageSettings.model_validate(settings))
    return AtomCheck(repos, confdirs, visibility, has_binhosts=binhosts)


WRONG = {
    "=sys-libs/ncurses-99": ("nearest: 6.4, 6.5-r1, 6.6", "=sys-libs/ncurses-6.6"),
    "~sys-libs/ncurses-6.5_p1": ("nearest", "=sys-libs/ncurses-6.6"),
    "=sys-libs/ncurses-6.5": ("nearest", ""),
    "<sys-libs/ncurses-6": ("nearest", ""),
    "dev-lang/python:3.99": ("slots: 3.12, 3.13", ":3.13"),
    "sys-libs/ncurses:0/5": ("slots: 0/6", ":0/6"),
    "sys-libs/ncurses::guru": ("no repository 'guru' (gentoo, farm)", "ncurses::gentoo"),
    "sys-libs/ncurses::farm": ("'farm' does not have sys-libs/ncurses (gentoo does)", "ncurses::gentoo"),
    "sys-libs/ncurses[cyx]": ("no USE flag 'cyx'", "'cxx'"),
    "sys-libs/ncurses[-nothing]": ("no USE flag 'nothing'", "doc"),
    "=sys-libs/ncurses-6.4[doc]": ("no USE flag 'doc'", "debug"),
    "sys-libs/ncursed": ("no repository of this stage has sys-libs/ncursed", "ncurses"),
    "@nosuchset": ("package set @nosuchset not found", "sets/nosuchset"),
}


@pytest.mark.parametrize("text", WRONG)
def test_what_no_repository_has_is_reported_with_what_there_is(world: Path, text: str) -> None:
    message, hint = WRONG[text]
    (error,) = check(world, text)
    assert error.reason is Reason.UNKNOWN_NAME
    assert error.message.startswith("packages.0: ")
    assert message in error.message
    assert hint in error.hint


MASKED = {
    "=sys-libs/ncurses-6.6": ("6.6 by keyword ~amd64", '"=sys-libs/ncurses-6.6 ~amd64"'),
    "dev-lang/python:3.13": ("3.13.2 by keyword ~amd64", "package.accept_keywords"),
    "app-misc/old": ("1 by package.mask", "package.unmask"),
    "app-misc/far": ("no keyword for amd64", '"=app-misc/far-1 **"'),
    "app-misc/bare": ("no keyword for amd64", '"=app-misc/bare-1 **"'),
}


@pytest.mark.parametrize("text", MASKED)
def test_what_is_masked_in_every_version_is_reported_with_the_way_out(world: Path, text: str) -> None:
    message, hint = MASKED[text]
    (error,) = check(world, text)
    assert error.reason is Reason.DEPENDENCIES
    assert message in error.message
    assert hint in error.hint
    if "package.mask" in message:
        assert "profiles/package.mask:2" in error.detail


FINE = (
    *("sys-libs/ncurses", "=sys-libs/ncurses-6.5*", "~sys-libs/ncurses-6.5", ">=sys-libs/ncurses-6.4:0/6="),
    *("sys-libs/ncurses[cxx,-doc]", "sys-libs/ncurses[nothing(-)]", "sys-libs/ncurses[elibc_glibc,prefix]"),
    *("dev-lang/python:3.12", "dev-lang/python:=", "dev-vcs/git", "sys-libs/ncurses::gentoo", "@world", "@profile"),
    "app-farm/cow",  # keywords are a guess without metadata
)


@pytest.mark.parametrize("text", FINE)
def test_what_can_be_installed_is_not_reported(world: Path, text: str) -> None:
    assert check(world, text) == []


WAYS_OUT: dict[str, tuple[str, str, dict[str, Sequence[str]]]] = {
    "a keyword of the stage": ("=sys-libs/ncurses-6.6", "", {"accept_keywords": ["~amd64"]}),
    "a keyword of make.conf": ("=sys-libs/ncurses-6.6", "make.conf:ACCEPT_KEYWORDS='~amd64'", {}),
    "a make.conf that reads others": ("=sys-libs/ncurses-6.6", "make.conf:source /etc/portage/more", {}),
    "an atom alone": ("=sys-libs/ncurses-6.6", "package.accept_keywords:sys-libs/ncurses # new", {}),
    "a file in a folder": ("app-misc/far", "package.accept_keywords/far:app-misc/far arm64", {}),
    "all keywords": ("app-misc/bare", "package.accept_keywords:*/* **", {}),
    "an unmask": ("app-misc/old", "package.unmask:=app-misc/old-1*", {}),
    "a mask that is removed": ("app-misc/old", "package.mask:-<app-misc/old-2", {}),
    "a package that is provided": ("=app-misc/old-7", "profile/package.provided:app-misc/old-7", {}),
    "a set of the confdir": ("@mine", "sets/mine:sys-libs/ncurses\n# more\n@mine", {}),
    "a section of sets.conf": ("@mine", "sets.conf:[mine]\nclass = portage.sets.dbapi.AgeSet", {}),
}


@pytest.mark.parametrize("case", WAYS_OUT)
def test_the_configuration_of_the_stage_counts(world: Path, case: str) -> None:
    text, file, settings = WAYS_OUT[case]
    if file:
        name, _, content = file.partition(":")
        assert check(world, text)
        write(world / "confdir" / name, content + "\n")
    assert check(world, text, **settings) == []


def test_a_mask_of_a_confdir_counts(world: Path) -> None:
    write(world / "confdir/package.mask", ">=sys-libs/ncurses-6\n")
    (error,) = check(world, "sys-libs/ncurses", accept_keywords=["~amd64"])
    assert "6.6 by package.mask, 6.5-r1 by package.mask, 6.4 by package.mask" in error.message


def test_a_wrong_line_of_a_set_is_reported_at_its_place(world: Path) -> None:
    write(world / "confdir/sets/mine", "sys-libs/ncurses\n=sys-libs/ncurses-99\n@other\n")
    errors = check(world, "@mine")
    assert [error.place and (error.place.file.name, error.place.line) for error in errors] == [("mine", 2), ("mine", 3)]


@pytest.mark.parametrize("text", ["app-misc/live", "app-farm/owl"])
def test_a_live_ebuild_is_reported(world: Path, text: str) -> None:
    (error,) = check(world, text)
    assert error.reason is Reason.INVALID_VALUE
    assert "is a live ebuild" in error.message
    assert error.hint == f'add online = ["{text}"] to the stage, which fetches and pins its source'


def test_a_live_ebuild_that_the_keywords_choose_is_reported_with_the_newest_release(world: Path) -> None:
    write(world / "confdir/package.accept_keywords", "dev-vcs/git **\n")
    hint = 'write =dev-vcs/git-2.50, or add online = ["dev-vcs/git"] to the stage, which fetches and pins its source'
    assert [error.hint for error in check(world, "dev-vcs/git")] == [hint]
    assert [error.hint for error in check(world, "=dev-vcs/git-9999")] == [hint]
    assert check(world, "<dev-vcs/git-9999") == []


def test_with_binary_package_hosts_only_names_are_checked(world: Path) -> None:
    assert check(world, "=sys-libs/ncurses-99", binhosts=True) == []
    assert check(world, "sys-libs/nothing", binhosts=True)
    assert check(world, "@nosuchset", binhosts=True)


def test_metadata_of_another_text_of_the_ebuild_does_not_count(world: Path) -> None:
    write(world / "gentoo/app-misc/far/far-1.ebuild", 'EAPI=8\nKEYWORDS="amd64"\n')
    assert check(world, "app-misc/far") == []


def test_flags_of_package_use_that_no_package_has_are_noted(world: Path) -> None:
    lines = (
        "# of a desktop\n*/* nothing\nsys-libs/ncurses cxx -nothing elibc_musl ABI_X86: 32\n"
        "=sys-libs/ncurses-6.4 doc\nold/package x\napp-farm/cow bell\napp-misc/far -*\n"
    )
    write(world / "confdir/package.use/desktop", lines)
    notes = list(package_use_notes("conf", world / "confdir", checker(world)))
    assert [note.partition(";")[0] for note in notes] == [
        "conf/package.use/desktop:3: sys-libs/ncurses has no USE flag 'nothing'",
        "conf/package.use/desktop:3: sys-libs/ncurses has no USE flag 'abi_x86_32'",
        "conf/package.use/desktop:4: =sys-libs/ncurses-6.4 has no USE flag 'doc'",
    ]


VERSIONS = {
    "=a/b-1.2*": {"1.2": True, "1.2.3": True, "1.2-r4": True, "1.2_p1": True, "1.20": False, "1.1": False},
    "~a/b-1.2": {"1.2": True, "1.2-r9": True, "1.2.0": False},
    "=a/b-1.2": {"1.2": True, "1.2-r0": True, "1.2-r1": False},
    ">a/b-1.2": {"1.2": False, "1.2-r1": True, "1.2_rc1": False},
    "<=a/b-1.2": {"1.2": True, "1.2-r1": False, "1.2_rc1": True},
    "=a/b-c-2-1": {"1": True, "2": False},
}


@pytest.mark.parametrize("text", VERSIONS)
def test_versions_of_an_atom(text: str) -> None:
    atom = parse_atom(text)
    assert atom
    found = {version: Ebuild(version, "0", frozenset(), Path()) for version in VERSIONS[text]}
    assert {version: atom.matches(atom.package, ebuild) for version, ebuild in found.items()} == VERSIONS[text]


@pytest.mark.parametrize("text", ["@world", "!a/b", "b", "=a/b", ">=a/b", "a/b c", ""])
def test_what_is_not_an_atom_is_refused(text: str) -> None:
    assert parse_atom(text) is None


def test_an_unknown_slot_is_wanted_but_not_masked() -> None:
    atom, ebuild = parse_atom("a/b:2"), Ebuild("1", "", frozenset(), Path())
    assert atom
    assert atom.matches("a/b", ebuild)
    assert not atom.matches("a/b", ebuild, unknown=False)


def test_a_folder_of_etc_portage_with_links_to_itself_is_read_once(tmp_path: Path) -> None:
    folder = tmp_path / "package.mask"
    folder.mkdir()
    (folder / "own").write_text("app/one\n", encoding="utf-8")
    for name in ("again", "above"):
        (folder / name).symlink_to(folder)
    assert files_of(folder) == [folder / "own"]


PROJECT = """format = 1
[project]
name = "shared"
source_date_epoch = 0
[repos.gentoo]
path = "gentoo"
main = true
[seeds.seed]
file = "seed.tar"
[stages.one]
kind = "stage4"
root = "seed"
profile = "amd64"
packages = ["sys-libs/ncurses"]
[stages.two]
extends = "one"
accept_keywords = ["~amd64"]
"""


def test_a_stage_has_one_check_and_stages_share_the_ebuilds_they_read(world: Path) -> None:
    write(world / "stagewright.toml", PROJECT)
    write(world / "seed.tar")
    first, again = load(world, kinds()), load(world, kinds())
    one, two = (first.entries["stages"][name].model for name in ("one", "two"))
    assert isinstance(one, PackageStage) and isinstance(two, PackageStage)
    assert one.atom_check(first) is one.atom_check(first) is not two.atom_check(first)
    assert one.atom_check(first).ebuilds("sys-libs/ncurses") is two.atom_check(first).ebuilds("sys-libs/ncurses")
    assert one.atom_check(again) is not one.atom_check(first), "a project that is read again knows nothing"
