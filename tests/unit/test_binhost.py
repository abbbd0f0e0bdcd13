"""The kind ``binhost``: what it is made of, which packages it takes, and what is wrong with its settings."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
from gpkgs import package

from stagewright.engine.outputs import publish
from stagewright.engine.session import Session
from stagewright.errors import ProblemsError, Reason
from stagewright.graph.keys import Key
from stagewright.graph.node import Graph, Node, Yields
from stagewright.kinds.artifacts.binhost import BinhostStage, PublishedContext, PublishedFacts
from stagewright.kinds.common.context import BinhostDescription, PackageContext, StageContext
from stagewright.kinds.common.work import Grant, Input, Work
from stagewright.kinds.registry import graph_of, kinds
from stagewright.portage import gpkg
from stagewright.portage.index import date_index, merge_indexes
from stagewright.project.load import load
from stagewright.project.model import Project
from stagewright.store.meta import Meta
from stagewright.store.store import Store

KEY = "0123456789ABCDEF" * 2 + "01234567"

PROJECT = """
format = 1
project = { name = "p", version = "1" }
repos.main.path = "repo"
[binhosts.far]
uri = "https://example.org/far"
verify = false
priority = 3
[binhosts.near]
uri = "https://example.org/near"
keys = "keys.asc"
[seeds.debian]
bootstrap = "debian"
packages = ["gcc"]
[stages.system]
kind = "embedded"
root = "debian"
profile = "default"
confdir = ["confdir"]
script = "script"
[stages.live]
kind = "livecd-stage1"
root = "system"
[stages.pack]
kind = "tarball"
root = "live"
[stages.plain]
kind = "livecd-stage1"
root = "debian"
"""


def project(folder: Path, more: str = "") -> Project:
    for name in ("repo/profiles/default", "confdir"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("keys.asc", "script"):
        (folder / name).touch()
    (folder / "stagewright.toml").write_text(PROJECT + more, encoding="utf-8")
    return load(folder, kinds())


def graph(folder: Path, more: str = "") -> Graph:
    return graph_of(project(folder, more))


PACKAGES = '[stages.packages]\nkind = "binhost"\n'


def test_the_index_is_made_as_the_first_stage_with_portage_was(tmp_path: Path) -> None:
    node = graph(tmp_path, PACKAGES + 'roots = ["live", "system"]').nodes["packages"]
    assert dict(node.inputs) == {"roots.000": "live", "roots.001": "system", "root": "seed:debian"}
    assert set(node.files.repos) == {"main"}
    assert set(node.files.settings) == {"confdir"}, "the script of the stage is not used"
    assert isinstance(node.context, PublishedContext)
    stage = node.context.portage
    assert (stage.profile, stage.root, stage.binhosts, stage.binpkgs) == ("default", "debian", [], False)


@pytest.mark.parametrize(
    ("root", "said"),
    [("pack", "must name a stage that makes a root ('pack' makes files)"), ("plain", "none of these stages installs")],
)
def test_inputs_without_packages_are_rejected(tmp_path: Path, root: str, said: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        graph(tmp_path, PACKAGES + f'roots = ["{root}"]')
    problem = caught.value.problems[0]
    assert problem.reason is Reason.INVALID_VALUE
    assert said in problem.message and problem.place and problem.hint


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("roots = []", Reason.INVALID_VALUE),
        ('roots = ["debian"]', Reason.UNKNOWN_NAME),
        ('roots = ["system"]\nsign = { key = "ABCD", secret = "/x" }', Reason.INVALID_VALUE),
        (f'roots = ["system"]\nsign = {{ key = "{KEY}", secret = "keys/secret.asc" }}', Reason.INVALID_VALUE),
        (f'roots = ["system"]\nsign = {{ key = "{KEY}" }}', Reason.MISSING_KEY),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, settings: str, reason: Reason) -> None:
    with pytest.raises(ProblemsError) as caught:
        project(tmp_path, PACKAGES + settings)
    assert [problem.reason for problem in caught.value.problems] == [reason]


def test_secrets_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "secret").touch()
    sign = {"key": KEY, "secret": "~/secret", "passphrase": str(tmp_path / "none")}
    stage = BinhostStage.model_validate({"roots": ["system"], "sign": sign})
    assert [(problem.reason, problem.message.partition(":")[0]) for problem in stage.missing()] == [
        (Reason.MISSING_FILE, "sign.passphrase")
    ]


def test_which_hosts_a_stage_sees(tmp_path: Path) -> None:
    more = '[stages.one]\nextends = "system"\nbinhosts = ["near"]\n[stages.none]\nextends = "system"\nbinhosts = []\n'
    nodes = graph(tmp_path, more).nodes
    far = BinhostDescription(name="far", uri="https://example.org/far", priority=3, signed=False)
    near = BinhostDescription(name="near", uri="https://example.org/near", priority=0)

    def hosts(name: str) -> tuple[BinhostDescription, ...]:
        context = nodes[name].context
        assert isinstance(context, PackageContext)
        return context.binhosts

    assert hosts("system") == (far, near)
    assert nodes["system"].files.binhost_keys == {"near": tmp_path / "keys.asc"}
    assert hosts("one") == (near,)
    assert hosts("none") == () and nodes["none"].files.binhost_keys == {}
    assert hosts("live") == (), "it installs nothing"


def work(tmp_path: Path, *layers: dict[str, bytes]) -> Work[Any]:
    """The work of publishing layers with these packages: content by path."""
    store, inputs = Store(tmp_path / "store"), {}
    for number, packages in enumerate(layers):
        folder = store.folder(Yields.LAYER, f"k{number}")
        for path, content in packages.items():
            file = folder / "binpkgs" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        (folder / "tree").mkdir(parents=True)
        meta = Meta(f"k{number}", f"n{number}", "embedded", 0, 0, {}, [f"k{number}"])
        (folder / "meta.json").write_text(json.dumps(dataclasses.asdict(meta)), encoding="utf-8")
        inputs[f"roots.{number:03}"] = Input(Yields.LAYER, f"k{number}", folder / "tree")
    node = Node("packages", "binhost", Yields.ARTIFACT, context=StageContext(source_date_epoch=0))
    return Work(node, Key.of({}), inputs, Grant(1, 1024), (), tmp_path, store, io.StringIO(), lambda _: None)


def test_each_package_is_taken_once_and_another_of_its_name_gets_another_build_id(tmp_path: Path) -> None:
    first, second, third = (f"a/hello/hello-1-{number}.gpkg.tar" for number in (1, 2, 3))
    one, two, three, b = package("a/hello-1", 1), package("a/hello-1", 2), package("a/hello-1", 1, content=b"3"), b"b"
    layers = {first: one, second: two}, {first: two}, {first: three, "a/b/b-1-r2-1.gpkg.tar": b}
    stage = BinhostStage.model_validate({"roots": ["x"]})
    stage._collect(work(tmp_path, *layers), tmp_path / "out")
    files = {str(path.relative_to(tmp_path / "out")): path for path in (tmp_path / "out").rglob("*.tar")}
    renumbered = gpkg.read(files[third])
    kept = {name: path.read_bytes() for name, path in files.items() if name != third}
    assert kept == {first: one, second: two, "a/b/b-1-r2-1.gpkg.tar": b}
    assert renumbered.basename == "hello-1-3" and renumbered.metadata(tmp_path)["BUILD_ID"] == b"3\n"
    original = gpkg.read(tmp_path / "store/layers/k2/binpkgs" / first)
    images = [b"".join(found.chunks(found.member("image"))) for found in (renumbered, original)]
    assert images[0] == images[1]


def test_what_is_published_no_more_leaves_the_output_folder(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    plan = Session(project(tmp_path, PACKAGES + 'roots = ["system"]'), store).plan(["packages"])
    step = plan.steps["packages"]
    tree = store.tree(Yields.ARTIFACT, step.key.digest)
    (tree / "a").mkdir(parents=True)
    for name in ("Packages", "a/new"):
        (tree / name).write_text("x", encoding="utf-8")
    facts = PublishedFacts(packages=1, bytes=1)
    meta = Meta(step.key.digest, "packages", "binhost", 0, 0, {}, facts=facts.to_dict())
    (tree.parent / "meta.json").write_text(json.dumps(dataclasses.asdict(meta)), encoding="utf-8")
    old = tmp_path / "out/packages/b/old"
    old.parent.mkdir(parents=True)
    old.write_text("x", encoding="utf-8")
    publish(plan, store, tmp_path / "out")
    left = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*"))
    assert left == ["packages", "packages/Packages", "packages/a", "packages/a/new"]


INDEX = """PACKAGES: 2
TIMESTAMP: 1796000000

BUILD_TIME: 1700000000
CPV: app-misc/one-1
MTIME: 1790000001
PATH: app-misc/one/one-1-1.gpkg.tar

BUILD_TIME: 1700000500
CPV: app-misc/two-1
MTIME: 1790000002
PATH: app-misc/two/two-1-1.gpkg.tar

"""


def test_the_times_of_an_index_follow_from_its_packages() -> None:
    """A later run over the same packages gives the same bytes; clients see that a package was built or added."""
    dated = date_index(INDEX)
    assert "TIMESTAMP: 1700000502\n" in dated
    assert "CPV: app-misc/one-1\nMTIME: 1700000000\n" in dated
    assert date_index(INDEX.replace("1796000000", "1796999999").replace("1790000001", "1")) == dated
    assert merge_indexes(dated, dated, lambda _: True) == dated
    one = dated[: dated.index("BUILD_TIME: 1700000500")].replace("PACKAGES: 2", "PACKAGES: 1")
    assert "TIMESTAMP: 1700000001\n" in date_index(one)
