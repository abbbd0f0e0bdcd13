"""Jobs: what the worker reads is what the engine wrote, by the models of the kind."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_graph_keys import PROJECT, SOURCES, lay_out

from stagewright import ids
from stagewright.engine.enter import check_ids
from stagewright.engine.job import FILE_NAME, Job
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, NodeNotice, NodePhase, NodeProgress
from stagewright.graph.keys import keys_of
from stagewright.graph.node import Graph, Yields
from stagewright.kinds.common.base import Stage
from stagewright.kinds.common.facts import ArtifactFacts, BinhostPackages, Facts, LayerFacts
from stagewright.kinds.common.lineage import LineageEntry
from stagewright.kinds.common.work import Grant, Work
from stagewright.kinds.media.squashfs import SquashfsFacts
from stagewright.kinds.registry import by_kind, graph_of, kinds, module_of
from stagewright.portage.installed import Package
from stagewright.project.load import load
from stagewright.store.meta import Meta
from stagewright.store.store import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    lay_out(folder)
    (folder / "stagewright.toml").write_text(PROJECT, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def graph(folder: Path) -> Graph:
    return graph_of(load(folder, kinds()))


def job_of(graph: Graph, node_id: str, folder: Path, **more: Any) -> Job:
    keys, node = keys_of(graph, SOURCES), graph.nodes[node_id]
    inputs = {role: (graph.nodes[source].yields, keys[source].digest) for role, source in node.inputs.items()}
    granted = {"grant": Grant(3, 4096), "store": folder / "store", "log": folder / "log"}
    return Job(project="demo", node=node, key=keys[node_id], inputs=inputs, **{**granted, **more})


NODES = {
    *("seed:stage3", "seed:debian", "seed:newest", "seed:image", "seed:web", "seed:theirs"),
    *("one", "two", "three", "four", "pristine", "pristine.prepared", "system", "live", "boot", "disk-root"),
    *("live+boot.squashfs", "iso", "disk", "feed", "pxe", "net", "pack", "packages"),
    *("bill:stage3", "release:all", "test:works", "test:loads", "test:runs", "test:again", "test:together"),
    "test:updated",
}


def test_every_kind_is_among_the_jobs_here(graph: Graph) -> None:
    assert set(graph.nodes) == NODES
    assert {node.kind for node in graph} == set(by_kind())


@pytest.mark.slow
def test_a_worker_imports_no_other_kind(graph: Graph, tmp_path: Path) -> None:
    """Importing all kinds would take half of the time of a short job."""
    job_of(graph, "pack", tmp_path).write(tmp_path)
    code = "import sys; from pathlib import Path; from stagewright.engine.job import Job; Job.read(Path(sys.argv[1]))"
    words = [sys.executable, "-c", f"{code}; print(*sys.modules)", str(tmp_path)]
    modules = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    assert module_of("tarball") in modules
    assert not {module_of(kind) for kind in ("pxeboot", "bootstrap", "boots", "release")} & set(modules)


@pytest.mark.parametrize("node_id", sorted(NODES))
def test_a_job_is_read_as_it_was_written(graph: Graph, node_id: str, tmp_path: Path) -> None:
    job = job_of(graph, node_id, tmp_path, lineage=(LineageEntry(id="a", kind="b", key="c", inputs={}),))
    job.write(tmp_path)
    read = Job.read(tmp_path)
    assert read == job
    assert type(read.node.settings) is by_kind()[job.node.kind]
    assert type(read.node.context) is by_kind()[job.node.kind].context_model
    assert read.node.settings.for_key() == job.key.data["settings"]
    assert read.node.context.for_key() == job.key.data["context"]


def _type_of_work(method: Callable[..., object]) -> object:
    """The type of the parameter ``work``. Types of others can be imported for type checkers alone."""
    only = types.SimpleNamespace(__annotations__={"work": method.__annotations__["work"]})
    return typing.get_type_hints(only, vars(sys.modules[method.__module__]))["work"]


@pytest.mark.parametrize("kind", sorted(by_kind()))
def test_a_kind_builds_from_the_context_that_its_nodes_have(kind: str) -> None:
    model = by_kind()[kind]
    for name in ("build", "shell_root", "pin", "fetch"):
        method = getattr(model, name, None)
        (context,) = typing.get_args(_type_of_work(method)) if method else (Any,)
        assert context is Any or issubclass(model.context_model, context), f"{kind}: {name}"


def test_settings_outside_of_the_key_reach_the_worker(graph: Graph, tmp_path: Path) -> None:
    job_of(graph, "seed:newest", tmp_path).write(tmp_path)
    settings: Any = Job.read(tmp_path).stage
    assert (settings.mirror, settings.variant) == ("https://example.org", "stage3-amd64-systemd")
    assert "mirror" not in settings.for_key()


WRONG = {
    "no JSON": lambda job: "{",
    "a field too many": lambda job: json.dumps({**job, "more": 1}),
    "a field too few": lambda job: json.dumps({name: value for name, value in job.items() if name != "grant"}),
    "an unknown kind": lambda job: json.dumps({**job, "node": {**job["node"], "kind": "stage0"}}),
    "no kind": lambda job: json.dumps({**job, "node": {"id": "a"}}),
    "no node": lambda job: json.dumps({**job, "node": "a"}),
    "an unknown setting": lambda job: json.dumps(
        {**job, "node": {**job["node"], "settings": {**job["node"]["settings"], "more": 1}}}
    ),
    "a wrong setting": lambda job: json.dumps(
        {**job, "node": {**job["node"], "settings": {**job["node"]["settings"], "level": "high"}}}
    ),
    "context of another kind": lambda job: json.dumps(
        {**job, "node": {**job["node"], "context": {"source_date_epoch": 1}}}
    ),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_job_that_does_not_fit_is_a_bug_with_the_name_of_the_file(graph: Graph, tmp_path: Path, change: Any) -> None:
    path = job_of(graph, "pack", tmp_path).write(tmp_path)
    path.write_text(change(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        Job.read(tmp_path)
    assert caught.value.reason is Reason.BUG
    assert str(tmp_path / FILE_NAME) in caught.value.message
    assert caught.value.detail and caught.value.hint


def work_of(job: Job, folder: Path, events: list[Event]) -> Work[Any]:
    return job.work(folder, io.StringIO(), events.append)


def test_work_has_what_the_job_grants(graph: Graph, tmp_path: Path) -> None:
    job, events = job_of(graph, "pack", tmp_path), list[Event]()
    work = work_of(job, tmp_path, events)
    assert (work.cores, work.memory, work.epoch) == (3, 4096, 1795132800)
    assert work.context.file_name == f"stage3-{load_arch(graph)}-1.0.tar.zst"
    assert work.inputs["root"].key == job.inputs["root"][1]
    work.phase("pack")
    work.progress(1, 2, "MiB")
    work.notice("careful")
    assert [type(event) for event in events] == [NodePhase, NodeProgress, NodeNotice]
    assert [json.loads(event.to_json())["node"] for event in events] == ["pack"] * 3


def load_arch(graph: Graph) -> str:
    context: Any = graph.nodes["test:works"].context
    return str(context.arch)


def test_facts_of_inputs_are_read_by_their_models(graph: Graph, tmp_path: Path) -> None:
    job = job_of(graph, "pack", tmp_path)
    key, store = job.inputs["root"][1], Store(tmp_path / "store")
    facts = LayerFacts(toolchain="other", package_count=3)
    (tmp_path / "tree").mkdir()
    store.commit(
        tmp_path / "tree", Yields.LAYER, Meta(key, "seed:stage3", "file", 0, 0, {}, [key], facts=facts.to_dict())
    )
    work = work_of(job, tmp_path, [])
    assert work.facts("root", LayerFacts) == facts
    assert work.facts("root", LayerFacts).compiler([key]) == "other"
    assert LayerFacts().compiler(["top", key]) == key
    assert work.remembered("root") == [()]


def test_facts_are_equal_after_the_store() -> None:
    package = Package("app-misc/hello-1-r2", "0", "gentoo", ("nls", "ssl"), "MIT", 7)
    host = BinhostPackages(uri="https://example.org", packages=("a/b-1",))
    layer = LayerFacts(installed=(package,), binhosts={"far": host}, archive={"file": "x", "size": 3})
    squashfs = SquashfsFacts(bytes=1, sha512="0" * 128, installed=(package,))
    for facts in (layer, squashfs):
        meta = Meta("k", "n", "x", 0, 0, {}, facts=json.loads(json.dumps(facts.to_dict())))
        assert type(facts).of(meta) == facts
        assert list(type(facts).of(meta).remembered) == [package]
    assert "toolchain" not in layer.to_dict()


def test_facts_of_other_versions_are_read() -> None:
    meta = Meta("k", "iso", "livecd-stage3", 0, 0, {}, facts={"file": "a.iso", "bytes": 3, "mood": "good"})
    assert ArtifactFacts.of(meta) == ArtifactFacts(file="a.iso", bytes=3)
    assert ArtifactFacts.of(meta).main_file == "a.iso"
    assert Facts.of(meta).main_file is None


@pytest.mark.parametrize("kind", sorted(by_kind()))
def test_roots_have_facts_of_layers(kind: str) -> None:
    model: type[Stage] = by_kind()[kind]
    assert issubclass(model.facts_model, LayerFacts) is (model.yields is Yields.LAYER)


def test_a_kept_root_with_other_ids_is_not_entered(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owners would be wrong, and removed files would be visible again."""
    job_of(graph, "system", tmp_path, ids=ids.mark()).write(tmp_path)
    check_ids("system", Job.read(tmp_path))
    data = json.loads((tmp_path / FILE_NAME).read_text(encoding="utf-8"))
    monkeypatch.setenv("STAGEWRIGHT_IDS", "300000:300000")
    for made in ({"ids": "host"}, {"ids": "400000:400000"}, {"ids": ""}):
        (tmp_path / FILE_NAME).write_text(json.dumps({**data, **made}), encoding="utf-8")
        with pytest.raises(StagewrightError) as caught:
            check_ids("system", Job.read(tmp_path))
        assert caught.value.reason is Reason.NOT_BUILT
        assert "stagewright build system" in caught.value.hint
    del data["ids"]
    (tmp_path / FILE_NAME).write_text(json.dumps(data), encoding="utf-8")
    assert Job.read(tmp_path).ids == "", "a job of a former version names no ids"
