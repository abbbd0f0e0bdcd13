"""Mistakes on the command line are answered like all other errors: what is wrong, and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.cli.main import run
from stagewright.errors import Exit

MISTAKES = [
    ("build --jobz 2", "unknown option '--jobz'", "did you mean '--jobs'?"),
    ("build --zz", "unknown option '--zz'", "stagewright build --help"),
    ("build --jobs 0", "--jobs: must be at least 1 (found 0)", "stagewright build --help"),
    ("build --jobs two", "--jobs: must be a whole number (found 'two')", "stagewright build --help"),
    ("graph --as pgn", "--as: unknown value 'pgn'", "known here: dot, json, mermaid, svg, text"),
    ("completion", "{bash|zsh|fish} is missing", "write one of: bash, zsh, fish"),
    ("completion fihs", "{bash|zsh|fish}: unknown value 'fihs'", "did you mean 'fish'?"),
    ("boot", "STAGE|FILE is missing", "write: stagewright boot [OPTIONS] STAGE|FILE [-- COMMAND...]"),
    (
        "boot iso --memory 12X",
        "--memory: '12X' is not an amount of memory",
        "write a number of MiB, or one with M or G: 2G",
    ),
    ("biuld", "unknown command 'biuld'", "did you mean 'build'?"),
    ("netboot sreve", "unknown command 'sreve'", "did you mean 'serve'?"),
    ("init stage4 a b", "unexpected argument 'b'", "write: stagewright init [OPTIONS] [TEMPLATE] [FOLDER]"),
]


@pytest.mark.parametrize(("words", "message", "hint"), MISTAKES, ids=[words for words, _, _ in MISTAKES])
def test_a_mistake_is_answered_with_a_hint(
    words: str, message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words.split()) == Exit.INVALID
    assert capsys.readouterr().err.splitlines() == [f"error: {message}", f"  hint: {hint}"]


def test_a_group_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["media"]) == Exit.INVALID
    assert "Usage: stagewright media" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plan", "build"])
def test_a_file_in_the_place_of_the_store_is_reported(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root").mkdir()
    text = 'format = 1\nproject.name = "box"\nseeds.base.file = "root"\n'
    (tmp_path / "stagewright.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("STAGEWRIGHT_STORE", "/dev/null")
    assert run(["-C", str(tmp_path), command]) == Exit.STORE
    assert "error: the store /dev/null is not a folder" in capsys.readouterr().err
