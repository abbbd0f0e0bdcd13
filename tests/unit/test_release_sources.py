"""Source files and texts of licences of a release."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from stagewright.portage.ebuild_facts import SourceFile
from stagewright.release.bill import Bill, Component
from stagewright.release.license_texts import copy_license_texts, license_names
from stagewright.release.sources import collect_sources

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


def collected(world: Path, *packages: Component) -> tuple[list[str], list[str]]:
    """Return what is missing, and the paths of the collected files."""
    bill, target = Bill(components=packages), world / "sources"
    missing = collect_sources([bill], world / "distfiles", {"main": world / "repo"}, target)
    return missing, sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


def test_source_files_and_patches_are_collected(world: Path) -> None:
    missing, files = collected(world, package("app-misc/a"))
    assert missing == []
    assert files == [
        "distfiles/a-1.tar",
        "main/app-misc/a/a-1.ebuild",
        "main/app-misc/a/files/fix.patch",
        "main/eclass/some.eclass",
    ]


def test_a_file_that_does_not_match_its_digest_is_missing(world: Path) -> None:
    (world / "distfiles/a-1.tar").write_bytes(b"the s0urces")
    missing, files = collected(world, package("app-misc/a"))
    assert missing == ["app-misc/a-1: a-1.tar is not in the store"]
    assert "distfiles/a-1.tar" not in files


def test_a_path_of_a_bill_leads_to_no_other_folder(world: Path) -> None:
    (world / "secret").write_bytes(TARBALL)
    missing, files = collected(world, package("app-misc/a", files=("../secret",)))
    assert missing == ["app-misc/a-1: ../secret is not in the store"]
    assert not any("secret" in path for path in files)


def test_packages_without_ebuild_or_builder_are_reported(world: Path) -> None:
    missing, _ = collected(world, package("app-misc/b"), package("app-misc/c", merged=False, files=()))
    assert missing == [
        "app-misc/b-1: its ebuild is not in repository main",
        "app-misc/c-1: its builder is unknown, and so are its sources",
    ]


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
