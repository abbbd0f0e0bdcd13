"""Regular expressions that are compiled when they are used."""

from __future__ import annotations

import re

import pytest

from stagewright.lazy_pattern import lazy_pattern


def test_a_pattern_has_the_methods_and_the_flags_of_a_compiled_one() -> None:
    pattern = lazy_pattern(r"^(?P<word>[a-z]+)$", re.MULTILINE | re.IGNORECASE)
    assert pattern.findall("One\n2\nthree") == ["One", "three"]
    assert pattern.sub(r"<\g<word>>", "One\n2") == "<One>\n2"
    assert (pattern.pattern, pattern.flags) == (r"^(?P<word>[a-z]+)$", re.compile("", re.M | re.I).flags)
    assert pattern.fullmatch("1") is None


def test_a_pattern_is_compiled_at_its_first_use() -> None:
    wrong = lazy_pattern("(")
    with pytest.raises(re.error):
        wrong.search("text")


def test_a_method_is_looked_up_once() -> None:
    pattern = lazy_pattern("a")
    assert pattern.search is pattern.search
    with pytest.raises(AttributeError):
        pattern.unknown  # type: ignore[attr-defined]  # noqa: B018
