"""A dataclass decorator for modules that a start of the command imports: methods are made for the first instance.

The decorator of the standard library compiles six methods for a frozen class, which takes 0.6 ms. A start imports over
200 classes and makes instances of 50. This decorator takes the same options and leaves everything to that of the
standard library, but calls it when the class is first used: for an instance, for a dataclass that is derived from it,
and when something asks for its fields. Of most classes, only ``__init__`` is compiled then, and the other methods are
functions that loop over the fields (``_make``): that takes a third of the time.

An instance that is made without ``__init__`` in a process that has made no other, as :mod:`pickle` does, lacks the
methods: use the decorator of the standard library for classes that are pickled.
"""

from __future__ import annotations

import dataclasses
import reprlib
import threading
from collections.abc import Callable, Sequence
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
            _make(cls, options)
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


_OWN = frozenset({"__eq__", "__hash__", "__repr__", "__setattr__", "__delattr__"})
"""Methods that the decorator of the standard library treats specially if a class has its own."""


def _make(cls: type, options: dict[str, Any]) -> None:
    """Make a dataclass of a class without ``__init__``, with only this method compiled if the class is a simple one."""
    derived = any(dataclasses.is_dataclass(base) for base in cls.__mro__[1:])
    types = map(str, vars(cls).get("__annotations__", {}).values())
    special = not options.keys() <= {"frozen", "eq"} or any("InitVar" in text for text in types)
    if derived or special or vars(cls).keys() & _OWN:
        dataclasses.dataclass(cls, **options)
        return
    made: Any = dataclasses.dataclass(cls, init=False, repr=False, eq=False)
    fields = dataclasses.fields(made)
    if not all(one.init and not one.kw_only for one in fields):
        dataclasses.dataclass(cls, **options)
        return
    frozen, equal = options.get("frozen", False), options.get("eq", True)
    made.__dataclass_params__.frozen, made.__dataclass_params__.eq = frozen, equal
    made.__repr__ = _repr(fields)
    if equal:
        made.__eq__, made.__hash__ = _eq(fields), _hash(fields) if frozen else None
    if frozen:
        made.__setattr__, made.__delattr__ = _refusals(cls, fields)
    made.__init__ = _compiled(cls, fields, frozen=frozen)


_Fields = Sequence[dataclasses.Field[Any]]


def _compiled(cls: type, fields: _Fields, *, frozen: bool) -> Callable[..., None]:
    """Return ``__init__``. A default is read from the field; a field with a factory has the field itself as default."""
    parameters, lines = ["self"], []
    known: dict[str, Any] = {"_lazy_put": object.__setattr__}
    for number, one in enumerate(fields):
        value, default = one.name, ""
        if one.default_factory is not dataclasses.MISSING:
            known[f"_lazy_field{number}"] = one
            default = f"=_lazy_field{number}"
            value = f"_lazy_field{number}.default_factory() if {value} is _lazy_field{number} else {value}"
        elif one.default is not dataclasses.MISSING:
            known[f"_lazy_default{number}"] = one.default
            default = f"=_lazy_default{number}"
        parameters.append(f"{one.name}{default}")
        lines.append(f"_lazy_put(self, {one.name!r}, {value})" if frozen else f"self.{one.name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    text = f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines or ["pass"])
    exec(text, known)  # noqa: S102  as the standard library does
    init = known["__init__"]
    init.__qualname__, init.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    init.__annotations__ = {**{one.name: one.type for one in fields}, "return": None}
    return init  # type: ignore[no-any-return]


def _repr(fields: _Fields) -> Callable[[Any], str]:
    names = [one.name for one in fields if one.repr]

    @reprlib.recursive_repr()
    def __repr__(self: Any) -> str:  # noqa: N807
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return __repr__


def _eq(fields: _Fields) -> Callable[[Any, Any], Any]:
    names = [one.name for one in fields if one.compare]

    def __eq__(self: Any, other: Any) -> Any:  # noqa: N807
        if other.__class__ is not self.__class__:
            return NotImplemented
        return [getattr(self, name) for name in names] == [getattr(other, name) for name in names]

    return __eq__


def _hash(fields: _Fields) -> Callable[[Any], int]:
    names = [one.name for one in fields if (one.compare if one.hash is None else one.hash)]

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(tuple([getattr(self, name) for name in names]))

    return __hash__


def _refusals(cls: Any, fields: _Fields) -> tuple[Callable[[Any, str, Any], None], Callable[[Any, str], None]]:
    """Return ``__setattr__`` and ``__delattr__`` of a frozen class. A derived class can have other attributes."""
    names = frozenset(one.name for one in fields)

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return __setattr__, __delattr__
