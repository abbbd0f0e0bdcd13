"""Keys: everything that goes in counts, nothing else does, and what a key is made of changes only on purpose."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest

from stagewright.errors import Place
from stagewright.graph.given import Given, NotInKey
from stagewright.graph.keys import KEY_FORMAT, Key, KeySources, differences, key_of, keys_of
from stagewright.graph.node import Demand, Graph, Node, NodeFiles, Yields
from stagewright.kinds.registry import graph_of, kinds
from stagewright.kinds.releases import release
from stagewright.project.fields import RootRef
from stagewright.project.load import load
from stagewright.ui.plans import difference_text

GOLDEN = Path(__file__).parents[1] / "data" / "keys" / "demo.json"

SOURCES = KeySources(
    code=lambda kind: f"code of {kind}", tree=lambda path: f"content of {path.name}", tool=lambda tool: f"{tool} 1.0"
)

PROJECT = """
format = 1
[project]
name = "demo"
version = "1.0"
source_date_epoch = 2026-11-20
[repos.main]
path = "repo"
[seeds.stage3]
file = "seed.tar.xz"
[seeds.debian]
bootstrap = "debian"
suite = "trixie"
packages = ["gcc", "dracut"]
[seeds.newest]
mirror = "https://example.org"
variant = "stage3-amd64-systemd"
[seeds.image]
oci = "registry.example.org/gentoo/stage3:systemd"
[seeds.web]
url = "https://example.org/root.tar.xz"
sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
[seeds.theirs]
project = "other"
stage = "base"
[stages.one]
kind = "stage1"
root = "stage3"
profile = "default"
[stages.two]
kind = "stage2"
root = "one"
profile = "default"
[stages.three]
kind = "stage3"
root = "two"
profile = "default"
[stages.four]
kind = "stage4"
root = "three"
profile = "default"
[stages.pristine]
kind = "stage3-root"
root = "three"
profile = "default"
[stages.system]
kind = "embedded"
root = "debian"
profile = "default"
packages = ["app-misc/hello"]
use = ["-shout"]
[stages.live]
kind = "livecd-stage1"
root = "system"
root_overlay = ["overlay"]
[stages.boot]
kind = "livecd-stage2"
root = "debian"
[stages.iso]
kind = "livecd-stage3"
live = "live"
boot = "boot"
[stages.disk-root]
kind = "diskimage-stage1"
root = "system"
os_release = { IMAGE_ID = "fleet", IMAGE_VERSION = "1" }
updates = { url = "https://example.org/fleet", key = "fleet.asc" }
[stages.disk]
kind = "diskimage-stage2"
root = "disk-root"
boot = "boot"
[stages.feed]
kind = "update-feed"
image = "disk"
[stages.pxe]
kind = "pxeboot"
live = "live"
boot = "boot"
[stages.net]
kind = "netboot"
root = "debian"
kernels = { small = { tree = "/usr/src/linux", build = "genkernel" } }
[stages.pack]
kind = "tarball"
root = "stage3"
[stages.packages]
kind = "binhost"
roots = ["system", "four"]
[tests.works]
boots = "iso"
expect = ["login:"]
[tests.loads]
netboots = "pxe"
expect = ["login:"]
[tests.runs]
starts = "one"
expect = ["login:"]
[tests.together]
machines = { server = { boots = "iso", files = "pxe" }, client = {} }
steps = [{ machine = "client", wait = "login:" }]
[tests.updated]
updates = ["disk", "disk"]
login = { user = "root" }
[tests.again]
rebuilds = "two"
[releases.all]
artifacts = ["pack"]
tests = ["runs"]
"""


def lay_out(folder: Path) -> None:
    """Make the files and folders that the project names."""
    for name in ("repo/profiles/default", "repo/app-misc/hello", "overlay"):
        (folder / name).mkdir(parents=True)
    (folder / "seed.tar.xz").touch()
    (folder / "fleet.asc").touch()
    (folder / "other").mkdir()
    (folder / "other/stagewright.toml").touch()


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Graph:
    """A small project with every kind in it, for one version of all libraries."""
    monkeypatch.setattr(release, "version", lambda name: f"version of {name}")
    lay_out(tmp_path)
    (tmp_path / "stagewright.toml").write_text(PROJECT, encoding="utf-8")
    return graph_of(load(tmp_path, kinds()))


def test_what_keys_are_made_of(graph: Graph) -> None:
    """A changed golden file is a decision: everybody's next build makes these nodes again."""
    found = {name: key.data for name, key in keys_of(graph, SOURCES).items()}
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    actual = GOLDEN.with_suffix(".json.actual")
    if text != (GOLDEN.read_text(encoding="utf-8") if GOLDEN.exists() else ""):
        actual.write_text(text, encoding="utf-8")
        pytest.fail(
            f"keys are made of other entries now: if that is meant, mv {actual} {GOLDEN}\n"
            + "\n".join(str(item) for item in differences(json.loads(GOLDEN.read_text(encoding="utf-8")), found))
        )
    actual.unlink(missing_ok=True)


