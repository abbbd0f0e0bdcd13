"""The JSON schema of one line that ``--progress json`` prints, made from the classes of the events."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import TypeAdapter

from stagewright.events import FORMAT, Event

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def event_schema() -> dict[str, Any]:
    """Return the JSON schema of an event. Lines with the name of an unknown event are valid, too."""
    definitions: dict[str, Any] = {}
    rules = []
    for kind in Event.types():
        definitions[kind.__name__] = _shape(kind, definitions)
        named = {"properties": {"event": {"const": kind.__name__}}, "required": ["event"]}
        rules.append({"if": named, "then": {"$ref": f"#/$defs/{kind.__name__}"}})
    return {
        "$schema": DIALECT,
        "$id": f"urn:stagewright:events:{FORMAT}",
        "title": "An event of a build",
        "description": "One line of --progress json. New events and new keys can appear: ignore unknown ones.",
        "type": "object",
        "properties": {
            "event": {"type": "string", "description": "The name of the event."},
            "time": {"type": "number", "description": "Seconds since 1970."},
        },
        "required": ["event", "time"],
        "allOf": rules,
        "$defs": definitions,
    }


def _shape(kind: type[Event], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one event, and add those of its parts to the definitions."""
    shape = TypeAdapter(kind).json_schema(ref_template="#/$defs/{model}")
    definitions.update(shape.pop("$defs", {}))
    shape.pop("title", None)
    return {**shape, "description": inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("``", "`")}
