"""Distfiles that builds share, and mirrors of distfiles."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.portage.distfiles import FLAT_MIRROR, PROJECT, SHARED, BuildDistfiles
from stagewright.portage.distfiles_mirror import path_in_mirror, write_mirror
from stagewright.portage.manifests import Manifests


@pytest.fixture
def distfiles(tmp_path: Path) -> BuildDistfiles:
    for name in ("own", "shared", "nas/ab", "nas/cd"):
        (tmp_path / name).mkdir(parents=True)
    return BuildDistfiles(tmp_path / "shared", tmp_path / "own", "mine", ("http://one", "http://two"), tmp_path / "nas")


def manifests(folder: Path, *names: str) -> Manifests:
    """The Manifest of a package that records files whose content is their name."""
    lines = [f"DIST {name} {len(name)} BLAKE2B {hashlib.blake2b(name.encode()).hexdigest()}" for name in names]
    (folder / "repo/a/p-x").mkdir(parents=True, exist_ok=True)
    (folder / "repo/a/p-x/Manifest").write_text("\n".join([*lines, "EBUILD p.ebuild 1", "DIST"]), encoding="utf-8")
    return Manifests([folder / "none", folder / "repo"], {"a/p-x-1.0-r1", "a/other-2"})


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.is_file()}


def test_only_downloaded_files_that_match_a_manifest_are_shared(distfiles: BuildDistfiles, tmp_path: Path) -> None:
    own, shared = distfiles.own, distfiles.shared
    (shared / "old").write_text("old", encoding="utf-8")
    (shared / "wrong").write_text("cut", encoding="utf-8")
    (own / "old").symlink_to(f"{SHARED}/old")
    names = ("new", "wrong", ".new.portage_lockfile", "part.__download__", "bad._checksum_failure_.x1", "unlisted")
    for name in names:
        (own / name).write_text(name, encoding="utf-8")
    (own / "forged").write_text("forger", encoding="utf-8")
    (tmp_path / "secret").write_text("linked", encoding="utf-8")
    (own / "linked").symlink_to(tmp_path / "secret")
    os.mkfifo(own / "pipe")
    listed = manifests(tmp_path, "old", "new", "wrong", "forged", "linked", "pipe")
    distfiles.share(listed)
    distfiles.share(listed)
    assert contents(shared) == {"old": "old", "new": "new", "wrong": "cut"}
    assert contents(shared / ".projects/mine") == {"wrong": "wrong"}
    assert distfiles.paths() == ["new", "old", ".projects/mine/wrong"]


def test_a_project_does_not_replace_a_file_of_another_one(distfiles: BuildDistfiles, tmp_path: Path) -> None:
    other = replace(distfiles, own=tmp_path / "other", project="other", records={})
    other.own.mkdir()
    (distfiles.own / "one").write_text("one", encoding="utf-8")
    distfiles.share(manifests(tmp_path, "one"))
    (other.own / "one").write_text("different", encoding="utf-8")
    digest = hashlib.blake2b(b"different").hexdigest()
    manifests(tmp_path)
    (tmp_path / "repo/a/p-x/Manifest").write_text(f"DIST one 9 BLAKE2B {digest}\n", encoding="utf-8")
    other.share(Manifests([tmp_path / "repo"], {"a/p-x-1.0-r1"}))
    assert contents(distfiles.shared) == {"one": "one"}
    assert contents(distfiles.shared / ".projects/other") == {"one": "different"}
    assert (distfiles.paths(), other.paths()) == (["one"], [".projects/other/one"])
    assert other.variables["PORTAGE_RO_DISTDIRS"].split()[:2] == [PROJECT, SHARED]


def test_a_link_of_a_build_leads_to_no_other_file(distfiles: BuildDistfiles) -> None:
    for name, target in (("a", f"{SHARED}/../../../etc/shadow"), ("b", f"{SHARED}/a"), ("c", "/etc/shadow")):
        (distfiles.own / name).symlink_to(target)
    assert distfiles.paths() == []


def test_a_shared_file_stays_whatever_the_build_does_with_its_own(distfiles: BuildDistfiles, tmp_path: Path) -> None:
    (distfiles.own / "one").write_text("one", encoding="utf-8")
    distfiles.share(manifests(tmp_path, "one"))
    (distfiles.own / "one").write_text("two", encoding="utf-8")
    distfiles.share(manifests(tmp_path, "one"))
    (distfiles.own / "one").rename(distfiles.own / "one._checksum_failure_.abc")
    distfiles.share(manifests(tmp_path, "one"))
    assert contents(distfiles.shared) == {"one": "one"}


def test_a_mirror_folder_is_mounted_as_links_by_file_name(distfiles: BuildDistfiles) -> None:
    folder = distfiles.folder
    assert folder
    (folder / "ab/one").write_text("one", encoding="utf-8")
    (folder / "two").write_text("two", encoding="utf-8")
    (folder / "layout.conf").touch()
    binds = {bind.target: bind.source for bind in distfiles.binds()}
    flat = binds[FLAT_MIRROR]
    assert {path.name: str(path.readlink()) for path in flat.iterdir()} == {
        "one": "/var/cache/distfiles.folder/ab/one",
        "two": "/var/cache/distfiles.folder/two",
    }
    (distfiles.own / "one").symlink_to(f"{FLAT_MIRROR}/one")
    distfiles.share(manifests(folder.parent, "one"))
    distfiles.copy_from_mirror()
    assert (distfiles.shared / "one").read_text(encoding="utf-8") == "one"
    assert not any(bind.writable for bind in distfiles.binds())


def test_the_variables_of_make_conf(distfiles: BuildDistfiles) -> None:
    assert distfiles.variables["GENTOO_MIRRORS"] == "http://one http://two"
    assert FLAT_MIRROR in distfiles.variables["PORTAGE_RO_DISTDIRS"].split()
    assert "GENTOO_MIRRORS" not in BuildDistfiles(distfiles.shared, distfiles.own, "p").variables


def test_a_missing_mirror_folder_is_reported(distfiles: BuildDistfiles) -> None:
    with pytest.raises(StagewrightError) as caught:
        BuildDistfiles(distfiles.shared, distfiles.own, "p", (), distfiles.shared / "none").binds()
    assert caught.value.reason is Reason.MISSING_FILE and caught.value.hint


def test_a_mirror_holds_exactly_the_requested_files(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for name in ("one", "two"):
        (source / name).write_text(name, encoding="utf-8")
    (source / "two").rename(source / "inner")
    (source / ".projects/p").mkdir(parents=True)
    (source / "inner").rename(source / ".projects/p/two")
    assert write_mirror(out, ["one", ".projects/p/two"], source) == []
    assert (out / "distfiles" / path_in_mirror("one")).read_text(encoding="utf-8") == "one"
    (source / "one").write_text("another", encoding="utf-8")
    (gone,) = write_mirror(out, ["one"], source)
    assert gone.name == "two" and not gone.exists()
    assert (out / "distfiles" / path_in_mirror("one")).read_text(encoding="utf-8") == "another"


def test_the_layout_is_that_of_glep_75() -> None:
    """The example of GLEP 75: filename-hash BLAKE2B of foo-1.tar.gz, 8 bits."""
    assert path_in_mirror("foo-1.tar.gz") == f"{hashlib.blake2b(b'foo-1.tar.gz').digest()[0]:02x}/foo-1.tar.gz"


@pytest.mark.parametrize("layout", [None, "[structure]\n0=flat\n"])
def test_a_folder_other_than_a_mirror_stays_unchanged(tmp_path: Path, layout: str | None) -> None:
    (tmp_path / "distfiles").mkdir()
    (tmp_path / "precious").touch()
    if layout:
        (tmp_path / "distfiles/layout.conf").write_text(layout, encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        write_mirror(tmp_path, [], tmp_path)
    assert caught.value.reason is Reason.INVALID_VALUE
    assert (tmp_path / "precious").exists()
