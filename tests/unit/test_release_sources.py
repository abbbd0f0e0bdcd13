"""Source files and texts of licences of a release."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from stagewright.errors import ProblemsError
from stagewright.portage.ebuild_facts import SourceFile
from stagewright.release.bill import Bill, Component
from stagewright.release.license_texts import copy_license_texts, license_names
from stagewright.release.sources import SourcePlaces, collect_sources

TARBALL = b"the sources"


def package(
    name: str, *, merged: bool = True, license_text: str = "MIT", files: tuple[str, ...] = ("a-1.tar",)
) -> Component:
    digest = hashlib.sha512(TARBALL).hexdigest()
    sources = tuple(SourceFile(name=file, size=len(TARBALL), digests={"SHA512": digest}) for file in files)
    facts = {"license": license_text, "repository": "main", "sources": sources, "merged": merged}
    return Component.model_validate({"kind": "ebuild", "name": name, "version": "1", **facts})


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A repository with one package and licences, and a folder of source files."""
    texts = {
        "repo/app-misc/a/a-1.ebuild": "EAPI=8\n",
        "repo/app-misc/a/files/fix.patch": "patch\n",
        "repo/eclass/some.eclass": "#\n",
        "patches/app-misc/a/own.patch": "patch\n",
        "repo/licenses/MIT": "text of MIT\n",
        "other/licenses/MIT": "another text\n",
        "other/licenses/own": "text of own\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "distfiles").mkdir()
    (tmp_path / "distfiles/a-1.tar").write_bytes(TARBALL)
    return tmp_path


def collected(
    world: Path, *packages: Component, elsewhere: tuple[str, ...] = (), fetched: bytes | None = None
) -> tuple[list[str], list[str]]:
    """Return what is missing, and the paths of the collected files. Each address has ``fetched``."""

    def fetch(source: SourceFile) -> Path | None:
        if fetched is not None:
            (world / "fetched").write_bytes(fetched)
        return world / "fetched" if fetched is not None else None

    repositories = {"main": world / "repo"}
    places = SourcePlaces(world / "distfiles", repositories, {"main": "git:1"}, {"conf": world / "patches"}, fetch)
    target, missing = world / "sources", []
    try:
        collect_sources([Bill(components=packages)], places, target, elsewhere)
    except ProblemsError as error:
        missing = [problem.message.removeprefix("sources: ") for problem in error.problems]
    return missing, sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


FILES = [
    "distfiles/a-1.tar",
    "main/app-misc/a/a-1.ebuild",
    "main/app-misc/a/files/fix.patch",
    "main/eclass/some.eclass",
    "patches/conf/app-misc/a/own.patch",
]


def test_source_files_and_patches_are_collected(world: Path) -> None:
    assert collected(world, package("app-misc/a")) == ([], FILES)


@pytest.mark.parametrize("kept", [None, b"the s0urces"])
def test_a_file_that_is_missing_is_downloaded(world: Path, kept: bytes | None) -> None:
    """A package from the binary cache needed none. A file with another content does not count."""
    (world / "distfiles/a-1.tar").unlink()
    if kept:
        (world / "distfiles/a-1.tar").write_bytes(kept)
    assert collected(world, package("app-misc/a"), fetched=TARBALL) == ([], FILES)
    assert (world / "sources/distfiles/a-1.tar").read_bytes() == TARBALL


@pytest.mark.parametrize("fetched", [None, b"the s0urces"])
def test_a_release_without_all_sources_is_refused(world: Path, fetched: bytes | None) -> None:
    (world / "distfiles/a-1.tar").write_bytes(b"the s0urces")
    missing, files = collected(world, package("app-misc/a"), fetched=fetched)
    assert missing == ["app-misc/a-1: a-1.tar is neither in the store nor at its addresses"]
    assert "distfiles/a-1.tar" not in files


def test_a_path_of_a_bill_leads_to_no_other_folder(world: Path) -> None:
    (world / "secret").write_bytes(TARBALL)
    missing, files = collected(world, package("app-misc/a", files=("../secret",)))
    assert missing == ["app-misc/a-1: ../secret is not the name of a file"]
    assert not any("secret" in path for path in files)


def test_everything_that_is_missing_is_reported(world: Path) -> None:
    live = package("app-misc/a", files=()).model_copy(update={"properties": ("live",)})
    other = package("app-misc/a").model_copy(update={"tree": "git:2", "slot": "2"})
    kmod = Component(kind="deb", name="kmod", version="1")
    no_builder = package("app-misc/c", merged=False, files=())
    missing, _ = collected(world, package("app-misc/b"), no_builder, live, other, kmod)
    assert missing == [
        "app-misc/b-1: its ebuild is not in repository main",
        "app-misc/c-1: its builder is unknown, and so are its sources",
        "app-misc/a-1: a live ebuild, which has no source files",
        "app-misc/a-1: its ebuild is from another state of repository main than the project has",
        "1 packages of Debian, whose sources are not collected",
    ]


def test_users_get_some_sources_elsewhere(world: Path) -> None:
    kmod = Component(kind="deb", name="kmod", version="1")
    missing, files = collected(world, package("app-misc/b"), kmod, elsewhere=("app-*/*", "debian/k*"))
    assert missing == [] and "distfiles/a-1.tar" in files


def test_texts_of_licences_come_from_the_first_repository(world: Path) -> None:
    bill = Bill(components=(package("app-misc/a", license_text="|| ( MIT own ) x? ( gone )"),))
    names = license_names([bill])
    assert names == ["MIT", "gone", "own"]
    missing = copy_license_texts(
        [*names, "../repo/licenses/MIT"], [world / "repo", world / "other"], world / "licenses"
    )
    assert missing == ["gone", "../repo/licenses/MIT"]
    found = {path.name: path.read_text(encoding="utf-8") for path in (world / "licenses").iterdir()}
    assert found == {"MIT": "text of MIT\n", "own": "text of own\n"}
