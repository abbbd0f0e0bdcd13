"""Options of emerge among the packages of a spec."""

from __future__ import annotations

import pytest

from stagewright.catalyst.convert.emerge_options import split_options


@pytest.mark.parametrize(
    ("text", "packages"),
    [
        ("--with-bdeps=y a b", ["a", "b"]),
        ("--with-bdeps y a", ["a"]),
        ("--usepkg n a", ["a"]),
        ("--jobs 4 a --jobs=2 -j8 b", ["a", "b"]),
        ("-uDN a", ["a"]),
        ("--verbose a -v n", ["a"]),
        ("--newuse a", ["a"]),
    ],
)
def test_options_without_an_effect_are_known_with_their_values(text: str, packages: list[str]) -> None:
    words = text.split()
    found, options = split_options(words)
    assert [words[number] for number in found] == packages
    assert options and all(option.why for option in options)


@pytest.mark.parametrize(
    "text", ["--nodeps a", "--oneshot a", "-uO a", "--with-bdeps=maybe a", "--root=/x a", "-1 a", "--deselect a", "- a"]
)
def test_options_that_change_a_result_are_refused(text: str) -> None:
    found, options = split_options(text.split())
    assert found == [1]
    assert [option.why for option in options] == [""]
