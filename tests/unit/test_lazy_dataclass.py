"""The decorator behaves like that of the standard library, before and after the first instance."""

from __future__ import annotations

import dataclasses
import inspect
import threading
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from stagewright import lazy_dataclass

Item = TypeVar("Item")


@pytest.fixture(params=["standard library", "lazy"])
def classes(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Return a dataclass and one that is derived from it, both without instances."""
    dataclass: Callable[..., Any] = {
        "standard library": dataclasses.dataclass,
        "lazy": lazy_dataclass.dataclass,
    }[request.param]

    @dataclass(frozen=True)
    class Base(Generic[Item]):
        first: int
        items: list[Item] = dataclasses.field(default_factory=list)
        shared: ClassVar[int] = 4

        def __post_init__(self) -> None:
            if self.first < 0:
                raise ValueError(self.first)

    @dataclass(frozen=True, order=True)
    class Derived(Base[int]):
        word: str = dataclasses.field(default="word", kw_only=True, compare=False)

    return Base, Derived


def test_instances_have_the_methods_of_a_frozen_dataclass(classes: tuple[Any, Any]) -> None:
    base, derived = classes
    assert base[str](1) == base(1, []) != derived(1)
    assert derived(1, word="other") == derived(1) < derived(2)
    assert repr(derived(1)).endswith("Derived(first=1, items=[], word='word')")
    assert dataclasses.asdict(dataclasses.replace(derived(1), first=2)) == {"first": 2, "items": [], "word": "word"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        derived(1).first = 2
    with pytest.raises(ValueError, match="-1"):
        derived(-1)
    with pytest.raises(TypeError, match=r"__init__\(\) missing 1 required positional argument: 'first'"):
        derived()


def test_a_class_without_instances_has_fields_and_a_signature(classes: tuple[Any, Any]) -> None:
    base, derived = classes
    assert [one.name for one in dataclasses.fields(derived)] == ["first", "items", "word"]
    assert dataclasses.is_dataclass(base)
    assert list(inspect.signature(derived).parameters) == ["first", "items", "word"]
    assert derived.__match_args__ == ("first", "items")


def test_a_class_derived_without_the_decorator_can_have_its_own_init(classes: tuple[Any, Any]) -> None:
    base, _ = classes

    class Own(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(7)

    assert Own().first == 7
    assert base(1).first == 1


@pytest.mark.parametrize("options", [{"slots": True}, {"init": False}])
def test_a_class_that_cannot_wait_is_complete_at_once(options: dict[str, Any]) -> None:
    @lazy_dataclass.dataclass(**options)
    class Complete:
        one: int = 1

    assert isinstance(vars(Complete)["__dataclass_fields__"], dict)


def test_all_classes_can_be_made_complete_at_once() -> None:
    @lazy_dataclass.dataclass(frozen=True)
    class Waiting:
        one: int

    assert not isinstance(vars(Waiting)["__dataclass_fields__"], dict)
    lazy_dataclass.complete_all()
    assert isinstance(vars(Waiting)["__dataclass_fields__"], dict)
    assert Waiting(1) == Waiting(1)


def test_threads_can_make_the_first_instances_at_the_same_time() -> None:
    for _ in range(50):

        @lazy_dataclass.dataclass(frozen=True)
        class Shared:
            one: int
            two: int = 2

        made: list[Shared] = []
        together = threading.Barrier(4)

        def make(
            shared: type[Shared] = Shared, together: threading.Barrier = together, made: list[Shared] = made
        ) -> None:
            together.wait()
            made.append(shared(1))

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [Shared(1, 2)] * 4
