"""The cache of binary packages: which packages a build may use."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from gpkgs import package, put, tar_of

from stagewright.portage import gpkg
from stagewright.portage.binpkgs import BinaryPackages, Provenance
from stagewright.portage.pkgdir import Pkgdir
from stagewright.portage.repositories import Repository
from stagewright.portage.settings import PortageSettings
from stagewright.root.lent import LentFolder

PACKAGE = "app-misc/hello"


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def provenance(tmp_path: Path) -> Provenance:
    write(tmp_path / "repo" / PACKAGE / "hello-1.ebuild", "EAPI=8")
    write(tmp_path / "repo" / "app-misc" / "other" / "other-1.ebuild", "EAPI=8")
    write(tmp_path / "repo" / "eclass" / "some.eclass")
    write(tmp_path / "repo" / "profiles" / "base" / "make.defaults", 'CFLAGS="-O2"')
    write(tmp_path / "repo" / "profiles" / "default" / "parent", "../base\n")
    write(tmp_path / "repo" / "profiles" / "hardened" / "parent", "../default\n")
    write(tmp_path / "repo" / "profiles" / "hardened" / "make.defaults", 'CFLAGS="${CFLAGS} -fhardened"')
    write(tmp_path / "confdir" / "package.use" / "a", "app-misc/hello shout")
    write(tmp_path / "confdir" / "package.env", "app-misc/hello debug")
    settings = PortageSettings(profile="default", use=["shout"], make_conf={"CFLAGS": "-O2", "MAKEOPTS": "-j2"})
    return Provenance([Repository("repo", tmp_path / "repo")], settings, [tmp_path / "confdir"], "seed")


def changed(provenance: Provenance, **settings: object) -> Provenance:
    return replace(provenance, settings=provenance.settings.model_copy(update=settings))


def test_settings_that_portage_compares_do_not_change_the_fingerprint(provenance: Provenance, tmp_path: Path) -> None:
    before = provenance.fingerprint(PACKAGE)
    write(tmp_path / "confdir" / "package.use" / "a", "app-misc/hello -shout")
    write(tmp_path / "repo" / "app-misc" / "other" / "other-1.ebuild", "EAPI=8 # edited")
    assert replace(provenance).fingerprint(PACKAGE) == before
    assert changed(provenance, use=[]).fingerprint(PACKAGE) == before
    assert changed(provenance, make_conf={"CFLAGS": "-O2", "MAKEOPTS": "-j9"}).fingerprint(PACKAGE) == before


@pytest.mark.parametrize(
    "path",
    [
        f"repo/{PACKAGE}/hello-1.ebuild",
        f"repo/{PACKAGE}/files/new.patch",
        "repo/eclass/some.eclass",
        "repo/profiles/base/make.defaults",
        "repo/profiles/default/profile.bashrc",
        "confdir/bashrc",
    ],
)
def test_an_edited_file_changes_the_fingerprint(provenance: Provenance, tmp_path: Path, path: str) -> None:
    before = provenance.fingerprint(PACKAGE)
    write(tmp_path / path, "edited")
    assert replace(provenance).fingerprint(PACKAGE) != before


def test_flags_profile_and_compiler_change_the_fingerprint(provenance: Provenance) -> None:
    others = [
        changed(provenance, make_conf={"CFLAGS": "-O3"}),
        changed(provenance, profile="hardened"),
        changed(provenance, common_flags="-O3"),
        changed(provenance, chost="i686-pc-linux-gnu"),
        replace(provenance, toolchain="stage1"),
    ]
    prints = [provenance.fingerprint(PACKAGE), *(other.fingerprint(PACKAGE) for other in others)]
    assert len(set(prints)) == len(prints)


def build(folder: Path, provenance: Provenance, *origins: str, made: str = "app-misc/hello-1") -> BinaryPackages:
    """A build that is to make hello, in a store."""
    return BinaryPackages(folder.parent / "cache", Pkgdir(folder, made={made}), provenance, origins or ("project",))


def lent(binpkgs: BinaryPackages) -> list[Path]:
    """The packages that a build gets from the cache."""
    binpkgs.lend_cached()
    return sorted(binpkgs.pkgdir.lent.rglob("*.gpkg.tar"))


def test_only_builds_with_the_same_fingerprint_get_a_cached_package(provenance: Provenance, tmp_path: Path) -> None:
    first = build(tmp_path / "first", provenance)
    made = put(tmp_path / "first/own", "app-misc/hello-1", "hello")
    made.with_name("hello-1-2.gpkg.tar.partial").touch()
    made.with_name("hello-1-3.gpkg.tar").touch()
    first.cache_new()
    (taken,) = lent(build(tmp_path / "second", provenance))
    assert taken.relative_to(tmp_path / "second/lent") == Path(PACKAGE, "hello-1-1.gpkg.tar")
    assert taken.read_bytes() == made.read_bytes()
    assert lent(build(tmp_path / "third", replace(provenance, toolchain="stage1"))) == []


def test_another_project_gets_a_package_only_if_all_inputs_are_the_same(provenance: Provenance, tmp_path: Path) -> None:
    put(tmp_path / "first/own", "app-misc/hello-1", "hello")
    build(tmp_path / "first", provenance, "project", "inputs").cache_new()
    assert lent(build(tmp_path / "own", provenance, "project", "changed inputs"))
    assert lent(build(tmp_path / "same", provenance, "another project", "inputs"))
    assert lent(build(tmp_path / "other", provenance, "another project", "other inputs")) == []


def test_a_build_cannot_change_a_cached_package_by_its_own_file(provenance: Provenance, tmp_path: Path) -> None:
    made = put(tmp_path / "first/own", "app-misc/hello-1", "hello")
    first = build(tmp_path / "first", provenance)
    first.cache_new()
    (kept,) = (tmp_path / "cache").rglob("*.gpkg.tar")
    good = kept.read_bytes()
    with made.open("r+b") as stream:
        stream.seek(600)
        stream.write(b"POISON")
    assert kept.read_bytes() == good
    first.cache_new()
    assert kept.read_bytes() == good and [path.read_bytes() for path in first.pkgdir.packages()] == [good]


def timed(
    built: int, *, image: bytes = b"x", names: Sequence[str] = ("BUILD_ID", "BUILD_TIME", "CATEGORY", "PF")
) -> bytes:
    """A package that was made at a time, as Portage makes it: files of its metadata have any order."""
    said = {"CATEGORY": "app-misc", "PF": "hello-1", "BUILD_ID": "1", "BUILD_TIME": str(built)}
    metadata = tar_of({f"metadata/{name}": f"{said[name]}\n".encode() for name in names}, mtime=built)
    members = {"gpkg-1": b"", "metadata.tar": metadata, "image.tar": tar_of({"image/file": image})}
    lines = (gpkg.record(name, len(data), gpkg.digests_of(iter([data]))) for name, data in members.items())
    members["Manifest"] = "".join(lines).encode()
    return tar_of({f"hello-1-1/{name}": data for name, data in members.items()}, mtime=built + 1)


def test_a_package_does_not_depend_on_the_time_of_its_build(provenance: Provenance, tmp_path: Path) -> None:
    """Its BUILD_TIME differs from that of another package, so that Portage does not take one for the other."""
    epoch, found, times = 1_000_000, [], []
    other = timed(epoch + 700, names=("PF", "CATEGORY", "BUILD_TIME", "BUILD_ID"))
    for number, content in enumerate((timed(epoch + 5), other, timed(epoch - 9), timed(epoch, image=b"y"))):
        binpkgs = build(tmp_path / str(number), provenance)
        binpkgs = replace(binpkgs, pkgdir=replace(binpkgs.pkgdir, epoch=epoch))
        file = tmp_path / str(number) / "own/app-misc/hello/hello-1-1.gpkg.tar"
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        (kept,) = binpkgs.pkgdir.take()
        found.append(kept.read_bytes())
        whole = gpkg.read(kept)
        with tarfile.open(kept) as archive:
            assert {info.mtime for info in archive} == {epoch}
        assert {info.mtime for info, _ in whole._metadata(tmp_path)} == {epoch}
        times.append(int(whole.metadata(tmp_path)["BUILD_TIME"]))
        assert kept.stat().st_mode & 0o777 == 0o444
    assert found[0] == found[1] == found[2] != found[3]
    assert times[0] != times[3]
    assert all(epoch - gpkg.SPREAD < time <= epoch for time in times)


@pytest.mark.parametrize("folder", ["app-misc/other", "app-misc", "app-misc/hello/hello", "app-misc/hello-1"])
def test_a_package_in_another_folder_is_not_cached(provenance: Provenance, tmp_path: Path, folder: str) -> None:
    """It would be filed under the fingerprint of another ebuild, or of none."""
    binpkgs = build(tmp_path / "build", provenance)
    file = tmp_path / "build/own" / folder / "hello-1-1.gpkg.tar"
    file.parent.mkdir(parents=True)
    file.write_bytes(package("app-misc/hello-1"))
    binpkgs.cache_new()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("cpv", "name", "said"),
    [
        ("sys-apps/busybox-1", "busybox", "this build is not to make it"),
        ("app-misc/hello-1", "other", ""),
    ],
)
def test_a_package_that_the_build_is_not_to_make_is_not_cached(
    provenance: Provenance, tmp_path: Path, cpv: str, name: str, said: str
) -> None:
    binpkgs = build(tmp_path / "build", provenance)
    file = put(tmp_path / "build/own", cpv, name)
    if not said:  # a package with the name of another one
        target = file.parents[2] / "sys-apps/busybox/busybox-1-1.gpkg.tar"
        target.parent.mkdir(parents=True)
        file.rename(target)
        said = "it is app-misc/hello-1, build 1"
    binpkgs.cache_new()
    assert not (tmp_path / "cache").exists()
    notices: list[str] = []
    binpkgs.pkgdir.report(notices.append)
    assert len(notices) == 1 and said in notices[0]


def test_links_pipes_and_damaged_packages_are_not_cached(provenance: Provenance, tmp_path: Path) -> None:
    secret = put(tmp_path / "host", "app-misc/hello-1", "hello")
    folder = tmp_path / "build/own" / PACKAGE
    folder.mkdir(parents=True)
    (folder / "hello-1-1.gpkg.tar").symlink_to(secret)
    os.mkfifo(folder / "hello-1-2.gpkg.tar")
    good = package("app-misc/hello-1", 3)
    (folder / "hello-1-3.gpkg.tar").write_bytes(good[:2000])
    (folder / "hello-1-4.gpkg.tar").write_bytes(package("app-misc/hello-1", 4, manifest=b"DATA gpkg-1 0 SHA512 0\n"))
    (folder.parent / "linked").symlink_to(secret.parent)
    build(tmp_path / "build", provenance).cache_new()
    assert not (tmp_path / "cache").exists()


def test_a_copy_has_the_time_that_portage_compares_with_the_index(tmp_path: Path) -> None:
    folder = LentFolder(tmp_path)
    folder.own.folder.mkdir()
    (folder.own.folder / "file").write_bytes(b"x")
    os.utime(folder.own.folder / "file", (10**9, 10**9))
    with folder.copied("file") as copy:
        assert copy.stat().st_mtime == 10**9


def test_a_package_is_read_once_for_all_emerge_runs_of_a_build(provenance: Provenance, tmp_path: Path) -> None:
    binpkgs = build(tmp_path / "build", provenance)
    put(tmp_path / "build/own", "app-misc/hello-1", "hello")
    binpkgs.cache_new()
    (kept,) = (tmp_path / "cache").rglob("*.gpkg.tar")
    shutil.rmtree(tmp_path / "repo")
    assert [path.samefile(kept) for path in lent(binpkgs)] == [True]


def test_packages_with_kernel_modules_are_not_cached(provenance: Provenance, tmp_path: Path) -> None:
    write(tmp_path / "repo" / PACKAGE / "hello-1.ebuild", "EAPI=8\ninherit linux-mod-r1\n")
    binpkgs = build(tmp_path / "build", provenance)
    put(tmp_path / "build/own", "app-misc/hello-1", "hello")
    binpkgs.cache_new()
    assert not (tmp_path / "cache").exists()
    assert [path.name for path in binpkgs.pkgdir.packages()] == ["hello-1-1.gpkg.tar"], "the layer keeps it"


def test_the_first_of_two_builds_wins(provenance: Provenance, tmp_path: Path) -> None:
    made = [put(tmp_path / name / "own", "app-misc/hello-1", "hello", content=name.encode()) for name in ("one", "two")]
    for name in ("one", "two"):
        build(tmp_path / name, provenance).cache_new()
    kept = list((tmp_path / "cache").rglob("*.gpkg.tar"))
    assert [path.read_bytes() for path in kept] == [made[0].read_bytes()]
