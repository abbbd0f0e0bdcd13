"""Base of the models that a node gets. Their fields are part of the node's key, except fields marked ``NotInKey``.

Settings, context and files of a node are models of this class. They cross to the worker process as JSON, and the worker
validates them by the same classes.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

from stagewright.lazy_dataclass import dataclass

_FOR_KEY = "key"

Marker = TypeVar("Marker")


class NotInKey:
    """Marks a field that does not change what the node makes, so it is not part of the key.

    ``mirror: Annotated[str, NotInKey()]``: another mirror serves the same file. The name of an input is marked too
    (``project.fields.NodeRef``), since the key of the input is part of the key already.
    """


@dataclass(frozen=True)
class SecretInKey:
    """Marks a secret text. Plans and metadata show keys, so a key has only the digest of the text.

    ``public`` are values that are shown.
    """

    public: frozenset[str] = frozenset()


class Given(BaseModel):
    """Base of the models that a node is given. They are frozen, and unknown fields are errors.

    Pydantic builds the validator of a model when it is first used, since a project uses few of the kinds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Forget the types of class variables: pydantic would evaluate them again for every class derived from this."""
        super().__pydantic_init_subclass__(**options)
        for name in cls.__class_vars__ & vars(cls).get("__annotations__", {}).keys():
            del cls.__annotations__[name]

    def for_key(self) -> dict[str, Any]:
        """Return the fields that are part of a key, as JSON-able data; in nested models too."""
        return self.model_dump(mode="json", context=_FOR_KEY)

    @model_serializer(mode="wrap", return_type=Any)
    def _without_marked(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        if info.context != _FOR_KEY:
            return data
        left_out, secret = not_in_key(type(self)), _secret(type(self))
        kept = {name: value for name, value in data.items() if name not in left_out}
        return {name: _digest(value, secret[name]) if name in secret else value for name, value in kept.items()}


@functools.cache
def not_in_key(model: type[Given]) -> frozenset[str]:
    """Return the names of a model's fields that are marked with :class:`NotInKey`."""
    return frozenset(markers(model, NotInKey))


@functools.cache
def _secret(model: type[Given]) -> dict[str, SecretInKey]:
    """Return the markers of a model's fields that are marked with :class:`SecretInKey`, by name."""
    return {name: marks[0] for name, marks in markers(model, SecretInKey).items()}


def _digest(value: str | None, mark: SecretInKey) -> str | None:
    """Return the digest of a secret text. A public word stays, and so does a missing value."""
    if value is None or value in mark.public:
        return value
    return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"


def markers(model: type[BaseModel], marker: type[Marker]) -> dict[str, list[Marker]]:
    """Return the markers of one class in the types of a model's fields, also on the items of lists, by field."""
    found = ((name, [mark for mark in marks if isinstance(mark, marker)]) for name, marks in _metadata(model).items())
    return {name: marks for name, marks in found if marks}


@functools.cache
def _metadata(model: type[BaseModel]) -> dict[str, list[Any]]:
    """Return what the types of a model's fields are annotated with."""
    return {name: [*info.metadata, *_inside(info.annotation)] for name, info in model.model_fields.items()}


def _inside(annotation: Any) -> Iterator[Any]:
    for argument in getattr(annotation, "__args__", ()):
        yield from getattr(argument, "__metadata__", ())
        yield from _inside(argument)
