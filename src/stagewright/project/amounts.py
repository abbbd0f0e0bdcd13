"""Types of settings that are a number with a unit: a time in seconds, memory in MiB.

A file can have the plain number, as ``300``, or a text with a unit, as ``"5m"``. A model has the number in both cases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from stagewright.lazy_dataclass import dataclass
from stagewright.units import DURATION, SIZE, duration_hint, parse_duration, parse_size, size_hint


@dataclass(frozen=True)
class InUnit:
    """Marker of a number that can be written with a unit. ``read`` returns the number of a text, or a ValueError."""

    read: Callable[[str], float]
    pattern: str
    what: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self._number, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "string", "pattern": f"^({self.pattern})$"}]}

    def _number(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            number = self.read(value)
        except ValueError:
            correct = size_hint(value) or duration_hint(value)
            start = f'write "{correct}", or ' if correct else "write "
            facts = {"value": f'"{value}"', "hint": f"{start}{self.what}"}
            raise PydanticCustomError("amount", "invalid value {value}", facts) from None
        return int(number) if number == int(number) else number


def _mebibytes(text: str) -> float:
    return parse_size(text) / (1 << 20)


SECONDS = InUnit(parse_duration, DURATION, 'a number of seconds, or a text with s, m or h: "90s", "5m"')
"""A time in seconds."""

MEBIBYTES = InUnit(_mebibytes, SIZE, 'a number of MiB, or a text with M or G: "512M", "2G"')
"""Memory in MiB."""
