"""The JSON schema of project files, made from the models that read them.

Editors use it to complete and to check a file while it is written. It accepts what the loader accepts: ``{name}`` in
every text where the loader replaces variables, ``"..."`` in every list, and one text in place of a list of texts.
Conditions (``if`` and ``then``) select the settings of a kind, so that an editor marks the wrong value, and not the
whole entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from stagewright.project.describe import docstrings
from stagewright.project.fields import Section, section_of, text_lists
from stagewright.project.load import Kinds
from stagewright.project.schema_shapes import WITH_VARIABLES, as_files_have_it, first_sentence
from stagewright.project.top_level import TopLevelTables

Shape = dict[str, Any]

TABLES = ("seeds", "stages", "tests", "releases")

_ROW: Shape = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}
_MATRIX: Shape = {
    "description": "Expands the entry into variants: all combinations of lists of values, or one variant per row. A "
    "text names a template with the matrix.",
    "anyOf": [
        {
            "type": "object",
            "properties": {
                "exclude": {"type": "array", "items": _ROW, "description": "Combinations that are left out."}
            },
            "additionalProperties": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        },
        {"type": "array", "items": _ROW, "minItems": 1},
        {"type": "string"},
    ],
}

_TAR: Shape = {
    "description": "Also makes NAME.tar, a tarball of the stage: true, or its settings.",
    "anyOf": [
        {"type": "boolean"},
        {"type": "object", "not": {"anyOf": [{"required": ["kind"]}, {"required": ["root"]}]}},
    ],
}

_EXTENDS: Shape = {"type": "string", "description": "The stage or template whose settings this entry takes."}

_TITLE = "Project of Stagewright"


def schema(kinds: Kinds, summaries: Mapping[str, str] | None = None) -> Shape:
    """Return a schema (draft 2020-12) for ``stagewright.toml`` and the files that it includes.

    ``summaries`` are descriptions of the kinds.
    """
    models: list[type[Section]] = [TopLevelTables, *(model for table in TABLES for model in kinds[table].values())]
    references, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/$defs/{model}"
    )
    shapes: Shape = dict(definitions["$defs"])
    names = {model: references[(model, "validation")]["$ref"].rpartition("/")[2] for model in models}
    for model in _sections(models):
        shape = shapes.get(names.get(model, model.__name__))
        if shape:
            _describe(shape, model)
    for shape in shapes.values():  # of enumerations, too
        if "description" in shape:
            shape["description"] = first_sentence(shape["description"])
    shapes = as_files_have_it(shapes)
    top: Shape = shapes.pop(names[TopLevelTables])
    top["properties"].update(_entries(kinds, names, shapes, summaries or {}))
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": _TITLE}
    return {**head, **top, "description": "Project file of Stagewright: stagewright.toml.", "$defs": shapes}


def _entries(
    kinds: Kinds, names: Mapping[type[Section], str], shapes: Shape, summaries: Mapping[str, str]
) -> dict[str, Shape]:
    """Return the shapes of the tables of entries. Changes the shapes of kinds so that they describe whole entries."""
    for table in TABLES:
        for kind, model in kinds[table].items():
            shape = shapes[names[model]]
            shape["description"] = summaries.get(kind, f"An entry of kind {kind}.")
            shape["properties"]["matrix"] = _MATRIX
            if table == "stages":
                _complete_stage(shape, kind)
    references = {table: {kind: f"#/$defs/{names[model]}" for kind, model in kinds[table].items()} for table in TABLES}
    stage, template = _stage(references["stages"], summaries), _stage(references["stages"], summaries)
    stage["anyOf"] = [{"required": ["kind"]}, {"required": ["extends"]}]
    return {
        "seeds": _table("Roots that builds start from.", _by_key(references["seeds"])),
        "stages": _table("Stages that are built: `kind` says what a stage makes.", stage),
        "templates": _table("Settings for the stages that extend them. A template builds nothing.", template),
        "tests": _table("Tests of the results.", _by_key(references["tests"])),
        "releases": _table("Artifacts that are published together.", {"$ref": references["releases"]["release"]}),
    }


def _table(description: str, entry: Shape) -> Shape:
    return {"type": "object", "description": description, "additionalProperties": entry}


def _complete_stage(shape: Shape, kind: str) -> None:
    """Add the keys that every stage can have. A stage that extends another may inherit the required keys."""
    own = {"kind": {"const": kind, "description": "What the stage makes."}, "extends": _EXTENDS, "tar": _TAR}
    shape["properties"] = {**own, **shape["properties"]}
    if needed := shape.pop("required", []):
        shape["if"] = {"not": {"required": ["extends"]}}
        shape["then"] = {"required": needed}


def _stage(references: Mapping[str, str], summaries: Mapping[str, str]) -> Shape:
    """Return the shape of a stage, whose kind selects its settings."""
    listed = "; ".join(f"{kind}: {summaries[kind]}" for kind in sorted(references) if kind in summaries)
    words = {"anyOf": [{"enum": sorted(references)}, WITH_VARIABLES]}
    kind = {**words, "description": f"What the stage makes. {listed}".strip()}
    rules = [
        {"if": {"properties": {"kind": {"const": name}}, "required": ["kind"]}, "then": {"$ref": reference}}
        for name, reference in sorted(references.items())
    ]
    properties = {"kind": kind, "extends": _EXTENDS, "matrix": _MATRIX, "tar": _TAR}
    return {"type": "object", "properties": properties, "allOf": rules}


def _by_key(references: Mapping[str, str]) -> Shape:
    """Return the shape of an entry whose kind is the name of one of its keys."""
    rules = [{"if": {"required": [key]}, "then": {"$ref": name}} for key, name in sorted(references.items())]
    return {"type": "object", "anyOf": [{"required": [key]} for key in sorted(references)], "allOf": rules}


def _sections(models: list[type[Section]]) -> Iterator[type[Section]]:
    """Yield models and the models of the sections in them, each once."""
    seen: set[type[Section]] = set()
    left = list(models)
    while left:
        model = left.pop()
        if model in seen:
            continue
        seen.add(model)
        yield model
        left += filter(None, (section_of(info.annotation) for info in model.model_fields.values()))


def _describe(shape: Shape, model: type[Section]) -> None:
    """Add the description of a model and of each setting, which editors show. Mark lists that can be one text."""
    shape["description"] = first_sentence(model.__doc__ or "")
    for name, text in docstrings(model).items():
        info = model.model_fields.get(name)
        key = (info.alias or name) if info else name
        if key in shape["properties"]:
            shape["properties"][key]["description"] = text.replace("``", "`")
    for key in text_lists(model) & shape["properties"].keys():
        shape["properties"][key]["x-one-text"] = True
