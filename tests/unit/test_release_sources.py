"""Source files and texts of licences of a release."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from integration.web import serve

from stagewright.errors import ProblemsError, Reason
from stagewright.portage.ebuild_facts import SourceFile
from stagewright.release.bill import Bill, Component
from stagewright.release.license_texts import copy_license_texts, license_names
from stagewright.release.sources import SourcePlaces, collect_sources, hashed_path

TARBALL = b"the sources"


def package(
    name: str,
    *,
    merged: bool = True,
    license_text: str = "MIT",
    files: tuple[str, ...] = ("a-1.tar",),
    uris: tuple[str, ...] = (),
) -> Component:
    digest = hashlib.sha512(TARBALL).hexdigest()
    sources = tuple(SourceFile(name=file, uris=uris, size=len(TARBALL), digests={"SHA512": digest}) for file in files)
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


def collected(
    world: Path, *packages: Component, accepted: Sequence[str] = ("*",), **more: Any
) -> tuple[list[str], list[str]]:
    """Return what is missing, and the paths of the collected files."""
    bill, target = Bill(components=packages), world / "sources"
    places = SourcePlaces(world / "distfiles", world / "scratch", {"main": world / "repo"}, **more)
    missing = collect_sources([bill], places, target, accepted)
    return missing, sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


def test_source_files_and_patches_are_collected(world: Path) -> None:
    (world / "conf/app-misc/a").mkdir(parents=True)
    (world / "conf/app-misc/a/own.patch").write_text("patch\n", encoding="utf-8")
    (world / "repo/app-misc/a/files/link.patch").symlink_to("fix.patch")
    (world / "repo/app-misc/a/files/out.patch").symlink_to("/etc/passwd")
    missing, files = collected(world, package("app-misc/a"), patches=[world / "conf"])
    assert missing == []
    assert files == [
        "distfiles/a-1.tar",
        "main/app-misc/a/a-1.ebuild",
        "main/app-misc/a/files/fix.patch",
        "main/app-misc/a/files/link.patch",
        "main/eclass/some.eclass",
        "patches/1/app-misc/a/own.patch",
    ]
    assert not (world / "sources/main/app-misc/a/files/link.patch").is_symlink(), "a release has no links"


def test_a_file_that_the_store_lacks_is_downloaded_and_verified(world: Path) -> None:
    (world / "distfiles/a-1.tar").rename(world / "upstream.tar")
    (world / "distfiles/a-1.tar").write_bytes(b"the s0urces")  # another file has the name
    with serve(world) as site:
        found = package("app-misc/a", uris=(f"{site.url}/gone", f"{site.url}/upstream.tar"))
        assert "distfiles/a-1.tar" in collected(world, found)[1]
    assert (world / "sources/distfiles/a-1.tar").read_bytes() == TARBALL
    assert (world / "distfiles/a-1.tar").read_bytes() == b"the s0urces", "no file of the store is replaced"


def test_mirrors_of_the_project_are_asked_first(world: Path) -> None:
    (world / "distfiles/a-1.tar").unlink()
    with serve(world) as site:
        place = world / "distfiles" / hashed_path("a-1.tar")
        place.parent.mkdir()
        place.write_bytes(TARBALL)
        assert collected(world, package("app-misc/a"), mirrors=[site.url])[0] == []
    assert (world / "distfiles/a-1.tar").read_bytes() == TARBALL, "the store keeps it"


def test_missing_sources_are_an_error_unless_they_are_listed(world: Path) -> None:
    (world / "distfiles/a-1.tar").write_bytes(b"the s0urces")
    with pytest.raises(ProblemsError) as caught:
        collected(world, package("app-misc/a"), package("app-misc/c", merged=False, files=()), accepted=["app-misc/c"])
    (problem,) = caught.value.problems
    assert problem.reason is Reason.SOURCES_MISSING
    assert problem.message == "app-misc/a-1: a-1.tar is not in the store, and has no address on the web"
    shutil.rmtree(world / "sources")
    deb = Component(kind="deb", name="dash", version="1")
    assert collected(world, deb, accepted=["deb:*"])[0] == [
        "dash 1 (Debian): sources of Debian's packages are not collected"
    ]


def test_a_path_of_a_bill_leads_to_no_other_folder(world: Path) -> None:
    (world / "secret").write_bytes(TARBALL)
    missing, files = collected(world, package("app-misc/a", files=("../secret",)))
    assert missing == ["app-misc/a-1: ../secret has no digest in its repository"]
    assert not any("secret" in path for path in files)


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"name": "app-misc/b"}, "its ebuild is not in repository main"),
        ({"merged": False}, "its builder is unknown, and so are its sources"),
        ({"tree": "old"}, "it was built from another state of repository main"),
        ({"properties": ("live",)}, "its sources have no version: it was fetched when it was built (PROPERTIES=live)"),
    ],
)
def test_packages_whose_sources_are_uncertain_are_reported(world: Path, facts: dict[str, Any], what: str) -> None:
    found = package("app-misc/a").model_copy(update=facts)
    assert collected(world, found, trees={"main": "new"})[0] == [f"{found}: {what}"]


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
