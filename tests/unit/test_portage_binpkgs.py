"""The cache of binary packages: which packages a build may use."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from stagewright.portage.binpkgs import BinaryPackages, Provenance
from stagewright.portage.repositories import Repository
from stagewright.portage.settings import PortageSettings

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


def test_only_builds_with_the_same_fingerprint_get_a_cached_package(provenance: Provenance, tmp_path: Path) -> None:
    first = BinaryPackages(tmp_path / "cache", tmp_path / "first", provenance)
    made = write(tmp_path / "first" / PACKAGE / "hello-1-1.gpkg.tar", "binary")
    write(tmp_path / "first" / PACKAGE / "hello-1-2.gpkg.tar.partial", "half")
    first.cache_new()
    second = BinaryPackages(tmp_path / "cache", tmp_path / "second", provenance)
    second.link_cached()
    lent = tmp_path / "second" / PACKAGE / "hello-1-1.gpkg.tar"
    assert lent.samefile(made)
    assert [path.name for path in lent.parent.iterdir()] == [lent.name]
    other = BinaryPackages(tmp_path / "cache", tmp_path / "third", replace(provenance, toolchain="stage1"))
    other.link_cached()
    assert not (tmp_path / "third").exists()


def test_a_package_is_read_once_for_all_emerge_runs_of_a_build(provenance: Provenance, tmp_path: Path) -> None:
    binpkgs = BinaryPackages(tmp_path / "cache", tmp_path / "view", provenance)
    write(tmp_path / "view" / PACKAGE / "hello-1-1.gpkg.tar", "binary")
    binpkgs.cache_new()
    (kept,) = (tmp_path / "cache").rglob("*.gpkg.tar")
    shutil.rmtree(tmp_path / "repo")
    shutil.rmtree(tmp_path / "view")
    binpkgs.link_cached()
    assert (tmp_path / "view" / PACKAGE / "hello-1-1.gpkg.tar").samefile(kept)


def test_packages_with_kernel_modules_are_not_cached(provenance: Provenance, tmp_path: Path) -> None:
    write(tmp_path / "repo" / PACKAGE / "hello-1.ebuild", "EAPI=8\ninherit linux-mod-r1\n")
    write(tmp_path / "view" / PACKAGE / "hello-1-1.gpkg.tar", "binary")
    BinaryPackages(tmp_path / "cache", tmp_path / "view", provenance).cache_new()
    assert not (tmp_path / "cache").exists()


def test_the_first_of_two_builds_wins(provenance: Provenance, tmp_path: Path) -> None:
    for name in ("first", "second"):
        write(tmp_path / name / PACKAGE / "hello-1-1.gpkg.tar", name)
        BinaryPackages(tmp_path / "cache", tmp_path / name, provenance).cache_new()
    kept = list((tmp_path / "cache").rglob("*.gpkg.tar"))
    assert [path.read_text(encoding="utf-8") for path in kept] == ["first"]
