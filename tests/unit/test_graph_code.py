"""The digest of a kind's code: it changes with what the kind is built by, and with nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import stagewright
from stagewright.graph.code_digest import NEUTRAL, _closure
from stagewright.kinds.registry import by_kind, module_of

PACKAGE = Path(stagewright.__file__).parent

ASK = """
import json
from stagewright.graph.code_digest import code_digest
from stagewright.kinds.registry import by_kind, module_of
print(json.dumps({kind: code_digest(module_of(kind)) for kind in by_kind()}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, where it may be changed."""
    folder = tmp_path_factory.mktemp("code")
    shutil.copytree(PACKAGE, folder / "stagewright", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def digests(folder: Path) -> dict[str, str]:
    words = [sys.executable, "-B", "-c", ASK]
    done = subprocess.run(
        words, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def changed(folder: Path, name: str, text: str = "\n# changed\n") -> set[str]:
    """The kinds whose digest changes with a file of the package."""
    before = digests(folder)
    file = folder / "stagewright" / name
    old = file.read_text(encoding="utf-8") if file.exists() else None
    file.write_text((old or "") + text, encoding="utf-8")
    try:
        after = digests(folder)
    finally:
        file.unlink() if old is None else file.write_text(old, encoding="utf-8")
    return {kind for kind in before if before[kind] != after[kind]}


def test_a_kind_changes_with_its_own_module(copy: Path) -> None:
    assert "tarball" in changed(copy, "kinds/artifacts/tarball.py")
    assert changed(copy, "kinds/artifacts/tarball.py") == {"tarball"}


def test_all_kinds_change_with_what_they_all_use(copy: Path) -> None:
    assert changed(copy, "kinds/common/base.py") == set(by_kind())
    assert changed(copy, "root/root.py") == set(by_kind())


def test_kinds_change_with_the_scripts_that_run_inside_roots(copy: Path) -> None:
    assert {"binhost", "embedded", "stage1"} <= changed(copy, "portage/data/publish_binpkgs.py")


def test_kinds_change_with_what_they_import_however_far_away(copy: Path) -> None:
    packages = changed(copy, "portage/output.py")
    assert {"embedded", "livecd-stage1", "livecd-stage2"} <= packages
    assert not {"file", "tarball", "boots"} & packages


def test_kinds_change_with_the_data_of_their_packages(copy: Path) -> None:
    assert changed(copy, "media/templates/loader.conf") >= {"livecd-stage3"}
    assert changed(copy, "seeds/data/fetch-debsrc") >= {"bootstrap"}
    assert not changed(copy, "media/templates/loader.conf") & {"file", "tarball"}


@pytest.mark.parametrize(
    "name", ["cli/main.py", "ui/plain.py", "engine/scheduler.py", "store/store.py", "project/load.py", "errors.py"]
)
def test_no_kind_changes_with_how_work_is_arranged_and_shown(copy: Path, name: str) -> None:
    assert changed(copy, name) == set()


def test_no_kind_changes_with_what_running_leaves(copy: Path) -> None:
    folder = copy / "stagewright" / "kinds" / "__pycache__"
    folder.mkdir()
    try:
        assert changed(copy, "kinds/__pycache__/base.cpython-311.pyc.140234") == set()
    finally:
        folder.rmdir()


@pytest.mark.parametrize("kind", sorted(by_kind()))
def test_the_closure_holds_modules_with_a_say(kind: str) -> None:
    closure = _closure(module_of(kind))
    assert module_of(kind) in closure
    assert "stagewright.kinds.common.base" in closure
    assert not {name.split(".")[1] for name in closure} & NEUTRAL
