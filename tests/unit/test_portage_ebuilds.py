"""The order of versions follows the Package Manager Specification, and the best ebuild is found."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagewright.portage.ebuilds import best_ebuild, by_version, compare_versions, ebuilds, split_version

ASCENDING = """
0.9 1_alpha 1_alpha2 1_beta1 1_pre 1_rc1_p1 1_rc2 1 1-r1 1_p1_pre2 1_p1 1_p2 1a 1b
1.01 1.02 1.1 1.1.0 1.2 1.10 1.10-r1 2 10
""".split()  # noqa: SIM905


@pytest.mark.parametrize(("low", "high"), list(pairwise(ASCENDING)))
def test_order(low: str, high: str) -> None:
    assert compare_versions(low, high) < 0 < compare_versions(high, low)


@pytest.mark.parametrize(("one", "two"), [("1", "1"), ("1-r0", "1"), ("01", "1"), ("1_p", "1_p0"), ("1.010", "1.01")])
def test_versions_that_are_equal(one: str, two: str) -> None:
    assert compare_versions(one, two) == 0


VERSIONS = st.from_regex(
    r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}[a-b]?(_(alpha|beta|pre|rc|p)[0-9]?){0,2}(-r[0-9])?", fullmatch=True
)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_the_order_is_total(one: str, two: str, three: str) -> None:
    low, middle, high = sorted((one, two, three), key=by_version)
    assert compare_versions(low, high) <= 0
    assert compare_versions(one, two) == -compare_versions(two, one) or (compare_versions(one, two) < 0) == (
        compare_versions(two, one) > 0
    )
    assert compare_versions(low, middle) <= 0 and compare_versions(middle, high) <= 0


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("sys-devel/gcc-13.2.1_p20240210", ("sys-devel/gcc", "13.2.1_p20240210")),
        ("app-misc/a-b-1-r5", ("app-misc/a-b", "1-r5")),
        ("dev-lang/python-exec-conf-2.4.6", ("dev-lang/python-exec-conf", "2.4.6")),
        ("media-fonts/font-adobe-100dpi-1.0.3", ("media-fonts/font-adobe-100dpi", "1.0.3")),
        ("app-misc/x-1.2b_alpha1_p2-r1", ("app-misc/x", "1.2b_alpha1_p2-r1")),
        ("app-misc/hello-world-1.2_p3-r1", ("app-misc/hello-world", "1.2_p3-r1")),
        ("odd/name", ("odd/name", "")),
    ],
)
def test_a_name_is_split_from_its_version(name: str, parts: tuple[str, str]) -> None:
    assert split_version(name) == parts


def write(tree: Path, version: str, keywords: str, slot: str = "0", cache: str = "") -> None:
    folder = tree / "app-misc/one"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"one-{version}.ebuild").write_text(f'EAPI=8\nSLOT="{slot}"\n\tKEYWORDS="{keywords}"\n', encoding="utf-8")
    if cache:
        path = tree / "metadata/md5-cache/app-misc" / f"one-{version}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(cache, encoding="utf-8")


def test_the_best_stable_or_testing_ebuild(tmp_path: Path) -> None:
    write(tmp_path, "1.9", "amd64 ~arm64")
    write(tmp_path, "1.10", "~amd64 arm64", slot="2/3")
    write(tmp_path, "9999", "")
    (tmp_path / "app-misc/one/one-more-3.ebuild").touch()
    found = list(ebuilds(tmp_path, "app-misc/one"))
    assert {ebuild.version: ebuild.slot for ebuild in found} == {"1.9": "0", "1.10": "2", "9999": "0"}

    def version(arch: str, *, testing: bool) -> str | None:
        chosen = best_ebuild(found, arch, testing=testing)
        return chosen and chosen.version

    assert version("amd64", testing=False) == "1.9"
    assert version("amd64", testing=True) == "1.10"
    assert version("arm64", testing=False) == "1.10"
    assert version("riscv", testing=True) is None


def test_the_metadata_cache_has_values_that_an_ebuild_computes(tmp_path: Path) -> None:
    write(tmp_path, "1", "${MINE}", slot="${PV}")
    assert next(ebuilds(tmp_path, "app-misc/one")).slot == ""
    write(tmp_path, "1", "${MINE}", slot="${PV}", cache="KEYWORDS=amd64\nSLOT=1/2\n")
    (ebuild,) = ebuilds(tmp_path, "app-misc/one")
    assert (ebuild.slot, ebuild.keywords) == ("1", {"amd64"})
