"""Values of --set, of the environment and of stagewright.local.toml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_project import PROJECT, Small

from stagewright.errors import Exit, Reason, StagewrightError
from stagewright.project.overrides import LOCAL, of_environment, parse_set

WITH_VARIABLE = PROJECT.replace("[seeds.base]", '[variables]\nhost = "box"\n[seeds.base]').replace(
    'root_overlay = ["overlay"]', 'root_overlay = ["overlay"]\nhostname = "{host}"'
)


@pytest.fixture
def small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Small:
    made = Small(tmp_path / "project", tmp_path / "store", capsys)
    made.write(WITH_VARIABLE)
    return made


def summary(small: Small, *words: str) -> dict[str, tuple[object, str]]:
    rows = json.loads(small("summary", "--json", *words).out)
    return {row["name"]: (row["value"], row["origin"]) for values in rows.values() for row in values}


def test_each_source_comes_before_the_next(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    assert summary(small)["variables.host"] == ("box", "stagewright.toml")
    (small.folder / LOCAL).write_text('[variables]\nhost = "local"\n', encoding="utf-8")
    assert summary(small)["variables.host"] == ("local", f"{LOCAL}:2")
    monkeypatch.setenv("STAGEWRIGHT_VAR_host", "environment")
    assert summary(small)["variables.host"] == ("environment", "STAGEWRIGHT_VAR_host")
    assert summary(small, "--set", "host=set")["variables.host"] == ("set", "--set")
    assert summary(small, "live", "--set", "host=set")["hostname"][0] == "set"


def test_the_version_can_be_given(small: Small) -> None:
    assert summary(small, "--set", "version=2.0")["version"] == ("2.0", "--set")
    (small.folder / LOCAL).write_text('[project]\nversion = "3"\n', encoding="utf-8")
    assert "small 3:" in small("check").out


def test_a_given_value_is_part_of_keys(small: Small) -> None:
    small.build()
    assert small("why", "live", "--set", "host=other").out.count("\n") == 2
    assert '- settings.hostname: "box" -> "other"' in small.out


def test_the_local_file_has_tables_that_change_no_result(small: Small) -> None:
    small.build()
    local = '[distfiles]\nmirrors = ["https://mirror.example"]\n[limits]\ntimeout = "1h"\n'
    (small.folder / LOCAL).write_text(local, encoding="utf-8")
    assert small.session.project.distfiles.mirrors == ["https://mirror.example"]
    assert "0 to build" in small("plan").out


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (["--set", "hst=x"], "", "did you mean 'host'?"),
        (["--set", "host"], "", "--set NAME=VALUE"),
        (["--set", "date=1"], "", "no variable 'date'"),
        (["--set", "version=7 8"], "", "version"),
        ([], "[stages.new]\n", "'stages' is not allowed in stagewright.local.toml"),
        ([], "[project]\nname = 'x'\n", "'project' is not allowed"),
        ([], "[variables]\nhost = 1\n", "host: must be a text (found the number 1)"),
        ([], "[variables]\nhst = 'x'\n", f"{LOCAL}:2:"),
        ([], "[limits]\ntimeout = 'x'\n", f"{LOCAL}:2:"),
        ([], "[limits\n", f"{LOCAL}:1"),
    ],
    ids=str,
)
def test_mistakes_are_reported_with_their_place(small: Small, words: list[str], text: str, said: str) -> None:
    if text:
        (small.folder / LOCAL).write_text(text, encoding="utf-8")
    assert small(*words, "check").code == Exit.INVALID
    assert said in small.err


def test_words_of_the_command_line() -> None:
    assert parse_set(["a=b=c", "d="])["a"].value == "b=c"
    for word in ("a", "=b", "a b=c"):
        with pytest.raises(StagewrightError) as caught:
            parse_set([word])
        assert caught.value.reason is Reason.USAGE


def test_variables_of_the_environment() -> None:
    found = of_environment({"STAGEWRIGHT_VAR_a": "1", "STAGEWRIGHT_VAR_": "2", "STAGEWRIGHT_STORE": "3", "a": "4"})
    assert {name: override.value for name, override in found.items()} == {"a": "1"}


def test_options_of_the_program_stand_after_the_command_too(small: Small, tmp_path: Path) -> None:
    folder, store = str(small.folder), str(small.store)
    small.folder, small.store = tmp_path, tmp_path / "other"
    small("plan", "-C", folder, "--store", store, "--set", "version=9")
    assert small.code == Exit.OK
    assert "pack" in small.out
