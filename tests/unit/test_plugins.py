"""Kinds of other packages: found by their entry points, part of keys, and reported when they do not fit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from importlib.metadata import distributions
from pathlib import Path

import pytest
import starter
from integration.plugins import OCI, describe, install

from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.base import Stage
from stagewright.kinds.common.plugin_search import names_plugins
from stagewright.kinds.registry import by_kind, load_plugins

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-kind.md"

PROJECT = """
format = 1
[project]
name = "test"
version = "1"
arch = "arm64"
source_date_epoch = 2026-11-20
[seeds.base]
file = "root"
[stages.image]
kind = "oci-archive"
root = "base"
tag = "1"
"""


def stagewright(*words: str, site: Path, cwd: Path | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command of Stagewright with the packages of a folder."""
    done = starter.run(*words, cwd=cwd or site, env={"PYTHONPATH": str(site)})
    said = subprocess.CompletedProcess(words, done.returncode, done.stdout.decode(), done.stderr.decode())
    assert said.returncode == code, said.stdout + said.stderr
    return said


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(OCI, tmp_path_factory.mktemp("site"))


@pytest.mark.parametrize("name", ["pyproject.toml", "stagewright_oci/__init__.py", "stagewright_oci/oci_archive.py"])
def test_the_tutorial_shows_the_code_of_the_package(name: str) -> None:
    """Each file stands in the page in one or more blocks, in order."""
    blocks = re.findall(rf"^```\w+ file={re.escape(name)}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    shown = "".join(blocks)
    assert shown.split() and squeezed(shown) == squeezed((OCI / name).read_text(encoding="utf-8"))


def squeezed(text: str) -> list[str]:
    """The lines of a text without empty ones."""
    return [line for line in text.splitlines() if line]


def test_every_file_of_the_package_is_in_the_tutorial() -> None:
    files = {str(path.relative_to(OCI)) for path in OCI.rglob("*") if path.suffix in (".py", ".toml")}
    assert files == set(re.findall(r"^```\w+ file=(\S+)$", PAGE.read_text(encoding="utf-8"), re.M))


def test_the_kind_is_listed_with_its_package(site: Path) -> None:
    said = stagewright("kinds", site=site).stdout
    assert re.search(r"^  oci-archive +a container image in one file, .*\(stagewright-oci 1\.0\)$", said, re.M)
    assert "(stagewright" not in said.replace("(stagewright-oci 1.0)", "")
    settings = stagewright("kinds", "oci-archive", site=site).stdout
    assert "The command that a container runs by default." in settings


def test_the_schema_has_the_kind(site: Path) -> None:
    shapes = json.loads(stagewright("schema", site=site).stdout)["$defs"]
    assert shapes["OciArchive"]["properties"]["tag"]["description"] == "The tag of the image."


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project" / "root" / "usr").mkdir(parents=True)
    (tmp_path / "project" / "stagewright.toml").write_text(PROJECT, encoding="utf-8")
    return tmp_path / "project"


def plan(site: Path, project: Path) -> dict[str, str]:
    """The keys of the nodes of a project."""
    words = ["--store", str(project.parent / "store"), "plan", "--json"]
    nodes = json.loads(stagewright(*words, site=site, cwd=project).stdout)["nodes"]
    return {node["node"]: node["key"] for node in nodes}


def test_the_code_of_the_package_is_part_of_the_key(project: Path, tmp_path: Path) -> None:
    site = install(OCI, tmp_path / "site")
    (site / "stagewright_oci" / "helper.py").write_text("SIZE = 1\n", encoding="utf-8")
    module = site / "stagewright_oci" / "oci_archive.py"
    code = module.read_text(encoding="utf-8")
    module.write_text(code.replace("\n\n\nclass", "\nfrom stagewright_oci.helper import SIZE\n\n\nclass", 1), "utf-8")
    before = plan(site, project)
    (site / "stagewright_oci" / "helper.py").write_text("# how large\nSIZE = 1\n", encoding="utf-8")
    assert plan(site, project) == before, "comments do not count"
    (site / "stagewright_oci" / "helper.py").write_text("SIZE = 2\n", encoding="utf-8")
    after = plan(site, project)
    assert {node for node in before if before[node] != after[node]} == {"image"}


def test_without_the_package_the_kind_is_unknown(project: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = stagewright("check", site=tmp_path / "empty", cwd=project, code=2).stderr
    assert "unknown kind 'oci-archive'" in said


KIND = """\
\"\"\"mine: a test.\"\"\"
from stagewright.kinds.common.base import Stage
from stagewright.kinds.common.plugin_search import names_plugins
class Mine(Stage, kind="{kind}"):
    pass
class Other(Mine):
    pass
"""

BAD = {
    "no such module": ({}, "mine = missing_module:Mine", "No module named 'missing_module'"),
    "no such class": ({"mine.py": KIND}, "mine = mine:Yours", "has no attribute 'Yours'"),
    "a module that fails": ({"mine.py": "1 / 0\n"}, "mine = mine:Mine", "ZeroDivisionError"),
    "no kind": ({"mine.py": "Mine = 1\n"}, "mine = mine:Mine", "is not the class of a kind called 'mine'"),
    "another name": ({"mine.py": KIND}, "yours = mine:Mine", "is not the class of a kind called 'yours'"),
    "a class below the kind": ({"mine.py": KIND}, "mine = mine:Other", "is not the class of a kind called 'mine'"),
    "a kind of Stagewright": (
        {"mine.py": KIND.replace("{kind}", "tarball")},
        "tarball = mine:Mine",
        "kind 'tarball' exists already (in stagewright.kinds.artifacts.tarball)",
    ),
    "a kind of another table": (
        {"mine.py": KIND.replace("{kind}", "boots")},
        "boots = mine:Mine",
        "kind 'boots' exists already (in stagewright.kinds.tests.boots)",
    ),
}


@pytest.fixture
def loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], StagewrightError]]:
    """Load the packages of a folder in this process, which must fail, and return the error."""
    list(by_kind().values())  # imports all of them
    monkeypatch.syspath_prepend(tmp_path)
    modules = set(sys.modules)
    before = {table: dict(models) for table, models in Stage.registry.items()}

    def load() -> StagewrightError:
        found = [entry for package in distributions(path=[str(tmp_path)]) for entry in package.entry_points]
        with pytest.raises(StagewrightError) as caught:
            load_plugins(found)
        assert caught.value.reason is Reason.BAD_PLUGIN
        return caught.value

    yield load
    for table, models in before.items():
        Stage.registry[table].clear()
        Stage.registry[table].update(models)
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.mark.parametrize(("files", "entry", "said"), BAD.values(), ids=BAD)
def test_a_package_that_does_not_fit_is_named(
    tmp_path: Path, loader: Callable[[], StagewrightError], files: dict[str, str], entry: str, said: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace("{kind}", "mine"), encoding="utf-8")
    describe(tmp_path, "stagewright-mine", "0.3", dict([entry.split(" = ")]))
    error = loader()
    assert error.message.startswith("stagewright-mine 0.3: ") and said in error.message
    assert "pip uninstall stagewright-mine" in error.hint


