"""The requirements of a build: what is checked for which nodes, and what is said of what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagewright.engine import doctor
from stagewright.engine.doctor import examine, examine_nodes, missing_of, require
from stagewright.errors import Place, ProblemsError, Reason, StagewrightError
from stagewright.graph.node import Node, Yields
from stagewright.kinds.common.base import Stage
from stagewright.kinds.registry import by_kind, kinds
from stagewright.project.load import load
from stagewright.project.model import Repo
from stagewright.store.store import Store

DEMO = Path(__file__).parents[2] / "examples/demo"


class Lacking(Stage):
    """A kind whose settings name something that is not on this machine."""

    key_path: str = "/nowhere"

    def missing(self) -> Iterator[StagewrightError]:
        yield StagewrightError(Reason.MISSING_FILE, f"{self.key_path}: not found", hint="create it")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def node(name: str, kind: str) -> Node:
    return Node(name, kind, Yields.LAYER, settings=Lacking(), place=Place(Path("stagewright.toml"), 7))


@pytest.mark.parametrize(("name", "kind"), [("system", "stage4"), ("seed:base", "file"), ("test:it", "rebuilds")])
def test_what_settings_name_is_asked_of_stages_seeds_and_tests(store: Store, name: str, kind: str) -> None:
    (problem,) = missing_of(node(name, kind))
    assert problem.place == Place(Path("stagewright.toml"), 7)
    with pytest.raises(ProblemsError) as caught:
        require(store, [node(name, kind)])
    assert problem.message in [one.message for one in caught.value.problems]
    failed = [check for check in examine_nodes(store, [node(name, kind)]) if check.name == name]
    assert [(check.fine, check.found, check.remedy) for check in failed] == [(False, problem.message, "create it")]


def test_every_entry_of_a_project_is_asked(tmp_path: Path) -> None:
    """A node that no entry stands for, such as a squashfs, has settings too."""
    from stagewright.engine.session import Session

    session = Session(load(DEMO, kinds()), tmp_path / "store")
    assert all(isinstance(one.settings, Stage) for one in session.graph)
    assert {"rights", "disk", "bwrap"} <= {check.name for check in session.doctor()}


def test_the_programs_of_kinds_repositories_and_nodes_are_checked(store: Store) -> None:
    repos = [Repo.model_validate({"git": "https://example.org/x.git", "verify": True}), Repo(path="repo")]
    names = {check.name for check in examine(store, ["tarball"], ["implantisomd5", "zstd"], repos)}
    tools = {tool.program for tool in by_kind()["tarball"].required_tools}
    assert {"unshare", "setpriv", "mount", "sync", "git", "gpg", "implantisomd5", "tar", "zstd", *tools} <= names
    assert not {"xz", "bzip2", "cat"} & names, "the node names the compressor that it needs"


def test_a_program_that_is_missing_is_named_with_its_packages(store: Store) -> None:
    (check,) = doctor._tools([doctor.Tool("no-such-program", "a-package", "cat/package")])
    assert (check.fine, check.reason) == (False, Reason.MISSING_TOOL)
    assert check.remedy == "apt install a-package, or emerge cat/package"
    assert check.problem().hint == check.remedy


def test_containers_and_machines_are_checked_only_for_kinds_that_start_them(store: Store) -> None:
    def names(kind: str) -> set[str]:
        return {check.name.partition(" for ")[0] for check in examine(store, [kind], ["qemu-system-x86_64"])}

    assert "cgroup2" in names("starts")
    assert "cgroup2" not in names("boots")
    assert "UEFI firmware" not in names("starts")
    if shutil.which("qemu-system-x86_64"):
        assert "UEFI firmware" in names("boots")


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: becoming nobody needs root")
def test_a_user_without_rights_is_reported() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        store = Store(Path(folder) / "store")
        os.seteuid(65534)
        try:
            checks = {check.name: check for check in examine(store, ["tarball"])}
        finally:
            os.seteuid(0)
    assert not checks["rights"].fine
    assert checks["rights"].reason is Reason.NOT_ROOT
    assert "namespaces" not in checks


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: mounting needs root")
def test_a_disk_that_is_nearly_full_is_reported(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    script = 'mount -t tmpfs -o size=8m none "$1" && exec "$2" -m stagewright --store "$1/store" doctor'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", tmp_path / "small", sys.executable]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "MISSING disk: 0.0 GiB free" in done.stdout
    assert "stagewright gc" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: mounting needs root")
def test_a_store_on_an_overlay_is_reported(tmp_path: Path) -> None:
    """An overlay on an overlay is what a store inside of a container's own file system would be."""
    for name in ("lower", "upper", "work", "root"):
        (tmp_path / name).mkdir()
    script = (
        'mount -t overlay none -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$1/root" && '
        'exec "$2" -m stagewright --store "$1/root/store" doctor'
    )
    words = ["unshare", "--mount", "sh", "-c", script, "sh", tmp_path, sys.executable]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "wrong fs type" in done.stderr:
        pytest.skip("NOT TESTED: the folder of the tests is on an overlay")
    assert done.returncode == 3, done.stderr
    assert "MISSING overlayfs: " in done.stdout
