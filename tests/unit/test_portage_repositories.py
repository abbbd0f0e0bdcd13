"""Repositories and profiles as they lie on disk, and what is found wrong with a stage that uses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.kinds.registry import kinds
from stagewright.portage.repositories import Repository, has_package, like_package, main_of, profile_chain, profile_link
from stagewright.project.load import load


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def repos(tmp_path: Path) -> list[Repository]:
    """A main repository and an overlay that builds on it."""
    main, overlay = tmp_path / "gentoo", tmp_path / "farm"
    profiles = main / "profiles"
    write(profiles / "repo_name", "gentoo\n")
    write(
        profiles / "profiles.desc", "# arch\namd64 default/linux/amd64 stable\namd64 default/linux/amd64/systemd dev\n"
    )
    write(profiles / "base/make.defaults")
    write(profiles / "default/linux/amd64/parent", "# the base\n../../../base\n\n")
    write(profiles / "targets/systemd/eapi", "8\n")
    write(profiles / "default/linux/amd64/systemd/parent", "..\n:targets/systemd\n")
    write(main / "app-misc/hello/hello-1.ebuild")
    write(main / "app-misc/help/help-1.ebuild")
    write(overlay / "profiles/repo_name", "farm\n")
    write(overlay / "metadata/layout.conf", "masters = gentoo # the tree\n")
    write(overlay / "profiles/barn/parent", "gentoo:default/linux/amd64\n")
    write(overlay / "app-farm/cow/cow-1.ebuild")
    return [Repository("farm", overlay), Repository("gentoo", main, main=True)]


def names(folders: tuple[Path, ...], repos: list[Repository]) -> list[str]:
    root = repos[0].path.parent
    return [str(folder.relative_to(root)) for folder in folders]


def test_profiles_come_after_their_parents(repos: list[Repository]) -> None:
    assert names(profile_chain("default/linux/amd64/systemd", repos), repos) == [
        "gentoo/profiles/base",
        "gentoo/profiles/default/linux/amd64",
        "gentoo/profiles/targets/systemd",
        "gentoo/profiles/default/linux/amd64/systemd",
    ]
    assert names(profile_chain("farm:barn", repos), repos)[-2:] == [
        "gentoo/profiles/default/linux/amd64",
        "farm/profiles/barn",
    ]


def test_where_a_profile_is_inside_a_root(repos: list[Repository]) -> None:
    assert profile_link("default/linux/amd64", repos) == "/var/db/repos/gentoo/profiles/default/linux/amd64"
    assert profile_link("farm:barn", repos) == "/var/db/repos/farm/profiles/barn"
    assert main_of(repos) is repos[1]
    assert main_of(repos[:1]) is repos[0]
    assert main_of([]) is None


def test_a_profile_that_is_not_there(repos: list[Repository]) -> None:
    with pytest.raises(StagewrightError) as caught:
        profile_chain("default/linux/amd46", repos)
    assert caught.value.reason is Reason.MISSING_FILE
    assert "'default/linux/amd64'" in caught.value.hint
    with pytest.raises(StagewrightError):
        profile_chain("farm:default/linux/amd64", repos)


def test_parents_that_lead_nowhere_are_all_told_with_their_lines(repos: list[Repository]) -> None:
    parents = repos[1].path / "profiles/default/linux/amd64/systemd/parent"
    parents.write_text("..\n../nowhere\nzoo:targets/ape\n", encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        profile_chain("default/linux/amd64/systemd", repos)
    assert [(problem.reason, str(problem.place)) for problem in caught.value.problems] == [
        (Reason.MISSING_FILE, f"{parents}:2"),
        (Reason.MISSING_FILE, f"{parents}:3"),
    ]
    assert "'zoo'" in caught.value.problems[1].hint


def test_a_profile_that_is_its_own_parent(repos: list[Repository]) -> None:
    write(repos[1].path / "profiles/base/parent", "../default/linux/amd64\n")
    with pytest.raises(ProblemsError) as caught:
        profile_chain("default/linux/amd64", repos)
    assert caught.value.problems[0].reason is Reason.CYCLE


@pytest.mark.parametrize(
    ("package", "hint"),
    [("app-misc/helo", "'app-misc/hello'"), ("misc/hello", "'app-misc/hello'"), ("zoo/ape", "category zoo")],
)
def test_packages_that_are_not_there(repos: list[Repository], package: str, hint: str) -> None:
    assert not has_package(package, repos)
    assert hint in like_package(package, repos)
    assert has_package("app-farm/cow", repos)


HEAD = """format = 1
[project]
name = "farm"
[repos.gentoo]
path = "gentoo"
main = true
[repos.farm]
path = "farm"
[seeds.debian]
bootstrap = "debian"
packages = []
[stages.a]
kind = "stage4"
root = "debian"
"""

WRONG = {
    "no profile": ('packages = ["app-misc/hello"]', 12, Reason.MISSING_KEY),
    "unknown profile": ('profile = "default/linux/amd46"', 15, Reason.MISSING_FILE),
    "a profile of a repository that the stage does not see": (
        'repos = ["gentoo"]\nprofile = "farm:barn"',
        16,
        Reason.MISSING_FILE,
    ),
    "a package of a repository that the stage does not see": (
        'repos = ["gentoo"]\nprofile = "default/linux/amd64"\npackages = ["app-farm/cow"]',
        17,
        Reason.UNKNOWN_NAME,
    ),
    "unknown package": (
        'profile = "default/linux/amd64"\npackages = [\n"@system",\n">=app-misc/helo-1:0[x]",\n]',
        18,
        Reason.UNKNOWN_NAME,
    ),
    "unknown package of a kernel": (
        'profile = "default/linux/amd64"\nkernel = { package = "sys-kernel/none" }',
        16,
        Reason.UNKNOWN_NAME,
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_stage_is_checked_before_anything_is_built(repos: list[Repository], case: str) -> None:
    text, line, reason = WRONG[case]
    folder = repos[0].path.parent
    (folder / "stagewright.toml").write_text(HEAD + text + "\n", encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        load(folder, kinds())
    assert [(problem.place.line, problem.reason) for problem in caught.value.problems if problem.place] == [
        (line, reason)
    ]


def test_what_is_removed_need_not_be_in_a_repository(repos: list[Repository]) -> None:
    folder = repos[0].path.parent
    text = 'profile = "farm:barn"\npackages = ["app-farm/cow", "@world"]\nunmerge = ["old/thing"]\n'
    (folder / "stagewright.toml").write_text(HEAD + text, encoding="utf-8")
    assert load(folder, kinds()).entries["stages"]["a"].kind == "stage4"


def test_a_profile_may_come_from_a_confdir(repos: list[Repository]) -> None:
    folder = repos[0].path.parent
    (folder / "confdir").mkdir()
    (folder / "confdir/make.profile").symlink_to("/var/db/repos/gentoo/profiles/base")
    text = 'confdir = ["confdir"]\npackages = ["app-farm/cow"]\n'
    (folder / "stagewright.toml").write_text(HEAD + text, encoding="utf-8")
    assert load(folder, kinds()).entries["stages"]["a"].kind == "stage4"


@pytest.mark.parametrize("link", ["/var/db/repos/gentoo/profiles/bas", "../../var/db/repos/gentoo/profiles/bas/"])
def test_a_profile_link_that_dangles(repos: list[Repository], link: str) -> None:
    folder = repos[0].path.parent
    (folder / "confdir").mkdir()
    (folder / "confdir/make.profile").symlink_to(link)
    (folder / "stagewright.toml").write_text(
        HEAD + 'confdir = ["confdir"]\npackages = ["app-farm/cow"]\n', encoding="utf-8"
    )
    with pytest.raises(ProblemsError) as caught:
        load(folder, kinds())
    (problem,) = caught.value.problems
    assert problem.reason is Reason.MISSING_FILE
    assert problem.place
    assert problem.place.line == 15


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("farm/profiles/repo_name", "barn\n", "[repos.barn]"),
        ("farm/metadata/layout.conf", "repo-name = stable\nmasters = gentoo\n", "[repos.stable]"),
        ("farm/metadata/layout.conf", "masters = gentoo guru\n", "[repos.guru]"),
    ],
)
def test_names_of_repositories(repos: list[Repository], file: str, text: str, message: str) -> None:
    folder = repos[0].path.parent
    write(folder / file, text)
    (folder / "stagewright.toml").write_text(HEAD, encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        load(folder, kinds())
    (problem,) = caught.value.problems
    assert problem.place
    assert problem.place.line == 7
    assert message in problem.hint
