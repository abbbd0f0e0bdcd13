"""The JSON schema of project files, made from the models that read them."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from stagewright.project.binhost import Binhost
from stagewright.project.channels import Channel
from stagewright.project.describe import docstrings
from stagewright.project.fields import Section
from stagewright.project.load import Kinds
from stagewright.project.model import TopLevelTables
from stagewright.project.unreproducible import Unreproducible

TABLES = ("seeds", "stages", "tests", "releases")

_ROW = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}
_MATRIX: dict[str, Any] = {
    "description": "Expands the entry into variants: all combinations of lists of values, or one variant per row. A "
    "text names a template with the matrix.",
    "anyOf": [
        {
            "type": "object",
            "properties": {"exclude": {"type": "array", "items": _ROW}},
            "additionalProperties": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        },
        {"type": "array", "items": _ROW, "minItems": 1},
        {"type": "string"},
    ],
}

_TAR: dict[str, Any] = {
    "description": "Also makes NAME.tar, a tarball of the stage: true, or its settings.",
    "anyOf": [
        {"type": "boolean"},
        {"type": "object", "not": {"anyOf": [{"required": ["kind"]}, {"required": ["root"]}]}},
    ],
}


def schema(kinds: Kinds) -> dict[str, Any]:
    """Return a schema (draft 2020-12) for ``stagewright.toml`` and the files that it includes."""
    models: list[type[Section]] = [TopLevelTables, *(model for table in TABLES for model in kinds[table].values())]
    references, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/$defs/{model}"
    )
    shapes: dict[str, Any] = dict(definitions["$defs"])
    top = dict(shapes.pop("TopLevelTables"))
    for explained in (Binhost, Channel, Unreproducible):
        _explain(shapes[explained.__name__], explained)
    for table in TABLES:
        options = []
        for kind, model in sorted(kinds[table].items()):
            name = references[(model, "validation")]["$ref"].rpartition("/")[2]
            _explain(shapes[name], model)
            if table != "stages":
                shapes[name]["properties"]["matrix"] = _MATRIX
            else:
                shape = dict(shapes[name])
                more = {"kind": {"const": kind}, "extends": {"type": "string"}, "matrix": _MATRIX, "tar": _TAR}
                needed = {"required": ["kind", *shape.pop("required", [])]}
                inherits = {"required": ["extends"]}  # the other stage may have the required keys
                properties = {**more, **shape["properties"]}
                shapes[name] = {**shape, "properties": properties, "anyOf": [inherits, needed]}
            options.append({"$ref": f"#/$defs/{name}"})
        top["properties"][table] = {"type": "object", "additionalProperties": {"anyOf": options}}
    known = {"enum": sorted(kinds["stages"])}
    names = {"kind": known, "extends": {"type": "string"}, "matrix": _MATRIX, "tar": _TAR}
    template = {"type": "object", "properties": names, "description": "Settings for the stages that extend it."}
    top["properties"]["templates"] = {"type": "object", "additionalProperties": template}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": shapes}


def _explain(shape: dict[str, Any], model: type[Section]) -> None:
    """Add the description of each setting, which editors show."""
    for name, text in docstrings(model).items():
        if name in shape["properties"]:
            shape["properties"][name]["description"] = text