def test_two_packages_with_one_kind(tmp_path: Path, loader: Callable[[], StagewrightError]) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(KIND.replace("{kind}", "mine"), encoding="utf-8")
        describe(tmp_path, name, "1", {"mine": f"{name}:Mine"})
    error = loader()
    assert error.message.startswith("two 1: ") and "kind 'mine' exists already (in one)" in error.message


def test_a_command_reports_a_package_that_does_not_fit(tmp_path: Path) -> None:
    describe(tmp_path, "stagewright-mine", "0.3", {"mine": "missing_module:Mine"})
    shown = stagewright("kinds", site=tmp_path, code=3).stderr
    assert "error: stagewright-mine 0.3: cannot load kind 'mine'" in shown and "pip uninstall" in shown


def test_commands_that_need_no_kinds_work_with_a_bad_package(tmp_path: Path) -> None:
    describe(tmp_path, "bad", "1", {"mine": "missing:Mine"})
    assert "Usage" in stagewright("--help", site=tmp_path).stdout


@pytest.mark.parametrize("folder", ["one-1.0.dist-info", "One.egg-info", "one.egg/EGG-INFO"])
def test_a_package_that_can_have_plugins_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    group = "stagewright.kinds.of-a-test"
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [PathFinder])  # other tests can add finders
    assert not names_plugins(group)
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "entry_points.txt").write_text(f"[{group}]\nx = y:Z\n", encoding="utf-8")
    assert names_plugins(group)


def test_packages_in_a_zip_file_can_have_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "packages.zip").touch()
    monkeypatch.setattr(sys, "meta_path", [PathFinder])
    monkeypatch.setattr(sys, "path", [str(tmp_path / "missing")])
    assert not names_plugins("stagewright.kinds.of-a-test")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "packages.zip")])
    assert names_plugins("stagewright.kinds.of-a-test")
