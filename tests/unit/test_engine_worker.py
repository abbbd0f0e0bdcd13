"""The worker program: what it imports, when it refuses, and what it makes of results and errors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipapp
from dataclasses import replace
from pathlib import Path

import pytest
from fake_workers import Site

import stagewright
from stagewright.engine.job import Job
from stagewright.errors import Exit, Reason
from stagewright.events import Event, NodeFinished, Status
from stagewright.interpreter import package_path, python
from stagewright.trees import make_read_only

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: namespaces need root")

PACKAGE = Path(stagewright.__file__).parent


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def run_worker(job: Job, folder: Path, package: str, mode: str = "build", *, orphan: bool = False) -> list[Event]:
    """Run the worker program without namespaces and return its events."""
    job.write(folder)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    words = python("stagewright.engine.worker", package, mode, str(folder))
    reader, writer = os.pipe()
    if orphan:
        os.close(writer)
    done = subprocess.run(words, stdin=reader, capture_output=True, check=False)
    os.close(reader)
    if not orphan:
        os.close(writer)
    return [Event.from_json(line.decode()) for line in done.stdout.splitlines()]


def error_of(events: list[Event]) -> tuple[str, str]:
    last = events[-1]
    assert isinstance(last, NodeFinished)
    assert last.status is Status.FAILED
    assert last.error
    return last.error["reason"], last.error["message"]


# where it imports from


def clone(folder: Path) -> Path:
    """A copy of the package that notes each process that imports it, by process id and file."""
    shutil.copytree(PACKAGE, folder / "stagewright", ignore=shutil.ignore_patterns("__pycache__"))
    note = f"import os\nopen({str(folder.parent / 'imports')!r}, 'a').write(f'{{os.getpid()}} {{__file__}}\\n')\n"
    kinds = folder / "stagewright" / "kinds" / "__init__.py"
    kinds.write_text(kinds.read_text(encoding="utf-8") + note, encoding="utf-8")
    return folder


def build(site: Site, words: list[str], **env: str) -> list[str]:
    """Build the project by a command, and return what the processes noted that imported the package."""
    (site.folder / "project" / "json.py").write_text("raise SystemExit('the wrong json')", encoding="utf-8")
    done = subprocess.run(
        [*words, "--store", str(site.store.path), "build", "first"],
        cwd=site.folder / "project",
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **env},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list((site.folder / "project" / "out").glob("*.tar.*"))
    return (site.folder / "imports").read_text(encoding="utf-8").splitlines()


@pytest.mark.real
def test_a_worker_imports_from_the_tree_of_the_engine(site: Site) -> None:
    """The working directory, which is that of a user's project, does not count."""
    tree = clone(site.folder / "clone")
    notes = build(site, [sys.executable, "-P", "-m", "stagewright"], PYTHONPATH=str(tree))
    assert {note.split()[1] for note in notes} == {str(tree / "stagewright" / "kinds" / "__init__.py")}
    assert len({note.split()[0] for note in notes}) == 2  # the engine, and the server that forks both workers


@pytest.mark.real
def test_a_worker_imports_from_the_zip_file_of_the_engine(site: Site) -> None:
    tree = clone(site.folder / "clone")
    archive = site.folder / "stagewright.pyz"
    zipapp.create_archive(tree, archive, main="stagewright.cli.main:main")
    shutil.rmtree(tree)
    path = os.pathsep.join(entry for entry in sys.path if "site-packages" in entry)
    notes = build(site, [sys.executable, str(archive)], PYTHONPATH=path)
    assert {note.split()[1] for note in notes} == {str(archive / "stagewright" / "kinds" / "__init__.py")}
    assert len({note.split()[0] for note in notes}) == 2


@pytest.mark.slow
def test_a_worker_of_another_tree_refuses(site: Site) -> None:
    reason, message = error_of(run_worker(*site.job("seed:one"), "/elsewhere"))
    assert reason == Reason.BUILD_FAILED
    assert "/elsewhere" in message
    assert package_path() in message


