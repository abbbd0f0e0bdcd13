"""A dataclass decorator for modules that a start of the command imports: methods are made for the first instance.

The decorator of the standard library compiles six methods for a frozen class, which takes 0.6 ms. A start imports over
200 classes and makes instances of 50. This decorator takes the same options and leaves everything to that of the
standard library, but calls it when the class is first used: for an instance, for a dataclass that is derived from it,
and when something asks for its fields.

An instance that is made without ``__init__`` in a process that has made no other, as :mod:`pickle` does, lacks the
methods: use the decorator of the standard library for classes that are pickled.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414  exported
else:

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        """Make a dataclass of a class, later; the options are those of :func:`dataclasses.dataclass`."""
        if cls is None:
            return lambda cls: dataclass(cls, **options)
        if "__init__" in vars(cls) or options.keys() & {"init", "slots"}:
            return dataclasses.dataclass(cls, **options)
        for name in _ON_DEMAND:
            setattr(cls, name, _OnDemand(cls, name, options))
        cls.__init__ = _first_init(cls, options)
        _WAITING.append((cls, options))
        return cls


_ON_DEMAND = ("__dataclass_fields__", "__dataclass_params__", "__match_args__", "__signature__")
"""Attributes of the class that code can read before there is an instance. ``__signature__`` is for :mod:`inspect`."""

_COMPLETING = threading.RLock()

_WAITING: list[tuple[type, dict[str, Any]]] = []
"""All classes that were not complete when :func:`complete_all` was last called."""


def complete_all() -> None:
    """Make the methods of all classes that exist: for a process that forks others, which then need not do it."""
    while _WAITING:
        _complete(*_WAITING.pop())


class _OnDemand:
    """Stands for an attribute of a dataclass that is not complete yet."""

    def __init__(self, owner: type, name: str, options: dict[str, Any]) -> None:
        self._owner = owner
        self._name = name
        self._options = options

    def __get__(self, instance: object, cls: type) -> Any:
        _complete(self._owner, self._options)
        return getattr(cls, self._name)


def _first_init(owner: type, options: dict[str, Any]) -> Any:
    def __init__(self: object, *args: Any, **named: Any) -> None:  # noqa: N807  it is this method
        _complete(owner, options)
        owner.__init__(self, *args, **named)  # type: ignore[misc]

    return __init__


def _complete(cls: type, options: dict[str, Any]) -> None:
    """Make the methods of a dataclass. Other threads can use the class meanwhile: ``__init__`` is replaced last."""
    with _COMPLETING:
        if not isinstance(vars(cls).get("__dataclass_fields__"), _OnDemand):
            return
        for name in _ON_DEMAND[1:]:
            delattr(cls, name)
        if threading.active_count() == 1:
            del cls.__init__  # type: ignore[misc]
            dataclasses.dataclass(cls, **options)
            return
        dataclasses.dataclass(cls, **options, init=False)
        cls.__init__ = _init_of(cls, frozen=options.get("frozen", False))  # type: ignore[misc]


def _init_of(cls: Any, *, frozen: bool) -> Any:
    """Return the method ``__init__`` of a dataclass, made for a class that has the same fields."""
    after = {"__post_init__": cls.__post_init__} if hasattr(cls, "__post_init__") else {}
    fields = [(one.name, one.type, one) for one in dataclasses.fields(cls)]
    twin = dataclasses.make_dataclass("twin", fields, namespace=after, repr=False, eq=False, frozen=frozen)
    init = vars(twin)["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init
