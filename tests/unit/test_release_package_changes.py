"""Which packages differ."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stagewright.portage.installed import Package, as_data, from_data
from stagewright.release.package_changes import PackageChange, package_changes, split_version

GCC = Package("sys-devel/gcc-13.2.1_p20240210", "13", "gentoo", ("nls", "openmp"), "GPL-3+", 100)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("sys-devel/gcc-13.2.1_p20240210", ("sys-devel/gcc", "13.2.1_p20240210")),
        ("app-misc/a-b-1-r5", ("app-misc/a-b", "1-r5")),
        ("dev-lang/python-exec-conf-2.4.6", ("dev-lang/python-exec-conf", "2.4.6")),
        ("media-fonts/font-adobe-100dpi-1.0.3", ("media-fonts/font-adobe-100dpi", "1.0.3")),
        ("app-misc/x-1.2b_alpha1_p2-r1", ("app-misc/x", "1.2b_alpha1_p2-r1")),
        ("odd/name", ("odd/name", "")),
    ],
)
def test_names_and_versions(name: str, parts: tuple[str, str]) -> None:
    assert split_version(name) == parts


def test_what_counts_as_a_change() -> None:
    assert package_changes([GCC], [GCC]) == []
    assert package_changes([GCC], [replace(GCC, size=5, license="MIT", use=("openmp", "nls"))]) == []
    for other in ({"use": ("nls",)}, {"slot": "13/2"}, {"repository": "local"}, {"name": "sys-devel/gcc-14.1.0"}):
        new = replace(GCC, **other)  # type: ignore[arg-type]
        assert package_changes([GCC], [new]) == [PackageChange(GCC, new)]


def test_slots_keep_versions_apart() -> None:
    old = [replace(GCC, name=f"sys-devel/gcc-{slot}.1.0", slot=str(slot)) for slot in (12, 13)]
    new = [replace(GCC, name=f"sys-devel/gcc-{slot}.2.0", slot=str(slot)) for slot in (12, 13, 14)]
    pairs = list(zip(old, new, strict=False))
    assert package_changes(old, new) == [*(PackageChange(*pair) for pair in pairs), PackageChange(None, new[2])]
    assert package_changes(old, new[2:]) == [*(PackageChange(one, None) for one in old), PackageChange(None, new[2])]
    assert package_changes(old[:1], new[2:]) == [PackageChange(old[0], new[2])]


def test_flags_that_were_switched() -> None:
    assert PackageChange(GCC, replace(GCC, use=("cet", "openmp"))).use == ["+cet", "-nls"]


def test_as_data_and_back() -> None:
    assert from_data(as_data([GCC])) == [GCC]