@pytest.mark.slow
def test_a_worker_refuses_if_the_code_changed_since_the_plan(site: Site) -> None:
    job, folder = site.job("seed:one")
    other = job.model_copy(update={"key": replace(job.key, data={**job.key.data, "code": "0" * 64})})
    reason, message = error_of(run_worker(other, folder, package_path()))
    assert reason == Reason.BUILD_FAILED
    assert "changed during the build" in message


# what it does


@pytest.mark.slow
@needs_root
def test_a_result_is_in_the_store_when_its_event_comes(site: Site) -> None:
    job, folder = site.job("seed:one")
    last = run_worker(job, folder, package_path())[-1]
    assert isinstance(last, NodeFinished)
    assert last.status is Status.BUILT
    assert last.size > 0
    assert (site.store.tree(job.node.yields, job.key.digest) / "usr" / "folder").exists()
    assert site.store.meta(job.node.yields, job.key.digest).node == "seed:one"


@pytest.mark.slow
def test_an_error_is_in_the_event_and_in_the_log(site: Site) -> None:
    job, folder = site.job("seed:one")
    shutil.rmtree(site.folder / "project" / "folder")
    events = run_worker(job, folder, package_path())
    error_of(events)
    assert "!!!" in job.log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_worker_without_an_engine_does_nothing(site: Site) -> None:
    job, folder = site.job("seed:one")
    assert run_worker(job, folder, package_path(), orphan=True) == []
    assert not site.store.has(job.node.yields, job.key.digest)


def test_files_of_artifacts_are_read_only_but_not_what_links_lead_to(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.touch()
    outside.chmod(0o600)
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").touch()
    (tree / "link").symlink_to(outside)
    (tree / "dangling").symlink_to("nowhere")
    make_read_only(tree)
    assert (tree / "sub" / "file").stat().st_mode & 0o777 == 0o444
    assert outside.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
@needs_root
def test_a_read_only_part_of_the_store_is_not_a_defect(site: Site) -> None:
    """As after an error of ext4, which then mounts itself read-only."""
    mounts = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    build = python("stagewright", "-C", str(site.folder / "project"), "--store", str(site.store.path), "build", "first")
    part = site.store.path / "projects"
    words = ["unshare", "--mount", "sh", "-c", mounts, "sh", str(part), *build]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.STORE
    assert "Traceback" not in done.stderr
    assert str(part) in done.stderr


# umask


UMASK_PROJECT = """
format = 1

[project]
name = "modes"
source_date_epoch = 2026-11-20

[seeds.it]
arch = "amd64"
file = "root"

[stages.live]
kind = "livecd-stage1"
root = "it"
root_overlay = ["over"]

[stages.packed]
kind = "tarball"
root = "live"
compression = "none"
"""


def packed(folder: Path, umask: str) -> tuple[bytes, str, int]:
    """Build with this umask: the tarball, the listing of ``/``, and the mode of a folder of the store."""
    store = folder / f"store{umask}"
    words = [*python("stagewright", "-C", str(folder / "p"), "--store", str(store), "build")]
    words = ["sh", "-c", f'umask {umask}; exec "$@"', "sh", *words]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (ball,) = (folder / "p" / "out").glob("*.tar")
    listing = subprocess.run(["tar", "-tvf", ball], capture_output=True, text=True, check=True).stdout
    return ball.read_bytes(), listing.splitlines()[0], (store / "artifacts").stat().st_mode & 0o777


@pytest.mark.real
def test_the_umask_of_the_caller_is_not_in_results(tmp_path: Path) -> None:
    """The mode of ``/`` is 0755, and a store is not writable for everyone."""
    project = tmp_path / "p"
    (project / "root" / "etc").mkdir(parents=True)
    (project / "over" / "srv").mkdir(parents=True)
    (project / "over" / "srv" / "file").write_text("x", encoding="utf-8")
    for path in (project / "root", project / "over", *project.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (project / "stagewright.toml").write_text(UMASK_PROJECT, encoding="utf-8")
    first, second = packed(tmp_path, "000"), packed(tmp_path, "077")
    assert first[1].startswith("drwxr-xr-x")
    assert first[2] == 0o755
    assert second == first
