"""Models of sections: their validators, and the markers in their types."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from stagewright.graph.given import markers
from stagewright.project.describe import settings
from stagewright.project.fields import Matching, Ref, Section, complete

SHORT = Matching(".{1,3}", "a short text")


class Inner(Section):
    names: list[Annotated[str, SHORT]] = []


class Outer(Section):
    inner: Inner = Inner.model_construct()
    many: dict[str, Inner] = {}
    root: Annotated[str, Ref(("stages",)), SHORT] = "root"
    count: Annotated[int, Field(ge=1)] = 1


def test_the_validators_of_sections_are_made_before_those_of_the_model() -> None:
    complete(Outer)
    assert Inner.__pydantic_complete__
    assert Outer.__pydantic_complete__
    complete(Outer)
    assert Outer.model_validate({"many": {"a": {"names": ["abc"]}}}).many["a"].names == ["abc"]
    with pytest.raises(ValidationError, match=r"many\.a\.names\.0"):
        Outer.model_validate({"many": {"a": {"names": ["abcd"]}}})


class First(Section):
    seconds: list[Second] = []


class Second(Section):
    firsts: list[First] = []
    third: Third | None = None


UNDEFINED = First.model_rebuild(raise_errors=False)  # it knows its section now, but not the one in that


class Third(Section):
    own: list[Third] = []


def test_sections_can_contain_each_other() -> None:
    assert UNDEFINED is False
    complete(First)
    assert First.model_validate({"seconds": [{"firsts": [{}], "third": {"own": [{}]}}]}).seconds[0].firsts == [First()]
    names = [one.name for one in settings(First)]
    assert names == ["seconds", "seconds.firsts", "seconds.third", "seconds.third.own"]


def test_markers_are_found_on_fields_and_on_the_items_of_lists() -> None:
    assert markers(Inner, Matching) == {"names": [SHORT]}
    assert markers(Outer, Matching) == {"root": [SHORT]}
    assert list(markers(Outer, Ref)) == ["root"]
