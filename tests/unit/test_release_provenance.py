"""Provenance: the commit of a project, and a statement about an artifact."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagewright.release.artifact_digests import FileDigests
from stagewright.release.project_source import ProjectSource, project_source, public_address
from stagewright.release.provenance import Making, Origins, statement_of

MAKING = Making(
    project={"name": "demo", "version": "1", "source_date_epoch": 0},
    stage="iso",
    key="f" * 64,
    code="e" * 64,
    lineage=[
        {
            "id": "seed:debian",
            "kind": "bootstrap",
            "key": "0" * 64,
            "inputs": {},
            "pin": {"suite": "bookworm", "packages": ["dash=1"]},
        },
        {
            "id": "seed:stage3",
            "kind": "mirror",
            "key": "1" * 64,
            "inputs": {},
            "pin": {"file": "stage3.tar.xz", "sha512": "dd"},
        },
        {
            "id": "iso",
            "kind": "livecd-stage3",
            "key": "f" * 64,
            "inputs": {"root": "seed:stage3"},
            "repositories": {"gentoo": "git-tree:abcd"},
            "files": {"overlay": "ef"},
        },
    ],
)


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "work" / "project"
    folder.mkdir(parents=True)
    (folder / "stagewright.toml").write_text("format = 1\n", encoding="utf-8")
    git(folder, "init", "-q", ".")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "x")
    git(folder, "remote", "add", "origin", "https://me:secret@example.org/demo.git")
    return folder


def test_the_commit_of_a_project_is_named(project: Path) -> None:
    commit = git(project, "rev-parse", "HEAD")
    assert source(project) == ProjectSource(url="https://example.org/demo.git", commit=commit, changed=False)


def source(project: Path, *more: str) -> ProjectSource | None:
    return project_source(project, [project / "stagewright.toml", *(project / name for name in more)])


def test_files_that_the_build_reads_are_compared_with_the_commit(project: Path) -> None:
    (project / "overlay").mkdir()
    (project / "overlay/new").touch()
    (project / ".git/info/exclude").write_text("hidden\n", encoding="utf-8")
    (project / "hidden").touch()
    for more, changed in (((), False), (("overlay",), True), (("hidden",), True), (("../../elsewhere",), False)):
        found = source(project, *more)
        assert found and found.changed is changed, more
    (project / "stagewright.toml").write_text("format = 1 \n", encoding="utf-8")
    found = source(project)
    assert found and found.changed


def test_a_commit_is_not_part_of_keys_but_a_change_is() -> None:
    one, other = (Origins(source=ProjectSource(url=name, commit=name), lock="a", version=name) for name in "xy")
    assert one.for_key() == other.for_key()
    changed = Origins(source=ProjectSource(changed=True), lock="a")
    assert len({str(origins.for_key()) for origins in (one, changed, Origins(lock="a"), Origins())}) == 4


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: needs root")
def test_programs_that_a_repository_names_do_not_run_as_root(project: Path, open_folder: Path) -> None:
    """This program runs, as the owner, if the project has this owner; and not at all otherwise."""
    project = project.rename(open_folder / "project")
    spoor = open_folder / "spoor"
    spoor.mkdir()
    spoor.chmod(0o777)
    git(project, "config", "filter.x.clean", f"id -u >{spoor}/ran; cat")
    (project / ".git/info/attributes").write_text("* filter=x\n", encoding="utf-8")
    os.utime(project / "stagewright.toml", (0, 0))
    for path in [project / ".git", *(project / ".git").rglob("*")]:
        os.chown(path, 12345, 12345)
    assert source(project) is None, "the repository belongs to somebody else"
    assert not (spoor / "ran").exists()
    for path in [project, project / "stagewright.toml"]:
        os.chown(path, 12345, 12345)
    assert source(project)
    assert (spoor / "ran").read_text(encoding="utf-8") == "12345\n"


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://TOKEN@example.org/x.git", "https://example.org/x.git"),
        ("https://example.org/x.git?private_token=TOKEN#TOKEN", "https://example.org/x.git"),
        ("git@example.org:x/y.git", "ssh://example.org/x/y.git"),
        ("ssh://TOKEN@example.org:22/x", "ssh://example.org:22/x"),
        ("file:///home/me/x", ""),
        ("/home/me/x", ""),
        ("../x", ""),
    ],
)
def test_addresses_in_provenance_have_no_secrets(url: str, public: str) -> None:
    assert public_address(url) == public


def test_a_project_without_git_has_no_commit(tmp_path: Path) -> None:
    assert source(tmp_path) is None


def test_a_statement_names_everything_that_went_in() -> None:
    source = ProjectSource(url="https://example.org/demo.git", commit="a" * 40, changed=True)
    origins = Origins(
        source=source,
        lock="b" * 64,
        signers={"stage3": "FPR"},
        commits={"gentoo": "c" * 40},
        urls={"gentoo": "https://example.org/gentoo.git"},
    )
    digests = {"sha256": "aa", "sha512": "bb", "blake2b": "cc"}
    files = [FileDigests(name, 1, digests) for name in ("demo.iso.sha256", "demo.iso")]
    statement = statement_of(MAKING, files, origins)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert [one["name"] for one in statement["subject"]] == ["demo.iso", "demo.iso.sha256"]
    assert all(one["digest"] == {"sha256": "aa", "sha512": "bb"} for one in statement["subject"])
    found = {one["name"]: one for one in statement["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert found["project"]["digest"] == {"gitCommit": "a" * 40} and found["project"]["annotations"]["changed"]
    assert found["stagewright.lock"]["digest"] == {"sha256": "b" * 64}
    assert found["seed:stage3"]["digest"] == {"sha512": "dd"}
    assert found["seed:stage3"]["annotations"]["signer"] == "FPR"
    assert found["repository gentoo"]["digest"] == {"gitTree": "abcd", "gitCommit": "c" * 40}
    assert found["overlay"]["digest"] == {"stagewrightTree": "ef"}, "not a digest of the content alone"
    pin = base64.b64decode(found["seed:debian"]["content"])
    assert json.loads(pin) == {"packages": ["dash=1"], "suite": "bookworm"}
    assert found["seed:debian"]["digest"] == {"sha256": hashlib.sha256(pin).hexdigest()}
    assert all({"uri", "digest", "content"} & set(one) for one in found.values()), "in-toto: ResourceDescriptor"