def test_every_kind_is_in_the_golden_file() -> None:
    known = {kind for table in kinds().values() for kind in table}
    assert {data["kind"] for data in json.loads(GOLDEN.read_text(encoding="utf-8")).values()} == known


class Inner(Given):
    level: int = 1
    mirror: Annotated[str, NotInKey()] = "https://example.org"


class Settings(Given):
    root: RootRef = "base"
    roots: list[RootRef] = ["base"]
    packages: list[str] = ["x/a", "x/b"]
    inner: Inner = Inner()
    table: dict[str, Inner] = {"one": Inner(), "two": Inner(level=2)}
    mirrors: Annotated[list[str], NotInKey()] = []


class MoreSettings(Settings):
    more: str | None = None


class Context(Given):
    source_date_epoch: int = 1
    folder: Annotated[Path | None, NotInKey()] = None


NODE = Node(
    "a",
    "root",
    Yields.LAYER,
    settings=Settings(),
    context=Context(),
    files=NodeFiles(
        settings={"overlay": Path("overlay")},
        sources={"keyring": Path("keys.asc")},
        repos={"gentoo": Path("gentoo")},
        binhost_keys={"far": Path("far.asc")},
    ),
    inputs={"root": "base"},
    tools=("tar",),
)


def with_settings(**settings: Any) -> Node:
    return replace(NODE, settings=Settings(**settings))


def with_files(**groups: dict[str, Path]) -> Node:
    return replace(NODE, files=NODE.files.model_copy(update=groups))


def digest(node: Node = NODE, sources: KeySources = SOURCES, root: str = "k1") -> str:
    return key_of(node, {"root": root}, sources).digest


