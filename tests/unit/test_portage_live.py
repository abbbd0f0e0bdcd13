"""Live packages: commits are pinned by clone, kept in the store, and lent to builds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.online import pinned_commits
from stagewright.portage import live
from stagewright.portage.live import LiveCache, chosen_commits, clone_name, offline_variables
from stagewright.project.lock import Lock

ONE, TWO = "1" * 40, "2" * 40


@pytest.mark.parametrize(
    ("clone", "name"),
    [("gentoo_portage.git", "GENTOO_PORTAGE"), ("a-b.c_d+e.git", "A_B_C_D_E"), ("x.git.git", "X_GIT")],
)
def test_names_of_clones_are_those_of_the_eclass(clone: str, name: str) -> None:
    assert clone_name(clone) == name


def test_submodules_have_no_pin() -> None:
    found = {"a_main.git": {"app-misc/a/0": ONE}, "a_sub.git": {"app-misc/a/0/sub": TWO, "app-misc/a/0/sub/deep": ONE}}
    assert chosen_commits("app-misc/a", found) == {"A_MAIN": ONE}


def test_two_repositories_of_one_ebuild_are_both_pinned() -> None:
    found = {"main.git": {"app-misc/a/0": ONE}, "data.git": {"app-misc/a/0-data": TWO}}
    assert chosen_commits("app-misc/a", found) == {"MAIN": ONE, "DATA": TWO}


def test_one_repository_at_two_commits_is_refused() -> None:
    with pytest.raises(StagewrightError) as caught:
        chosen_commits("app-misc/a", {"main.git": {"app-misc/a/0": ONE, "other": TWO}})
    assert caught.value.reason is Reason.INVALID_VALUE


def test_builds_are_offline_and_have_the_commits() -> None:
    variables = offline_variables({"app-misc/a": {"MAIN": ONE}, "app-misc/b": {"MAIN": ONE, "DATA": TWO}})
    assert variables["EVCS_OFFLINE"] == "1"
    assert variables["EGIT_OVERRIDE_COMMIT_MAIN"] == ONE
    assert variables["EGIT_OVERRIDE_COMMIT_DATA"] == TWO


def test_packages_with_different_commits_of_one_repository_are_refused() -> None:
    with pytest.raises(StagewrightError) as caught:
        offline_variables({"app-misc/a": {"MAIN": ONE}, "app-misc/b": {"MAIN": TWO}})
    assert caught.value.reason is Reason.LOCK_STALE
    assert "stagewright update app-misc/a app-misc/b" in caught.value.hint


@pytest.mark.parametrize(
    "pin",
    [
        {},
        {"package": "app-misc/a-9999", "commits": {}},
        {"package": "app-misc/a-9999", "commits": {"MAIN": "HEAD"}},
        {"package": "app-misc/a-9999", "commits": {"PATH=/x": ONE}},
        {"package": "app-misc/a-9999", "commits": "many"},
        {"commits": {"MAIN": ONE}},
    ],
)
def test_a_pin_that_is_not_valid_counts_as_missing(pin: dict[str, object]) -> None:
    assert pinned_commits(Lock(Path("lock"), 0, online={"app-misc/a": pin}), ["app-misc/a"]) == {}


def test_clones_are_kept_by_their_commits_and_lent_as_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PORTAGE_UID", os.geteuid())
    clone = tmp_path / "made/main.git"
    clone.mkdir(parents=True)
    (clone / "HEAD").write_text("one", encoding="utf-8")
    cache, lent = LiveCache(tmp_path / "live"), tmp_path / "lent"
    cache.keep(tmp_path / "made", "app-misc/a", {"MAIN": ONE})
    cache.keep(tmp_path / "made", "app-misc/a", {"MAIN": ONE})
    lent.mkdir()
    cache.lend("app-misc/a", {"MAIN": ONE}, lent)
    (lent / "main.git/HEAD").write_text("changed by a build", encoding="utf-8")
    assert (cache.clones("app-misc/a", {"MAIN": ONE}) / "main.git/HEAD").read_text(encoding="utf-8") == "one"
    assert not cache.clones("app-misc/a", {"MAIN": TWO}).exists()
    assert len(list((tmp_path / "live").iterdir())) == 1
