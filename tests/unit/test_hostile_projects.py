"""Small files that describe something huge: an error with the limit, within seconds and little memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from drafts import Draft
from limits import limited

from stagewright.catalyst.auto import read_auto
from stagewright.errors import ProblemsError, Reason, StagewrightError, nearest
from stagewright.project.source import read

STAGE = '[stages.a]\nkind = "root"\n'
AXES = "".join(f"v{axis} = [{', '.join(repr(str(value)) for value in range(30))}]\n" for axis in range(9))
POWERS = 'v0 = "many "\n' + "".join(f'v{n} = "{f"{{v{n - 1}}}" * 20}"\n' for n in range(1, 12))

HUGE = {
    "matrix": (STAGE + "[stages.a.matrix]\n" + AXES, "at most 1000"),
    "variables": ("[variables]\n" + POWERS + STAGE, "characters"),
    "texts": (f'[variables]\nv = "{"x" * 9000}"\n{STAGE}patterns = [' + '"{v}", ' * 9000 + "]", "characters"),
    "variants": (
        f"{STAGE}patterns = {['x'] * 2000}\n"
        f"[stages.a.matrix]\none = {[str(n) for n in range(30)]}\ntwo = {[str(n) for n in range(30)]}\n",
        "characters",
    ),
    "tables": (
        "".join(f'[stages.a{n}]\nkind = "root"\nmatrix = {{ x = {[str(v) for v in range(900)]} }}\n' for n in range(7)),
        "more than 5000",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HUGE)
def test_a_project_that_grows_without_end_is_an_error(name: str, draft: Draft) -> None:
    text, expected = HUGE[name]
    draft.write(text)
    with limited(6), pytest.raises(StagewrightError) as caught:
        draft.load()
    problems = caught.value.problems if isinstance(caught.value, ProblemsError) else [caught.value]
    found = [problem for problem in problems if expected in problem.message]
    assert found, problems
    assert (found[0].reason, bool(found[0].place), bool(found[0].hint)) == (Reason.INVALID_VALUE, True, True)


@pytest.mark.slow
def test_a_long_line_has_positions_in_characters(tmp_path: Path) -> None:
    """The work grows with the length of the line, not with its square."""
    file = tmp_path / "x.toml"
    file.write_text("a = [" + ", ".join(['"é"'] * 30_000) + "]\n", encoding="utf-8")
    with limited(6):
        source = read(file)
    assert source.values["a", 29_999].column == 6 + 5 * 29_999


@pytest.mark.parametrize("text", ["a." * 100_000 + "a = 1", "[" + "a . " * 100_000 + "a]", '"a".' * 100_000 + "a = 1"])
def test_a_key_with_many_parts_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text("# a comment\n" + text, encoding="utf-8")
    with limited(), pytest.raises(StagewrightError) as caught:
        read(file)
    assert caught.value.reason is Reason.SYNTAX
    assert caught.value.place
    assert caught.value.place.line == 2


def test_a_file_without_end_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)
    with limited(), pytest.raises(StagewrightError) as caught:
        read(file)
    assert caught.value.reason is Reason.SYNTAX


@pytest.mark.parametrize(
    "text", ["A=xxxx\n" + 'A="$A$A$A"\n' * 40, "A=xxxx\n" + "A+=$A\n" * 60, "B=" + "-$A" * 999_999]
)
def test_values_of_catalyst_auto_that_grow_without_end_are_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "auto.conf"
    file.write_text(text, encoding="utf-8")
    problems: list[StagewrightError] = []
    with limited():
        read_auto(file, {"A": "x" * 99} if text.startswith("B") else {}, problems, [])
    assert [problem.reason for problem in problems] == [Reason.INVALID_VALUE]


def test_files_of_catalyst_auto_that_source_each_other_twice_are_an_error(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"f{number}").write_text(f"source {tmp_path}/f{number + 1}\n" * 2, encoding="utf-8")
    (tmp_path / "f40").touch()
    problems: list[StagewrightError] = []
    with limited():
        read_auto(tmp_path / "f0", {}, problems, [])
    assert [problem.reason for problem in problems] == [Reason.INVALID_VALUE]


def test_hints_for_unknown_names_have_a_limit() -> None:
    names = [f"{'x' * 300}{number}" for number in range(20_000)]
    with limited(1):
        assert len(nearest("y" * 100_000, names)) < 100_000
    assert nearest("stage77", [f"stage{number:02}" for number in range(99)]) == "did you mean 'stage77'?"