CHANGES: dict[str, Callable[[], str]] = {
    "kind": lambda: digest(replace(NODE, kind="other")),
    "a setting": lambda: digest(with_settings(inner=Inner(level=2))),
    "a new setting": lambda: digest(replace(NODE, settings=MoreSettings())),
    "a setting in a table": lambda: digest(with_settings(table={"one": Inner(), "two": Inner(level=3)})),
    "the order of packages": lambda: digest(with_settings(packages=["x/b", "x/a"])),
    "context": lambda: digest(replace(NODE, context=Context(source_date_epoch=2))),
    "another file": lambda: digest(with_files(settings={"overlay": Path("overlay2")})),
    "the name of a file": lambda: digest(with_files(settings={"over": Path("overlay")})),
    "another repository": lambda: digest(with_files(repos={"gentoo": Path("gentoo2")})),
    "keys of a binhost": lambda: digest(with_files(binhost_keys={"far": Path("far2.asc")})),
    "the content of a file": lambda: digest(sources=replace(SOURCES, tree=lambda path: "other")),
    "the input": lambda: digest(root="k2"),
    "a tool more": lambda: digest(replace(NODE, tools=("tar", "xz"))),
    "the version of a tool": lambda: digest(sources=replace(SOURCES, tool=lambda tool: "2")),
    "the code": lambda: digest(sources=replace(SOURCES, code=lambda kind: "other")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_goes_in_counts(change: Callable[[], str]) -> None:
    assert change() != digest()


NO_CHANGES: dict[str, dict[str, Any]] = {
    "the order of a table": {"settings": Settings(table={"two": Inner(level=2), "one": Inner()})},
    "its own name": {"id": "b"},
    "names of inputs": {"settings": Settings(root="other", roots=["a", "b"]), "inputs": {"root": "other"}},
    "a marked setting": {"settings": Settings(mirrors=["https://example.net"])},
    "a marked setting of a section": {"settings": Settings(inner=Inner(mirror="https://example.net"))},
    "a marked setting in a table": {
        "settings": Settings(table={"one": Inner(mirror="https://example.net"), "two": Inner(level=2)})
    },
    "marked context": {"context": Context(folder=Path("distfiles"))},
    "a file outside of the key": {"files": NODE.files.model_copy(update={"sources": {"other": Path("other.asc")}})},
    "what it asks of the machine": {"demand": Demand(cores=8, memory=4096, exclusive="vm")},
    "where it is written": {"place": Place(Path("x"), 1, 2)},
}


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_what_makes_no_difference_does_not_count(change: dict[str, Any]) -> None:
    assert digest(replace(NODE, **change)) == digest()


def test_a_key_is_the_digest_of_its_data_as_json() -> None:
    assert Key.of({"b": 1, "a": "é"}) == Key.of({"a": "é", "b": 1})
    assert Key.of({"a": 1}).digest == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert key_of(NODE, {}, SOURCES).data["format"] == KEY_FORMAT


def test_a_change_reaches_the_nodes_that_depend_on_it(graph: Graph) -> None:
    before = keys_of(graph, SOURCES)
    changed = replace(SOURCES, tree=lambda path: "new" if path.name == "overlay" else SOURCES.tree(path))
    after = keys_of(graph, changed)
    assert {name for name in before if before[name] != after[name]} == {
        "live",
        "live+boot.squashfs",
        "iso",
        "pxe",
        "test:works",
        "test:loads",
        "test:together",
    }


def test_a_file_that_many_nodes_name_is_read_once(tmp_path: Path) -> None:
    read: list[Path] = []

    def tree(path: Path) -> str:
        read.append(path)
        return "x"

    same = [Node(name, "root", Yields.LAYER, files=NodeFiles(repos={"gentoo": tmp_path})) for name in "abc"]
    keys_of(Graph.of(same), replace(SOURCES, tree=tree))
    assert read == [tmp_path]


DIGEST_1, DIGEST_2 = "1" * 64, "2" * 64
TEXTS = {
    "text": ({"a": "x"}, {"a": "y"}, ['a: "x" -> "y"']),
    "number": ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b: 1 -> 2"]),
    "digest": ({"a": DIGEST_1}, {"a": DIGEST_2}, ["a: 11111111 -> 22222222"]),
    "code": (
        {"code": DIGEST_1},
        {"code": DIGEST_2},
        ["code: this version of Stagewright builds it differently"],
    ),
    "new": ({}, {"a": {"b": 1}}, ["a.b: 1 is new"]),
    "gone": ({"a": DIGEST_1}, {}, ["a: 11111111 is gone"]),
    "short list": ({"a": ["x", "y"]}, {"a": ["y", "z"]}, ['a: ["x", "y"] -> ["y", "z"]']),
    "order of a short list": ({"a": ["x", "y"]}, {"a": ["y", "x"]}, ['a: ["x", "y"] -> ["y", "x"]']),
    "long list": (
        {"a": list("abcdefg")},
        {"a": list("bcdefgh")},
        ['a: without "a", with "h"'],
    ),
    "order of a long list": ({"a": list("abcdefg")}, {"a": list("gfedcba")}, ["a: another order"]),
    "list of tables": ({"a": [{"n": 1}]}, {"a": [{"n": 2}]}, ['a: without {"n": 1}, with {"n": 2}']),
    "several, by name": ({"b": 1, "a": 1}, {"b": 2, "a": 2}, ["a: 1 -> 2", "b: 1 -> 2"]),
    "nothing": ({"a": [1], "b": {"c": None}}, {"b": {"c": None}, "a": [1]}, []),
}


@pytest.mark.parametrize(("old", "new", "texts"), TEXTS.values(), ids=TEXTS)
def test_differences_are_shown_as_text(old: dict[str, Any], new: dict[str, Any], texts: list[str]) -> None:
    assert [difference_text(item) for item in differences(old, new)] == texts


def test_a_value_that_becomes_nothing_is_a_difference() -> None:
    assert len(differences({"a": "x"}, {"a": None})) == len(differences({"a": None}, {"a": "x"})) == 1
