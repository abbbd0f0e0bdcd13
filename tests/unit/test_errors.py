"""Errors: every reason has an exit code, and what is known of an error survives a pipe."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagewright.cli.main import exit_of
from stagewright.errors import Exit, Place, ProblemsError, Reason, StagewrightError, nearest

INVALID = {
    *("syntax", "format", "unknown-key", "unknown-kind", "unknown-name", "duplicate-name", "invalid-value"),
    *("missing-key", "missing-file", "bad-atom", "cycle", "no-project", "lock-stale", "usage", "not-supported"),
    *("licence-refused", "not-distributable", "unknown-source", "wrong-end", "unrelated"),
    *("bad-archive", "unsafe-archive", "archive-too-large", "digest-mismatch", "not-built"),
}


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_every_reason_has_its_exit_code(reason: Reason) -> None:
    """A reason that is new must be put into the table, or into the list above when 2 is meant."""
    assert (reason.exit is Exit.INVALID) == (reason.value in INVALID)
    assert reason.exit is not Exit.OK


def test_exit_codes_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    for code in Exit:
        assert f"| {code.value} |" in text
    for reason in Reason:
        assert f"`{reason.value}`" in text


PLACES = st.none() | st.builds(Place, st.just(Path("a/b.toml")), st.integers(0, 9), st.integers(0, 9))
ERRORS = st.builds(StagewrightError, st.sampled_from(Reason), st.text(), place=PLACES, hint=st.text(), detail=st.text())


def test_an_error_can_be_pickled() -> None:
    error = StagewrightError(Reason.CYCLE, "m", place=Place(Path("f"), 1, 2), hint="h", detail="d")
    assert pickle.loads(pickle.dumps(error)).to_dict() == error.to_dict()
    assert pickle.loads(pickle.dumps(ProblemsError([error]))).to_dict() == error.to_dict()


@given(ERRORS)
def test_an_error_survives_a_pipe(error: StagewrightError) -> None:
    again = StagewrightError.from_dict(json.loads(json.dumps(error.to_dict())))
    assert again.to_dict() == error.to_dict()
    assert str(again) == str(error)
    assert again.reason is error.reason


@given(st.lists(ERRORS, min_size=1))
def test_several_errors_are_one_with_the_gravest_exit_code(errors: list[StagewrightError]) -> None:
    together = ProblemsError(errors)
    assert sorted(map(str, together.problems)) == sorted(map(str, errors))
    places = [problem.place for problem in together.problems if problem.place]
    assert places == sorted(places)
    codes = {error.reason.exit for error in errors}
    assert exit_of(together) in codes
    for graver in (Exit.BUG, Exit.INTERRUPTED, Exit.STORE, Exit.HOST):
        if graver in codes:
            assert exit_of(together) is graver
            break


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place(Path("x"), 3, 5), "x:3:5"),
        (Place(Path("x"), 3), "x:3"),
        (Place(Path("x")), "x"),
    ],
)
def test_a_place_is_written_as_editors_read_it(place: Place, text: str) -> None:
    assert str(place) == text
    assert str(StagewrightError(Reason.SYNTAX, "m", place=place)) == f"{text}: m"


@pytest.mark.parametrize(
    ("name", "known", "word"),
    [
        ("pakages", ["packages", "profile"], "'packages'"),
        ("zzz", ["packages", "profile"], "packages, profile"),
        ("zzz", [], ""),
        ("", ["a"], "a"),
    ],
)
def test_the_nearest_word(name: str, known: list[str], word: str) -> None:
    assert word in nearest(name, known)
    assert bool(nearest(name, known)) == bool(known)
