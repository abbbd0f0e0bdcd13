"""Commands that only look need no store that they can write to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from stagewright.cli.commands import Commands
from stagewright.cli.main import group, run
from stagewright.dropin import project as specs
from stagewright.errors import Exit, Reason, StagewrightError
from stagewright.events import RunStarted
from stagewright.graph.node import Yields
from stagewright.project.model import folder_digest
from stagewright.release.manifest import FORMAT
from stagewright.repos.repository_cache import RepositoryCache
from stagewright.repos.snapshots import tree_of
from stagewright.store.reading import ReadOnlyStore
from stagewright.store.store import Store

PROJECT = """
format = 1
[project]
name = "small"
version = "1"
source_date_epoch = 2026-11-20
[seeds.base]
file = "seed"
[stages.pack]
kind = "tarball"
root = "base"
"""

EXAMPLE = Path(__file__).parents[2] / "examples" / "catalyst" / "specs" / "stage1-live.spec"

LOOKS = {
    "plan": [],
    "graph": [],
    "why": ["pack"],
    "summary": ["pack"],
    "check": [],
    "log": ["pack"],
    "status": [],
    "history": [],
    "report": ["-o", "-"],
    "test": ["--list"],
    "boot": ["pack"],
    "doctor": [],
    "diff": ["old.manifest.json", "new.manifest.json"],
    "catalyst plan": ["stage1.spec"],
}
"""Commands that read the store, with arguments."""

LOOKS_TOO = {"test", "catalyst log", "netboot serve", "web"}
"""Others of this kind. They need results in the store, which `test` builds if its user can write to it, or serve."""

WRITES = {
    "build": [],
    "shell": ["base"],
    "bisect": ["pack", "--good", "stagewright.toml", "--bad", "stagewright.toml"],
    "rebuild": ["pack"],
    "fetch": [],
    "clean": ["-n"],
    "gc": ["-n"],
    "verify": ["--store", "--keep"],
    "catalyst build": ["stage1.spec"],
    "catalyst shell": ["stage1-live", "stage1.spec"],
    "catalyst convert": ["stage1.spec", "-o", "converted"],
}
"""Commands that need a store of their user. These hold results, too, so that no collection removes them meanwhile."""

WRITES_TOO = {"update", "publish", "store pull", "store push", "worker"}
"""Others of this kind, which need a network, a remote store, a farm or a release for it."""

WITHOUT_STORE = {
    *("firmware", "schema", "kinds", "keys", "seeds", "media check", "netboot from-iso", "reproduce"),
    *("catalyst check", "catalyst graph", "catalyst keys", "completion", "help", "init", "version"),
    *(f"store {name}" for name in ("du", "gc", "ls", "pin", "verify")),
    *(f"farm {name}" for name in ("certs", "machines", "scheduler")),
}
"""Commands that do not use the store that is named, or that make their own."""

CALLS = """
import contextlib, importlib.resources, io, json, os, pkgutil, sys
import stagewright
folder, store, user, calls = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
from stagewright.cli.main import run
for module in pkgutil.walk_packages(stagewright.__path__, "stagewright."):
    if not module.name.endswith("__main__"):
        with contextlib.suppress(ImportError):  # an extra that is not installed
            importlib.import_module(module.name)
importlib.resources.files(stagewright)
b"-".decode("unicode-escape") # jinja2's, which Python imports when it is used
os.chdir(folder)
if user:
    os.setgroups([]); os.setgid(user); os.setuid(user)
results = {}
for name, words in calls.items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["--store", store, *name.split(), *words])
    results[name] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(results))
