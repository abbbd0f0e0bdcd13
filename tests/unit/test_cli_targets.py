"""The words that name targets, and the commands that look at what was built: shell, log, boot, diff, clean."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from small_project import PROJECT, Small

from stagewright.engine.targets import name_of, names_of
from stagewright.errors import Exit, Reason, StagewrightError

KNOWN = {"debian": "seed:debian", "stage4-a": "stage4-a", "stage4-b": "stage4-b", "iso-uefi": "test:iso-uefi"}


@pytest.fixture
def small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Small:
    return Small(tmp_path / "project", tmp_path / "store", capsys)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["debian"], ["debian"]),
        (["seed:debian"], ["debian"]),
        (["test:iso-uefi", "iso-uefi"], ["iso-uefi"]),
        (["stage4-*"], ["stage4-a", "stage4-b"]),
        (["stage4-[b]", "stage4-a"], ["stage4-b", "stage4-a"]),
        (["test:*"], ["iso-uefi"]),
        (["*"], list(KNOWN)),
    ],
    ids=str,
)
def test_names_ids_and_patterns_name_targets(words: list[str], names: list[str]) -> None:
    assert names_of(words, KNOWN, "a target") == names


@pytest.mark.parametrize("word", ["stage4-c", "seed:stage4-a", "x*", "[", ""])
def test_a_word_that_stands_for_nothing_names_the_nearest(word: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        names_of([word], KNOWN, "a target")
    assert caught.value.reason is Reason.UNKNOWN_NAME
    assert "stage4-" in caught.value.hint


def test_a_pattern_for_one_target_must_fit_one() -> None:
    assert name_of("*-a", KNOWN, "a target") == "stage4-a"
    with pytest.raises(StagewrightError, match="stage4-a, stage4-b") as caught:
        name_of("stage4-*", KNOWN, "a target")
    assert caught.value.reason is Reason.USAGE


def test_every_command_takes_ids_and_patterns(small: Small) -> None:
    nodes = json.loads(small("plan", "seed:base", "--json").out)["nodes"]
    assert [row["node"] for row in nodes] == ["seed:base"]
    assert "pack" in small("graph", "p*k", "--as", "text").out
    assert small("log", "seed:base").code == Exit.INVALID
    assert "stagewright build base" in small.err
    assert "'test:up' is not" in small("build", "test:up").err


def test_log_without_a_name_is_the_last_failure(small: Small) -> None:
    assert small("log").code == Exit.INVALID
    assert "nothing was built" in small.err
    os.utime(small.log("live", "live log\n"), (9, 9))
    os.utime(small.log("seed:base", "base log\n"), (5, 5))
    assert small("log").out == "live log\n"
    assert "no build failed" in small.err
    small.fail("seed:base")
    assert small("log").out == "base log\n"
    assert "seed:base" in small.err


def test_an_empty_log_is_said_to_be_empty(small: Small) -> None:
    path = small.log("live", "")
    assert small("log", "live").out == ""
    assert f"printed nothing ({path})" in small.err


def test_log_of_a_test_has_the_console(small: Small) -> None:
    small.write(PROJECT + '[tests.up]\nstarts = "live"\n[[tests.up.steps]]\nwait = "login:"\n')
    small.log("test:up", "")
    folder = small.fail("test:up") / "boot"
    folder.mkdir()
    lines = "[    0.100] Booting\n[    1.250] [    0.000000] Linux version 6.12\n"
    (folder / "console.timed.log").write_text(lines, encoding="utf-8")
    for name in ("up", "test:up"):
        assert small("log", name).out == "Booting\n[    0.000000] Linux version 6.12\n", name
    assert small("log", "--times", "up").out == lines
    assert not small.err


def test_boot_of_an_image_that_only_out_has_names_the_file(small: Small) -> None:
    (small.folder / "repo" / "profiles" / "p").mkdir(parents=True)
    (small.folder / "repo" / "profiles" / "repo_name").write_text("demo\n", encoding="utf-8")
    (small.folder / "repo" / "sys-kernel" / "linux").mkdir(parents=True)
    boot = '[repos.demo]\npath = "repo"\n[stages.boot]\nkind = "livecd-stage2"\nroot = "base"\nprofile = "p"\n'
    boot += 'kernel.package = "sys-kernel/linux"\n'
    iso = '[stages.iso]\nkind = "livecd-stage3"\nlive = "live"\nboot = "boot"\nname = "system"\n'
    pxe = '[stages.pxe]\nkind = "pxeboot"\nlive = "live"\nboot = "boot"\n'
    small.write(PROJECT + boot + iso + pxe)
    for name in ("iso", "pxe"):
        assert small("boot", name).code == Exit.INVALID
        assert "not built" in small.err
        assert "out/" not in small.err
    image = small.folder / "out" / "system.iso"
    image.parent.mkdir()
    image.write_bytes(b"x")
    (image.parent / "pxe" / "boot").mkdir(parents=True)
    for name, path in (("iso", image), ("pxe", image.parent / "pxe")):
        assert small("boot", name).code == Exit.INVALID
        assert f"stagewright boot {path} starts" in small.err


def test_shell_of_files_names_the_roots(small: Small) -> None:
    assert small("shell", "pack").code == Exit.INVALID
    assert "not a root" in small.err
    assert "roots that it is made of: live, base" in small.err


def test_shell_of_what_is_not_built_needs_its_input(small: Small) -> None:
    for words in (["live"], ["--before", "live"]):
        assert small("shell", *words).code == Exit.INVALID
        assert "stagewright build base" in small.err


@pytest.mark.parametrize("words", [["live", "--before"], ["live", "-x"]], ids=str)
def test_options_of_shell_come_before_the_stage(small: Small, words: list[str]) -> None:
    assert small("shell", *words).code == Exit.INVALID
    assert f"stagewright shell {words[1]} live" in small.err


def test_boot_of_a_root_names_what_a_machine_starts(small: Small) -> None:
    assert small("boot", "live").code == Exit.INVALID
    assert "live: a root, which no machine starts" in small.err
    small.build()
    assert small("boot", "pack").code == Exit.INVALID
    assert "pack: not an image" in small.err


def test_a_set_is_served_by_the_name_of_its_stage(small: Small) -> None:
    assert small("netboot", "serve", "pack").code == Exit.INVALID
    assert "stagewright build pack" in small.err
    small.build()
    assert small("netboot", "serve", "pack").code == Exit.INVALID
    assert "not a set for network boot" in small.err


def test_the_hint_of_diff_names_an_earlier_build_only_if_there_is_one(small: Small) -> None:
    assert small("diff", "live", "pack").code == Exit.INVALID
    assert "@previous" not in small.err
    small.build()
    small.write(PROJECT + 'compression = "xz"\n')
    small("diff", "pack", "live")
    assert "pack@previous" in small.err


def test_two_projects_of_one_name_have_separate_records(small: Small, tmp_path: Path) -> None:
    other = Small(tmp_path / "other", small.store, small.capture)
    small.log("live", "mine\n")
    small.fail("live")
    assert small("log", "live").out == "mine\n"
    assert other("log", "live").code == Exit.INVALID
    assert "never built" in other.err
    assert "failed small-" not in other("clean", "-n").out
    other("clean")
    assert "/live" in small("clean", "-n").out
    assert "failed small-" in other("clean", "--all", "-n").out
    other("clean", "--all")
    assert small("clean", "-n").out == "would free 0 B\n"


def test_a_project_that_moved_by_a_link_keeps_its_records(small: Small, tmp_path: Path) -> None:
    small.log("live", "mine\n")
    (tmp_path / "link").symlink_to(small.folder)
    small.folder = tmp_path / "link"
    assert small("log", "live").out == "mine\n"


def test_clean_outside_of_a_project_needs_all(small: Small, tmp_path: Path) -> None:
    small.fail("live")
    small.folder = tmp_path
    assert small("clean").code == Exit.INVALID
    assert "clean --all" in small.err
    assert small("clean", "--all").code == Exit.OK
    assert not list((small.store / "failed").glob("*/*"))


def test_all_missing_programs_are_named(small: Small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("mount", "sh"):
        shutil.copy("/bin/true", programs / name)
    for module in ("stagewright.engine.doctor.PATH", "stagewright.store.digest_cache.PATH"):
        monkeypatch.setattr(module, str(programs))
    monkeypatch.setattr("stagewright.store.digest_cache.ToolVersions.__init__.__defaults__", (str(programs),))
    assert small("plan").code == Exit.HOST
    for name in ("zstd", "bwrap", "unshare"):
        assert name in small.err, small.err
