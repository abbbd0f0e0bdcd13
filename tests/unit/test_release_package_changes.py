"""The packages that differ between two roots."""

from __future__ import annotations

from dataclasses import replace

from stagewright.portage.installed import Package, packages_as_data, packages_from_data
from stagewright.release.package_changes import PackageChange, package_changes

GCC = Package("sys-devel/gcc-13.2.1_p20240210", "13", "gentoo", ("nls", "openmp"), "GPL-3+", 100)


def test_changes_of_version_slot_flags_and_repository_are_reported() -> None:
    assert package_changes([GCC], [GCC]) == []
    assert package_changes([GCC], [replace(GCC, size=5, license="MIT", use=("openmp", "nls"))]) == []
    for other in ({"use": ("nls",)}, {"slot": "13/2"}, {"repository": "local"}, {"name": "sys-devel/gcc-14.1.0"}):
        new = replace(GCC, **other)  # type: ignore[arg-type]
        assert package_changes([GCC], [new]) == [PackageChange(GCC, new)]


def test_packages_match_by_slot() -> None:
    old = [replace(GCC, name=f"sys-devel/gcc-{slot}.1.0", slot=str(slot)) for slot in (12, 13)]
    new = [replace(GCC, name=f"sys-devel/gcc-{slot}.2.0", slot=str(slot)) for slot in (12, 13, 14)]
    pairs = list(zip(old, new, strict=False))
    assert package_changes(old, new) == [*(PackageChange(*pair) for pair in pairs), PackageChange(None, new[2])]
    assert package_changes(old, new[2:]) == [*(PackageChange(one, None) for one in old), PackageChange(None, new[2])]
    assert package_changes(old[:1], new[2:]) == [PackageChange(old[0], new[2])]


def test_the_changed_flags() -> None:
    assert PackageChange(GCC, replace(GCC, use=("cet", "openmp"))).use == ["+cet", "-nls"]


def test_packages_survive_conversion_to_data() -> None:
    assert packages_from_data(packages_as_data([GCC])) == [GCC]
