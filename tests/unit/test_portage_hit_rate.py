"""The hit rate of binary package hosts: by an index and a small repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.portage.atom_check import AtomCheck
from stagewright.portage.hit_rate import HitRate, hit_rate
from stagewright.portage.index import entries_of
from stagewright.portage.repositories import Repository
from stagewright.portage.sets import atoms_of

EBUILDS = ("app-misc/a-1", "app-misc/a-2", "dev-libs/b-1", "dev-libs/c-3", "dev-libs/d-1", "dev-libs/e-1")

INDEX = """PACKAGES: 4
REPO: gentoo

CPV: app-misc/a-2
RDEPEND: >=dev-libs/b-1:0/1= || ( dev-libs/none dev-libs/c ) !dev-libs/x x? ( dev-libs/e )

CPV: dev-libs/b-1
USE: shine
PDEPEND: shine? ( dev-libs/d ) app-misc/a

CPV: dev-libs/c-2

CPV: nonsense
RDEPEND: ) (
"""


@pytest.fixture
def check(tmp_path: Path) -> AtomCheck:
    for cpv in EBUILDS:
        package, _, version = cpv.rpartition("-")
        folder = tmp_path / package
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{folder.name}-{version}.ebuild").write_text('EAPI=8\nSLOT="0"\n', encoding="utf-8")
    return AtomCheck([Repository("gentoo", tmp_path, main=True)])


def rate(check: AtomCheck, *atoms: str) -> HitRate:
    return hit_rate(atoms, check, entries_of(INDEX))


def test_packages_and_what_they_need_at_run_time_are_counted(check: AtomCheck) -> None:
    found = rate(check, "app-misc/a")
    assert (found.wanted, found.hits, found.percent) == (4, 2, 50)
    assert found.others == (("dev-libs/c", "3", "2"),)
    assert found.missing == ("dev-libs/d-1",)


def test_the_version_is_the_one_that_the_atom_leaves(check: AtomCheck) -> None:
    found = rate(check, "=app-misc/a-1")
    assert found.others[0] == ("app-misc/a", "1", "2")


def test_nothing_is_counted_without_ebuilds(check: AtomCheck) -> None:
    assert rate(check, "app-misc/unknown", "@world") == HitRate(0, 0)


def test_sets_of_confdirs_and_of_the_profile_are_atoms(tmp_path: Path) -> None:
    (tmp_path / "confdir/sets").mkdir(parents=True)
    (tmp_path / "confdir/sets/mine").write_text("app-misc/a\n@mine\n@system\n", encoding="utf-8")
    for name, text in (("base", "*sys-libs/x\n*sys-libs/y\n"), ("own", "-*sys-libs/x\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "packages").write_text(text, encoding="utf-8")
    found = atoms_of("@mine", [tmp_path / "confdir"], [tmp_path / "base", tmp_path / "own"])
    assert sorted(found) == ["app-misc/a", "sys-libs/y"]