"""
"""A program that runs commands as a user and prints exit codes and output as JSON. It imports all modules before."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that all users can read, with a project."""
    made = Path(tempfile.mkdtemp(prefix="stagewright-test-", dir="/var/tmp"))
    made.chmod(0o755)
    (made / "project" / "seed" / "etc").mkdir(parents=True)
    (made / "project" / "stagewright.toml").write_text(PROJECT, encoding="utf-8")
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("words", [["plan"], ["graph", "--as", "text"], ["plan", "--json"]], ids=" ".join)
def test_looking_creates_no_store(folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    store = folder / "store"
    assert run(["-C", str(folder / "project"), "--store", str(store), *words]) == Exit.OK
    assert "pack" in capsys.readouterr().out
    assert not store.exists()


def test_what_is_missing_is_reported_without_a_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["log", "pack"], ["boot", "pack"]):
        assert run(["-C", str(folder / "project"), "--store", str(folder / "none"), *words]) == Exit.INVALID
        assert "stagewright build pack" in capsys.readouterr().err
    assert not (folder / "none").exists()


def test_every_command_is_known_to_read_or_to_write() -> None:
    found = set()
    for name in group.modules:
        command = group.get_command(click.Context(group), name)
        others = command.modules if isinstance(command, Commands) else [""]
        found |= {f"{name} {other}".strip() for other in others}
    assert found == {*LOOKS, *LOOKS_TOO, *WRITES, *WRITES_TOO, *WITHOUT_STORE}


