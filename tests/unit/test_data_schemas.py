"""The schemas of events and manifests: valid, and true for what is written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from roots import as_root
from small_project import Small
from test_ui import LINES

from stagewright.cli.schema import SCHEMAS
from stagewright.events import FORMAT as EVENTS
from stagewright.events import Event, RunStarted
from stagewright.kinds.common.manifest_schema import manifest_schema
from stagewright.release.manifest import FORMAT as MANIFEST
from stagewright.ui.event_schema import event_schema

jsonschema = pytest.importorskip("jsonschema", reason="NOT TESTED: jsonschema is not installed")

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def events() -> Any:
    return jsonschema.Draft202012Validator(event_schema())


@pytest.mark.parametrize("event", [event for event, _ in LINES], ids=lambda event: type(event).__name__)
def test_events_match_their_schema(events: Any, event: Event) -> None:
    events.validate(json.loads(event.to_json()))


def test_wrong_events_do_not_match_and_unknown_ones_do(events: Any) -> None:
    line = json.loads(RunStarted(run="r", project="p", nodes=[], cached=0).to_json())
    assert line["format"] == EVENTS
    assert events.is_valid(line)
    assert not events.is_valid({**line, "nodes": 3})
    assert not events.is_valid({name: value for name, value in line.items() if name != "project"})
    assert not events.is_valid({"event": "NodePhase"})
    assert events.is_valid({"event": "SomethingNew", "time": 1})


def test_versions_are_part_of_the_schemas() -> None:
    assert event_schema()["$id"] == f"urn:stagewright:events:{EVENTS}"
    assert manifest_schema()["$id"] == f"urn:stagewright:manifest:{MANIFEST}"
    assert manifest_schema()["properties"]["format"]["const"] == MANIFEST


@pytest.mark.slow
def test_check_jsonschema_accepts_the_schemas_and_what_a_build_writes(tmp_path: Path) -> None:
    """The events in the examples of the suite, one file each, by the program that users check with."""
    program = Path(sys.executable).with_name("check-jsonschema")
    if not program.exists():
        pytest.skip("NOT TESTED: check-jsonschema is not installed")
    files = {}
    for name in ("events", "manifest"):
        files[name] = tmp_path / f"{name}.schema.json"
        files[name].write_text(json.dumps(SCHEMAS[name]()), encoding="utf-8")
    written = []
    for number, (event, _) in enumerate(LINES):
        written.append(tmp_path / f"{number}.json")
        written[-1].write_text(event.to_json(), encoding="utf-8")
    subprocess.run([program, "--check-metaschema", *files.values()], check=True)
    subprocess.run([program, "--schemafile", files["events"], *written], check=True)


@pytest.mark.slow
@as_root
def test_a_build_writes_manifests_and_events_that_match(
    events: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = Small(tmp_path / "small", tmp_path / "store", capsys)
    done = small("build", "--progress", "json", "pack")
    assert done.code == 0, done.err
    lines = [line for line in (done.out + done.err).splitlines() if line.startswith("{")]
    assert {"RunStarted", "NodeFinished", "RunFinished"} <= {json.loads(line)["event"] for line in lines}
    for line in lines:
        events.validate(json.loads(line))
    (file,) = (tmp_path / "small/out").glob("*.manifest.json")
    manifest = json.loads(file.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(manifest_schema())
    validator.validate(manifest)
    known = set(manifest_schema()["properties"])
    assert set(manifest) <= known
    for name in ("artifact", "key", "lineage", "packages"):
        assert not validator.is_valid({**manifest, name: "x"}), name


def test_the_documentation_names_the_schemas() -> None:
    index = (DOCS / "reference/index.md").read_text(encoding="utf-8")
    assert re.search(r"\]\(manifest\.md\)", index)
    assert re.search(r"\]\(events\.md\)", index)
