"""Snapshots of a real git repository, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.signing import Signer

from stagewright.dropin.snapshot import Snapshots
from stagewright.errors import Reason, StagewrightError

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("git", "sqfstar", "unsquashfs", "gpg"))),
    reason="NOT TESTED: needs git, squashfs-tools and gpg",
)

WHO = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=stable"]


def git(*words: str | Path, cwd: Path, **env: str) -> str:
    return subprocess.check_output(["git", *WHO, *words], cwd=cwd, text=True, env={**os.environ, **env}).strip()


def commit(folder: Path, text: str, *more: str, **env: str) -> str:
    """One more commit in a repository with one file; returns its name."""
    folder.mkdir(exist_ok=True)
    if not (folder / ".git").exists():
        git("init", "-q", cwd=folder)
    (folder / "file").write_text(text, encoding="utf-8")
    git("add", "file", cwd=folder)
    git("commit", "-q", "-m", text, *more, cwd=folder, **env)
    return git("rev-parse", "HEAD", cwd=folder)


class Place:
    """A storedir with a bare clone of an upstream repository."""

    def __init__(self, folder: Path, key: Path | None = None) -> None:
        self.upstream = folder / "upstream"
        self.first = commit(self.upstream, "one")
        (folder / "repos").mkdir()
        git("clone", "-q", "--bare", self.upstream, folder / "repos/gentoo.git", cwd=folder)
        self.said: list[str] = []
        self.snapshots = Snapshots(folder, "gentoo", folder / "repos", key, self.said.append)

    def text(self, snapshot: Path) -> str:
        return subprocess.check_output(["unsquashfs", "-cat", snapshot, "file"], text=True)


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[Signer]:
    made = Signer.make(tmp_path / "gpg")
    yield made
    made.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_stable_follows_where_it_was_cloned_from(place: Place, tmp_path: Path) -> None:
    second = commit(place.upstream, "two")
    made = place.snapshots.make("stable")
    assert made == tmp_path / "snapshots" / f"gentoo-{second}.sqfs"
    assert place.text(made) == "two"
    assert git("rev-parse", "HEAD", cwd=place.snapshots.gitdir) == second
    line = next(line for line in place.said if "tree snapshot" in line)
    assert line == f"Creating gentoo tree snapshot {second} from {tmp_path}/repos/gentoo.git"


def test_the_history_of_a_whole_clone_stays(place: Place) -> None:
    commit(place.upstream, "two")
    place.snapshots.make("stable")
    assert place.text(place.snapshots.make(place.first)) == "one"


def test_offline_takes_what_is_there(place: Place) -> None:
    commit(place.upstream, "two")
    assert place.text(place.snapshots.make("stable", offline=True)) == "one"


def test_a_commit_gives_the_same_bytes_and_is_made_once(place: Place) -> None:
    made = place.snapshots.make(place.first)
    content, inode = made.read_bytes(), made.stat().st_ino
    assert place.snapshots.make(place.first).stat().st_ino == inode
    made.unlink()
    assert place.snapshots.make(place.first).read_bytes() == content


def test_the_root_of_a_snapshot_has_the_time_of_its_commit(place: Place) -> None:
    """The archive has no entry for it, so that it would have the time of the build."""
    commit(place.upstream, "two", GIT_COMMITTER_DATE="2020-01-02T03:04:05Z")
    listed = subprocess.check_output(["unsquashfs", "-UTC", "-lls", place.snapshots.make("stable")], text=True)
    assert {tuple(line.split()[3:5]) for line in listed.splitlines() if "squashfs-root" in line} == {
        ("2020-01-02", "03:04")
    }


def test_the_snapshot_of_a_branch_is_made_again(place: Place) -> None:
    first = place.snapshots.make("HEAD")
    assert (place.text(first), first.name) == ("one", "gentoo-HEAD.sqfs")
    commit(place.upstream, "two")
    place.snapshots.make("stable")
    assert place.text(place.snapshots.make("HEAD")) == "two"


@pytest.mark.parametrize("treeish", ["nothing", "--output=x", "0" * 40])
def test_a_treeish_that_is_not_there(place: Place, treeish: str, tmp_path: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        place.snapshots.make(treeish)
    assert caught.value.reason is Reason.UNKNOWN_NAME
    assert not (tmp_path / "snapshots").exists()


def test_without_a_repository(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, "gentoo", tmp_path / "repos", None, lambda _: None)
    for treeish in ("stable", "0" * 40):
        with pytest.raises(StagewrightError) as caught:
            snapshots.make(treeish, offline=True)
        assert caught.value.reason is Reason.MISSING_FILE


def test_an_upstream_that_is_gone(place: Place) -> None:
    shutil.rmtree(place.upstream)
    with pytest.raises(StagewrightError) as caught:
        place.snapshots.make("stable")
    assert caught.value.reason is Reason.FETCH_FAILED


def test_only_what_the_key_signed(tmp_path: Path, signer: Signer) -> None:
    place = Place(tmp_path, signer.public(tmp_path / "key.asc"))
    with pytest.raises(StagewrightError) as caught:
        place.snapshots.make("stable")
    assert caught.value.reason is Reason.NO_SIGNATURE
    signed = commit(place.upstream, "signed", f"-S{signer.fingerprint}", GNUPGHOME=str(signer.home))
    assert place.text(place.snapshots.make("stable")) == "signed"
    commit(place.upstream, "not signed")
    with pytest.raises(StagewrightError):
        place.snapshots.make("stable")
    assert git("rev-parse", "HEAD", cwd=place.snapshots.gitdir) == signed, "HEAD stays at what was good"