@pytest.fixture
def used(folder: Path) -> Store:
    """A store that a build has used, and files for the commands in the folder of the project."""
    project = folder / "project"
    shutil.copy(EXAMPLE, project / "stage1.spec")
    for name in ("old", "new"):
        manifest = {"format": FORMAT, "name": "pack", "key": "0" * 64, "packages": []}
        (project / f"{name}.manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    store = Store(folder / "store")
    log = store.log_folder(f"small-{folder_digest(project)}", "pack") / "20261120-000000.log"
    log.parent.mkdir(parents=True)
    log.write_text("packed\n", encoding="utf-8")
    started = RunStarted(run="20261120-000000-0000", project="small", nodes=["pack"], cached=0, folder=str(project))
    (store.path / "events" / f"{started.run}.jsonl").write_text(started.to_json() + "\n", encoding="utf-8")
    return store


def files_of(store: Store) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in store.path.rglob("*"))


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user, and to mount")
@pytest.mark.parametrize("closed", ["another user", "a read-only file system"])
def test_commands_that_look_need_no_store_that_can_be_written(folder: Path, used: Store, closed: str) -> None:
    """The logs and artifacts of another user are there, the layers are closed. Nothing in the store changes."""
    user = 65534 if closed == "another user" else 0
    calls = json.dumps({**LOOKS, **WRITES})
    words = [sys.executable, "-c", CALLS, str(folder / "project"), str(used.path), str(user), calls]
    if not user:
        mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
        words = ["unshare", "--mount", "sh", "-c", mount, str(used.path), *words]
    before = files_of(used)
    env = {"HOME": "/", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    found = {name: (code, out, err) for name, (code, out, err) in json.loads(done.stdout).items()}
    assert files_of(used) == before
    codes = {name: code for name, (code, _, _) in found.items() if name in LOOKS}
    assert codes == {**dict.fromkeys(LOOKS, Exit.OK), "boot": Exit.INVALID, "doctor": codes["doctor"]}, found
    assert found["log"][1] == "packed\n"
    assert "stagewright build pack" in found["boot"][2]
    for name in ("plan", "graph"):
        assert "pack" in found[name][1]
    assert "MISSING store: cannot write to the store" in found["doctor"][1]
    assert "bwrap" in found["doctor"][1]
    for name in WRITES:
        code, _, err = found[name]
        assert (code, "cannot write to the store" in err) == (Exit.HOST, True), (name, found[name])


USED, CLOSED, NEW = (["--store", name, "-C", "project"] for name in ("store", "closed", "new"))
PERMISSIONS = {
    "a closed store is not read": ([*CLOSED, "history"], Exit.HOST, "cannot read the store", "run as root"),
    "a closed store is not written": ([*CLOSED, "fetch"], Exit.HOST, "cannot write to the store", "run as root"),
    "a closed result": ([*USED, "diff", "base", "pack"], Exit.INVALID, "base: not built", "run as root"),
    "a new store": ([*NEW, "build"], Exit.HOST, "cannot write to the store", "run as root"),
    "a closed project": (["-C", "secret", "check"], Exit.INVALID, "is not readable", "run as root, who owns secret"),
    "a closed project file": (["-C", "hidden", "check"], Exit.INVALID, "stagewright.toml: cannot be read", "who owns"),
    "a closed folder in a project": (["-C", "part", "plan"], Exit.INVALID, "part/seed/etc: Permission denied", "root"),
    "a report": (["--store", "store", "report"], Exit.INVALID, "report-", "run as root, who owns this folder"),
    "a new project": (["init", "stage4", "mine"], Exit.INVALID, "mine: Permission denied", "run as root"),
    "pins": ([*NEW, "update"], Exit.INVALID, "cannot write to", "run as root"),
}
"""Actions that another user must not do: arguments, exit code, and words of the error and its hint."""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_what_another_user_must_not_do_is_an_error_with_a_remedy(folder: Path, used: Store) -> None:
    shutil.copytree(used.path, folder / "closed")
    for name in ("secret", "hidden", "part"):
        shutil.copytree(folder / "project", folder / name)
    for name in ("closed", "secret", "hidden/stagewright.toml", "part/seed/etc"):
        (folder / name).chmod(0o700 if (folder / name).is_dir() else 0o600)
    program = CALLS.replace('["--store", store, *name.split(), *words]', "words")
    calls = json.dumps({name: words for name, (words, *_) in PERMISSIONS.items()})
    command = [sys.executable, "-c", program, str(folder), str(used.path), "65534", calls]
    env = {"HOME": "/", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name, (_, code, message, hint) in PERMISSIONS.items():
        got, _, err = found[name]
        error, _, remedy = err.partition("hint:")
        assert (got, message in error, hint in remedy) == (code, True, True), (name, found[name])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_plan_from_a_closed_store_says_that_it_sees_little(folder: Path, used: Store) -> None:
    calls = json.dumps({"plan": [], "why": ["pack"]})
    command = [sys.executable, "-c", CALLS, str(folder / "project"), str(used.path), "65534", calls]
    env = {"HOME": "/", "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    for code, out, _ in json.loads(done.stdout).values():
        assert (code, "open to root alone" in out, "never built" in out) == (Exit.OK, True, False)


def test_results_are_not_built_for_a_folder_that_cannot_have_them(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is looked at before anything is built, because that can take hours."""
    (folder / "project" / "out").write_text("", encoding="utf-8")
    assert run(["-C", str(folder / "project"), "--store", str(folder / "store"), "build"]) == Exit.INVALID
    said = capsys.readouterr()
    assert "the folder of results" in said.err
    assert "is in the way" in said.err
    assert not list((folder / "store" / "layers").iterdir())


def test_a_store_for_reading_is_not_changed(folder: Path) -> None:
    store = ReadOnlyStore(folder / "store")
    assert not store.has(Yields.ARTIFACT, "a" * 64)
    assert store.memory("digests.db") is None
    with pytest.raises(StagewrightError) as caught, store.scratch("test"):
        pass
    assert caught.value.reason is Reason.NOT_ROOT
    assert not store.path.exists()
    Store(folder / "store")
    assert ReadOnlyStore(folder / "store").memory("digests.db") == folder / "store" / "cache" / "digests.db"
    (folder / "store" / "format").write_text("99\n", encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        ReadOnlyStore(folder / "store")
    assert caught.value.reason is Reason.STORE_FORMAT


def test_a_snapshot_is_not_unpacked_into_a_store_of_another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If its owner has unpacked it, and lets others read it, it is used."""

    def refuse(path: Path) -> None:
        raise StagewrightError(Reason.NOT_ROOT, f"cannot write to the store {path}")

    monkeypatch.setattr(specs, "Store", refuse)
    snapshot, store = folder / "gentoo-1.sqfs", ReadOnlyStore(folder / "store")
    snapshot.write_bytes(b"x")
    assert specs._unpacked(snapshot, store) is None
    unpacked = RepositoryCache.of(store.path).path(tree_of(snapshot))
    unpacked.mkdir(parents=True)
    assert specs._unpacked(snapshot, store) == unpacked
