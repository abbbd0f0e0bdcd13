"""Repositories and profiles on disk, and the errors of stages that use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.kinds.registry import kinds
from stagewright.portage.repositories import (
    Repository,
    has_package,
    main_repository,
    profile_chain,
    profile_link,
    similar_package_hint,
)
from stagewright.project.load import load


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def repos(tmp_path: Path) -> list[Repository]:
    """Return a main repository and an overlay that inherits from it."""
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


def test_a_profile_comes_after_its_parents(repos: list[Repository]) -> None:
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


def test_the_path_of_a_profile_inside_a_root(repos: list[Repository]) -> None:
    assert profile_link("default/linux/amd64", repos) == "/var/db/repos/gentoo/profiles/default/linux/amd64"
    assert profile_link("farm:barn", repos) == "/var/db/repos/farm/profiles/barn"
    assert main_repository(repos) is repos[1]
    assert main_repository(repos[:1]) is repos[0]
    assert main_repository([]) is None


@pytest.mark.parametrize(
    ("profile", "seen", "message", "hint"),
    [
        ("default/linux/amd46", 2, "profile 'default/linux/amd46' not found in repositories farm, gentoo", "amd64'"),
        ("farm:base", 2, "profile 'base' not found in repository farm", "name a folder below profiles/"),
        ("gentooo:base", 2, "profile 'base' not found: this stage has no repository 'gentooo'", "'gentoo'"),
        ("base", 0, "profile 'base' not found: this stage has no repositories", "[repos.NAME]"),
    ],
)
def test_a_missing_profile_is_reported_with_a_hint(
    repos: list[Repository], profile: str, seen: int, message: str, hint: str
) -> None:
    with pytest.raises(StagewrightError) as caught:
        profile_chain(profile, repos[:seen])
    assert caught.value.reason is (Reason.MISSING_FILE if " in repositor" in message else Reason.UNKNOWN_NAME)
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_all_missing_parents_are_reported_with_their_lines(repos: list[Repository]) -> None:
    parents = repos[1].path / "profiles/default/linux/amd64/systemd/parent"
    parents.write_text("..\n../nowhere\nzoo:targets/ape\n", encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        profile_chain("default/linux/amd64/systemd", repos)
    assert [(problem.reason, str(problem.place)) for problem in caught.value.problems] == [
        (Reason.MISSING_FILE, f"{parents}:2"),
        (Reason.MISSING_FILE, f"{parents}:3"),
    ]
    assert "'zoo'" in caught.value.problems[1].hint


def test_parents_outside_of_the_repositories_are_refused_and_not_read(repos: list[Repository], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "parent").write_text("root:$6$hash\n", encoding="utf-8")
    parents = repos[1].path / "profiles/default/linux/amd64/systemd/parent"
    parents.unlink()
    parents.symlink_to(secret / "parent")
    other = repos[1].path / "profiles/base/parent"
    other.write_text(f"{'../' * 20}{secret.relative_to('/')}\n", encoding="utf-8")
    for profile in ("default/linux/amd64/systemd", "base"):
        with pytest.raises(ProblemsError) as caught:
            profile_chain(profile, repos)
        (problem,) = caught.value.problems
        assert problem.reason is Reason.INVALID_VALUE and "leads out of the repository" in problem.message
        assert "hash" not in str(problem)


def test_a_profile_that_inherits_from_itself_is_reported(repos: list[Repository]) -> None:
    write(repos[1].path / "profiles/base/parent", "../default/linux/amd64\n")
    with pytest.raises(ProblemsError) as caught:
        profile_chain("default/linux/amd64", repos)
    assert caught.value.problems[0].reason is Reason.CYCLE


@pytest.mark.parametrize(
    ("package", "hint"),
    [
        ("app-misc/helo", "'app-misc/hello'"),
        ("misc/hello", "'app-misc/hello'"),
        ("app-misc/COW", "'app-farm/cow'"),
        ("app-misc/nothing-like-these", "no package has a similar name"),
        ("zoo/ape", "category zoo"),
    ],
)
def test_a_missing_package_is_reported_with_the_nearest_name(repos: list[Repository], package: str, hint: str) -> None:
    assert not has_package(package, repos)
    assert hint in similar_package_hint(package, repos)
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
        Reason.UNKNOWN_NAME,
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


def test_packages_to_remove_need_no_repository(repos: list[Repository]) -> None:
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
def test_a_dangling_profile_link_is_reported(repos: list[Repository], link: str) -> None:
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
def test_a_wrong_name_or_master_of_a_repository_is_reported(
    repos: list[Repository], file: str, text: str, message: str
) -> None:
    folder = repos[0].path.parent
    write(folder / file, text)
    (folder / "stagewright.toml").write_text(HEAD, encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        load(folder, kinds())
    (problem,) = caught.value.problems
    assert problem.place
    assert problem.place.line == 7
    assert message in problem.hint
