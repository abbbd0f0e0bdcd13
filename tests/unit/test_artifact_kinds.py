"""The base classes of artifacts: the name of the output, companion files, and the manifest."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from test_graph_keys import PROJECT, lay_out

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.keys import Key
from stagewright.graph.node import Graph, Yields
from stagewright.kinds.common.artifact import ArtifactKind, FileArtifactKind, OutputKind
from stagewright.kinds.common.facts import ArtifactFacts
from stagewright.kinds.common.lineage import LineageEntry
from stagewright.kinds.common.work import Grant, Work
from stagewright.kinds.registry import by_kind, graph_of, kinds
from stagewright.kinds.releases.release import ReleaseContext
from stagewright.portage.installed import Package
from stagewright.project.load import load
from stagewright.project.model import Entry
from stagewright.release.artifact_digests import digest_artifact
from stagewright.release.manifest import read_manifest
from stagewright.store.store import Store

SIGN = f"sign.openpgp.key = '{'A' * 40}'\n"  # a feed of updates needs a signature


def graph(folder: Path, more: str = "") -> Graph:
    lay_out(folder)
    (folder / "stagewright.toml").write_text(PROJECT + more, encoding="utf-8")
    return graph_of(load(folder, kinds()))


def load_entries(folder: Path) -> Mapping[str, Entry]:
    lay_out(folder)
    (folder / "stagewright.toml").write_text(PROJECT, encoding="utf-8")
    return load(folder, kinds()).entries["stages"]


def test_which_kinds_are_for_users() -> None:
    artifacts = {kind for kind, model in by_kind().items() if issubclass(model, ArtifactKind)}
    files = {kind for kind, model in by_kind().items() if issubclass(model, FileArtifactKind)}
    assert files == {"tarball", "livecd-stage3", "diskimage-stage2"}
    assert artifacts == {*files, "pxeboot", "netboot", "binhost", "update-feed", "release"}
    outputs = {kind for kind, model in by_kind().items() if issubclass(model, OutputKind)}
    assert outputs == artifacts | set(kinds()["tests"])
    inner = {kind for kind, model in by_kind().items() if model.yields is Yields.ARTIFACT} - outputs
    assert inner == {"livecd-stage2", "squashfs", "bill"}


def test_every_artifact_has_a_bill(tmp_path: Path) -> None:
    """A release of all artifacts has the bill of everything that each of them contains."""
    artifacts = {kind for kind, model in kinds()["stages"].items() if issubclass(model, ArtifactKind)}
    entries = load_entries(tmp_path)
    names = {kind: next(name for name, entry in entries.items() if entry.kind == kind) for kind in artifacts}
    release = f"[releases.every]\nartifacts = {json.dumps(list(names.values()))}\n{SIGN}"
    made = graph(tmp_path / "again", release)
    node = made.nodes[made.targets["every"][0]]
    context = node.context
    assert isinstance(context, ReleaseContext)
    for role, stage in context.stages.items():
        assert context.bills[role], f"{stage} has no bill: its kind does not name its ingredients"
        for one in context.bills[role]:
            assert made.nodes[node.inputs[one.role]].kind == "bill"
    contained = {stage: [one.ingredient.stage for one in context.bills[role]] for role, stage in context.stages.items()}
    assert contained[names["livecd-stage3"]] == contained[names["pxeboot"]] == ["live", "boot"]


def test_every_output_that_others_must_not_get_is_marked(tmp_path: Path) -> None:
    """In the names of files and folders. Builds of the kinds show the mark in manifests and systems."""
    entries = load_entries(tmp_path)
    names = [name for name, entry in entries.items() if isinstance(entry.model, ArtifactKind)]
    project = PROJECT[: PROJECT.index("[releases.all]")]
    project += "[channels.lab]\ndistributable = false\n"
    project += f"[releases.every]\nchannel = 'lab'\nartifacts = {json.dumps(names)}\n{SIGN}"
    lay_out(tmp_path / "again")
    (tmp_path / "again/stagewright.toml").write_text(project, encoding="utf-8")
    made = graph_of(load(tmp_path / "again", kinds()))
    for name in names:
        node = made.nodes[made.targets[name][-1]]
        assert isinstance(node.settings, ArtifactKind)
        assert "-not-distributable" in node.settings.output_name(node, name), name


def test_the_tarball_alone_stands_for_a_root() -> None:
    packed = {kind: getattr(model, "packed_root", "") for kind, model in by_kind().items()}
    assert {kind: role for kind, role in packed.items() if role} == {"tarball": "root"}


CLASHES = {
    "two tarballs": '[stages.more]\nkind = "tarball"\nroot = "stage3"\n',
    "a tarball with the name of an image": (
        '[stages.more]\nkind = "tarball"\nroot = "one"\nname = "pxe"\ncompression = "none"\n'
        '[stages."pxe.tar"]\nkind = "pxeboot"\nlive = "live"\nboot = "boot"\n'
    ),
    "a file and the folder of a test": (
        '[stages.more]\nkind = "tarball"\nroot = "one"\nname = "x"\ncompression = "none"\n'
        '[tests."x.tar"]\nstarts = "one"\nexpect = ["x"]\n'
    ),
}


@pytest.mark.parametrize("more", CLASHES.values(), ids=CLASHES)
def test_two_outputs_of_one_name_are_reported(tmp_path: Path, more: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        graph(tmp_path, more)
    assert caught.value.reason is Reason.DUPLICATE_NAME
    assert caught.value.place and caught.value.place.line > PROJECT.count("\n")
    assert caught.value.hint


def test_outputs_with_different_names_are_accepted(tmp_path: Path) -> None:
    assert "more" in graph(tmp_path, '[stages.more]\nkind = "tarball"\nroot = "stage3"\nname = "more"\n').nodes


def test_a_file_gets_digests_and_a_manifest(tmp_path: Path) -> None:
    node = graph(tmp_path).nodes["pack"]
    tree = tmp_path / "tree"
    tree.mkdir()
    file, listing = tree / "it.tar", tree / "it.tar.CONTENTS.gz"
    file.write_bytes(b"content")
    listing.write_bytes(b"listing")
    lineage = (LineageEntry(id="a", kind="file", key="k", inputs={}, pin={"file": "x"}),)
    store = Store(tmp_path / "store")
    work = Work[Any](node, Key("f" * 64, {}), {}, Grant(), lineage, tmp_path, store, io.StringIO(), lambda _: None)
    package = Package("a/b-1", "0", "demo", ("x",), "MIT", 7)
    built = FileArtifactKind.with_manifest(
        work, file, [package], digest_artifact(file), digest_artifact(listing), payload={"kernels": []}
    )
    assert (built.tree, built.facts) == (tree, ArtifactFacts(file="it.tar", bytes=7))
    manifest = read_manifest(tree / "it.tar.manifest.json")
    assert manifest["artifact"]["file"] == "it.tar" and manifest["contents"]["file"] == listing.name
    assert manifest["project"] == {"name": "demo", "version": "1.0", "source_date_epoch": 1795132800}
    assert manifest["lineage"] == [{"id": "a", "kind": "file", "key": "k", "inputs": {}, "pin": {"file": "x"}}]
    assert (manifest["stage"], manifest["key"], manifest["payload"]) == ("pack", "f" * 64, {"kernels": []})
    assert json.loads(json.dumps(manifest["packages"]))[0]["name"] == "a/b-1"
    assert (tree / "it.tar.DIGESTS").read_text(encoding="utf-8").count(listing.name) == 2
    assert (tree / "it.tar.sha256").read_text(encoding="utf-8").endswith("  it.tar\n")
