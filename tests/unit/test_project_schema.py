"""The JSON schema is valid, accepts the demo, and rejects the same errors as the models."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from stagewright.kinds.registry import kinds
from stagewright.project.load import load
from stagewright.project.schema import schema

jsonschema = pytest.importorskip("jsonschema", reason="NOT TESTED: jsonschema is not installed")

DEMO = Path(__file__).parents[2] / "examples" / "demo" / "stagewright.toml"


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema.Draft202012Validator(schema(kinds()))


def demo() -> dict[str, Any]:
    """The project of the demo as editors read it: dates are texts."""
    data: dict[str, Any] = json.loads(json.dumps(tomllib.loads(DEMO.read_text(encoding="utf-8")), default=str))
    return data


def test_the_schema_is_a_valid_schema(validator: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(validator.schema)
    assert validator.schema["$schema"].endswith("2020-12/schema")


def test_the_demo_matches_the_schema(validator: Any) -> None:
    validator.validate(demo())


CHANGES: dict[str, tuple[tuple[str, ...], Any]] = {
    "key at the top": (("stage",), {}),
    "key of the project": (("project", "nme"), "x"),
    "key of a stage": (("stages", "live", "pakages"), []),
    "key of a section": (("stages", "boot", "initramfs", "module"), []),
    "key of a seed": (("seeds", "debian", "pakages"), []),
    "key of a test": (("tests", "iso-uefi", "expects"), []),
    "kind": (("stages", "live", "kind"), "livecd-stage9"),
    "type": (("stages", "live", "packages"), "app-misc/hello"),
    "word": (("stages", "iso", "compression"), "zip"),
    "format": (("format",), 2),
}


@pytest.mark.parametrize(("path", "value"), CHANGES.values(), ids=CHANGES)
def test_invalid_projects_do_not_match_the_schema(validator: Any, path: tuple[str, ...], value: Any) -> None:
    data = demo()
    table = data
    for name in path[:-1]:
        table = table[name]
    table[path[-1]] = value
    assert not validator.is_valid(data)


def test_required_keys_are_required_by_the_schema(validator: Any) -> None:
    data = demo()
    del data["stages"]["iso"]["live"]
    assert not validator.is_valid(data)
    data["stages"]["iso"]["extends"] = "other"
    assert validator.is_valid(data)


def test_a_stage_needs_a_kind_unless_it_inherits_one(validator: Any) -> None:
    data = demo()
    data["stages"]["more"] = {"root": "system"}
    assert not validator.is_valid(data)
    data["stages"]["more"] = {"extends": "live", "packages": ["..."]}
    assert validator.is_valid(data)


def test_only_models_with_oddities_are_asked_for_them(tmp_path: Path) -> None:
    """A release has a setting `notes`, which is not a method."""
    (tmp_path / "seed.tar.xz").touch()
    text = 'format = 1\nproject = { name = "p" }\n[seeds.s]\nfile = "seed.tar.xz"\n'
    text += '[stages.t]\nkind = "tarball"\nroot = "s"\n[releases.r]\nartifacts = ["t"]\n'
    (tmp_path / "stagewright.toml").write_text(text, encoding="utf-8")
    assert load(tmp_path, kinds()).notes() == []
