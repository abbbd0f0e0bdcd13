"""Golden file with the plans of the 25 official specs. All files that the specs name exist in the test.

The file has the result of each spec and not its text: long lists are counted and digested.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from releases import World, keys_in
from test_catalyst_corpus import CORPUS, SPECS

from stagewright.catalyst.release_graph import SpecResult
from stagewright.cli.main import run
from stagewright.dropin.project import Loaded
from stagewright.errors import Exit
from stagewright.kinds.registry import graph_of, kinds
from stagewright.project.load import load

GOLDEN = Path(__file__).parents[1] / "data" / "catalyst" / "plans.json"

pytestmark = pytest.mark.skipif(
    not SPECS, reason=f"NOT TESTED: no specs in {CORPUS}; name their folder by STAGEWRIGHT_CATALYST_SPECS"
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The specs with all files that they name."""
    world = World(tmp_path_factory.mktemp("corpus"))
    shutil.copytree(CORPUS, world.specs, dirs_exist_ok=True)
    for file in sorted(world.specs.rglob("*.spec")):
        world.provide(file)
        for config in ("kconfig", "../kconfig"):
            (file.parent / config).resolve()
    world.packages(["net-wireless/broadcom-sta", "sys-kernel/gentoo-sources"])
    shutil.rmtree(world.repo / "app-misc" / "broadcom-sta", ignore_errors=True)
    return world


@pytest.fixture(scope="module")
def loaded(world: World) -> Loaded:
    """The specs without media for other architectures."""
    return world.load().usable(keep_refused=True)


def name_of(made: SpecResult, world: World) -> str:
    return str(made.member.spec.file.relative_to(world.specs).with_suffix(""))


def shown(value: Any) -> Any:
    """Return a value with its long lists shortened."""
    if isinstance(value, list) and len(value) > 4:
        digest = hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
        return f"{len(value)} items, {digest}"
    return {name: shown(item) for name, item in value.items()} if isinstance(value, dict) else value


def plans(loaded: Loaded, world: World) -> dict[str, Any]:
    """Results of each spec: entries with settings and inputs, paths, refused keys and missing files."""
    project = loaded.project(lenient=True)
    nodes = graph_of(project).nodes
    found: dict[str, Any] = {}
    for error in loaded.left_out:
        assert error.place
        name = str(error.place.file.relative_to(world.specs).with_suffix(""))
        found[name] = {"left out": f"{error.place.line}: {error.message}"}
    for made in loaded.graph.results:
        spec = made.member.spec
        drafts = [
            draft for draft in loaded.converted.drafts if draft.table == "stages" and draft.place.file == spec.file
        ]
        places = [placed for output, placed in loaded.placed(project) if output.result is made]
        found[name_of(made, world)] = {
            "entries": {draft.name: shown(draft.data) for draft in drafts},
            "inputs": {draft.name: dict(nodes[draft.name].inputs) for draft in drafts},
            "results": {placed.node: str(placed.path).removeprefix(f"{world.storedir}/") for placed in places},
            "refused": [
                f"{error.place and error.place.line}: {error.message}"
                for error in loaded.converted.refused
                if error.place and error.place.file == spec.file
            ],
            "missing": [
                f"{error.place.line}: {error.hint.replace(str(world.folder), '')}"
                for error in project.missing
                if error.place and error.place.file == spec.file
            ],
        }
    return found


def test_nothing_else_is_wrong(loaded: Loaded) -> None:
    assert loaded.release.problems == []
    assert loaded.model_problems() == []


def test_the_plans(loaded: Loaded, world: World) -> None:
    """A changed golden file is a decision: official specs are converted differently."""
    text = json.dumps(plans(loaded, world), indent=1, sort_keys=True) + "\n"
    actual = GOLDEN.with_suffix(".json.actual")
    if text != (GOLDEN.read_text(encoding="utf-8") if GOLDEN.exists() else ""):
        GOLDEN.parent.mkdir(exist_ok=True)
        actual.write_text(text, encoding="utf-8")
        pytest.fail(f"real specs become something else now: if that is meant, mv {actual} {GOLDEN}")
    actual.unlink(missing_ok=True)


def test_every_spec_has_a_plan() -> None:
    assert len(json.loads(GOLDEN.read_text(encoding="utf-8"))) == len(SPECS) == 25


def test_the_written_project_has_the_same_keys(loaded: Loaded, world: World, tmp_path: Path) -> None:
    before = keys_in(loaded.project(lenient=True))
    options = [option for name, value in world.given.items() for option in ("--set", f"{name}={value}")]
    arguments = ["--store", tmp_path / "store", "catalyst", "convert", world.specs, "--conf", world.conf, *options]
    arguments += ["--repo", f"gentoo={world.repo}", "-o", tmp_path / "out"]
    assert run(list(map(str, arguments))) == Exit.INVALID  # some keys are refused
    for error in loaded.project(lenient=True).missing:  # seeds and files of other machines
        name = error.message.split("'")[1]
        target = tmp_path / "out" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    project = load(tmp_path / "out", kinds())
    after = keys_in(project)
    assert after.keys() == before.keys()
    for name, key in before.items():
        there = {**after[name].data}
        for entry in ("files", "inputs"):  # digests of files that are missing on one side
            assert there.pop(entry).keys() == key.data[entry].keys()
        assert there == {item: value for item, value in key.data.items() if item in there}, name


def test_the_command_plans_them_without_anything_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--store", str(tmp_path), "catalyst", "plan", str(CORPUS), "--json"]) == Exit.INVALID
    plan = json.loads(capsys.readouterr().out)
    assert {node["state"] for node in plan["nodes"]} == {"build"}
    assert {error["reason"] for error in plan["refused"]} == {"not-supported"}
    assert {error["reason"] for error in plan["missing"]} == {"missing-file"}
