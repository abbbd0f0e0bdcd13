"""The JSON schema is valid by ECMA-262, accepts what the loader accepts, and marks the wrong value of an entry."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from npm import npm_module

from stagewright.kinds.registry import kinds
from stagewright.project.load import load
from stagewright.project.schema import schema
from stagewright.project.schema_shapes import ecma_pattern
from stagewright.project.tables import NAMED, PLAIN
from stagewright.project.templates import TEMPLATES, copy_template
from stagewright.project.top_level import TopLevelTables

jsonschema = pytest.importorskip("jsonschema", reason="NOT TESTED: jsonschema is not installed")

EXAMPLES = Path(__file__).parents[2] / "examples"
DEMO = Path(__file__).parents[2] / "examples" / "demo" / "stagewright.toml"


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema.Draft202012Validator(schema(kinds()))


def demo() -> dict[str, Any]:
    """The project of the demo as editors read it: dates are texts."""
    data: dict[str, Any] = json.loads(json.dumps(tomllib.loads(DEMO.read_text(encoding="utf-8")), default=str))
    return data


def test_the_list_of_keys_without_entries_is_that_of_the_model() -> None:
    assert set(PLAIN) == TopLevelTables.model_fields.keys() - set(NAMED)


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
    "type": (("stages", "live", "packages"), 3),
    "type in a list": (("stages", "live", "packages"), [3]),
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


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()))
def test_every_example_matches_the_schema(validator: Any, example: str) -> None:
    for file in (EXAMPLES / example).rglob("*.toml"):
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        if "format" in data:
            validator.validate(json.loads(json.dumps(data, default=str)))


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "catalyst"])
def test_every_template_names_and_matches_the_schema(validator: Any, name: str, tmp_path: Path) -> None:
    copy_template(name, tmp_path, "mine")
    text = (tmp_path / "stagewright.toml").read_text(encoding="utf-8")
    assert text.startswith("#:schema stagewright.schema.json\n")
    validator.validate(json.loads(json.dumps(tomllib.loads(text), default=str)))


ACCEPTED = """
format = 1
include = "more/*.toml"
[project]
name = "p"
version = "{date}-{state}"
[variables]
state = "1"
size = "700M"
word = "xz"
[seeds."s-{libc}"]
matrix = { libc = ["glibc", "musl"] }
file = "root-{libc}.tar"
[templates.base]
packages = ["app-misc/hello"]
rm = "/usr/share/doc"
[stages.a]
kind = "livecd-stage1"
root = "s-glibc"
profile = "default/linux/{arch}/23.0"
extends = "base"
packages = ["...", "app-misc/{state}"]
use = "x"
[stages.b]
extends = "a"
tar = { compression = "{word}", size = "{size}" }
[tests.t]
boots = "i"
memory = "2G"
timeout = "5m"
expect = "login:"
[tests.u]
boots = "i"
memory = 2048
timeout = 300
steps = [{ wait = "x", timeout = "{state}m" }]
"""


def test_the_schema_accepts_what_the_loader_accepts(validator: Any) -> None:
    validator.validate(tomllib.loads(ACCEPTED))
    validator.validate(tomllib.loads(ACCEPTED.replace('["more/*.toml"]', '["a.toml", "more/*.toml"]')))


@pytest.mark.parametrize(
    ("path", "value", "marked"),
    [
        (("stages", "live", "kind"), "embeded", ("stages", "live", "kind")),
        (("stages", "live", "hostname"), 3, ("stages", "live", "hostname")),
        (("seeds", "debian", "arch"), "x64", ("seeds", "debian", "arch")),
        (("tests", "iso-uefi", "firmware"), "efi", ("tests", "iso-uefi", "firmware")),
        (("stages", "live", "pakages"), [], ("stages", "live")),
    ],
)
def test_a_complaint_stands_at_the_wrong_value(
    validator: Any, path: tuple[str, ...], value: Any, marked: tuple[str, ...]
) -> None:
    data = demo()
    table = data
    for name in path[:-1]:
        table = table[name]
    table[path[-1]] = value
    assert {tuple(error.absolute_path) for error in validator.iter_errors(data)} == {marked}


def properties(shape: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All properties of a schema with their places, except those of conditions."""
    if isinstance(shape, list):
        for number, item in enumerate(shape):
            yield from properties(item, f"{place}/{number}")
    elif isinstance(shape, dict):
        for key, value in shape.items():
            if key == "properties":
                yield from ((f"{place}/{name}", one) for name, one in value.items())
            if key != "if":
                yield from properties(value, f"{place}/{key}")


def test_every_setting_has_a_description(validator: Any) -> None:
    found = dict(properties(validator.schema))
    assert len(found) > 400
    assert not [place for place, shape in found.items() if len(shape.get("description", "")) < len("A fact.")]


def test_the_schema_shows_no_markup_of_python(validator: Any) -> None:
    assert "``" not in json.dumps(validator.schema)


PATTERNS = {
    r"(?P<image>[a-z]+):(?P<tag>\w+)": r"([a-z]+):(\w+)",
    r"[^\"\n]+": r'[^"\n]+',
    r"(?:a*+b)++": r"(?:a*b)+",
    r"(?s:.*\S.*)": r"(?:[\s\S]*\S[\s\S]*)",
    r"\\\'": r"\\'",
    r"a\Z": "a$",
}


@pytest.mark.parametrize(("python", "ecma"), PATTERNS.items())
def test_patterns_become_those_of_ecma(python: str, ecma: str) -> None:
    assert ecma_pattern(python) == ecma


@pytest.mark.slow
def test_the_patterns_are_valid_by_ecma_262(tmp_path: Path, validator: Any) -> None:
    """check-jsonschema reads patterns with an engine for ECMA-262."""
    command = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("NOT TESTED: check-jsonschema is not installed")
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(validator.schema), encoding="utf-8")
    done = subprocess.run([command, "--check-metaschema", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


AJV = """
const Ajv = require("ajv/dist/2020").default, fs = require("fs")
const check = new Ajv({ strict: false, unicodeRegExp: true, validateFormats: false }).compile(
  JSON.parse(fs.readFileSync(process.argv[2])))
for (const file of process.argv.slice(3))
  if (!check(JSON.parse(fs.readFileSync(file)))) { console.log(file, check.errors); process.exitCode = 1 }
"""


@pytest.mark.slow
def test_ajv_accepts_the_schema_and_the_examples(tmp_path: Path, validator: Any) -> None:
    """ajv is the validator of editors such as VS Code."""
    folder = npm_module("ajv@8")
    (tmp_path / "schema.json").write_text(json.dumps(validator.schema), encoding="utf-8")
    (tmp_path / "accepted.json").write_text(json.dumps(tomllib.loads(ACCEPTED)), encoding="utf-8")
    (tmp_path / "demo.json").write_text(json.dumps(demo()), encoding="utf-8")
    (folder / "check.js").write_text(AJV, encoding="utf-8")
    files = [str(tmp_path / name) for name in ("schema.json", "accepted.json", "demo.json")]
    done = subprocess.run(["node", str(folder / "check.js"), *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_models_with_oddities_are_asked_for_them(tmp_path: Path) -> None:
    """A release has a setting `notes`, which is not a method."""
    (tmp_path / "seed.tar.xz").touch()
    text = 'format = 1\nproject = { name = "p" }\n[seeds.s]\nfile = "seed.tar.xz"\n'
    text += '[stages.t]\nkind = "tarball"\nroot = "s"\n[releases.r]\nartifacts = ["t"]\n'
    (tmp_path / "stagewright.toml").write_text(text, encoding="utf-8")
    assert load(tmp_path, kinds()).notes() == []
