"""Unmodified ebuilds of a real repository are built on a Debian seed, with source files of Debian."""

from __future__ import annotations

import pytest

from gentoo.conftest import Builds
from gentoo.families import CANDIDATES
from gentoo.project import OWN

pytestmark = pytest.mark.real

LEAST_BUILT = 20
"""The least number of unmodified ebuilds."""


FAMILIES = tuple(dict.fromkeys(one.family for one in CANDIDATES))


@pytest.mark.parametrize("family", FAMILIES)
def test_unmodified_ebuilds_of_a_family_are_built(builds: Builds, family: str) -> None:
    if not any(one.family == family for one in builds.chosen):
        pytest.skip(f"NOT TESTED: no source file in reach matches the Manifest of an ebuild with {family}")
    assert builds.outcomes[family].error == ""


@pytest.mark.parametrize("stage", OWN)
def test_an_ebuild_of_the_suite_uses_an_unmodified_eclass(builds: Builds, stage: str) -> None:
    assert builds.outcomes[stage].error == ""


def test_enough_unmodified_ebuilds_are_built(builds: Builds) -> None:
    built = [one.package for one in builds.chosen if builds.outcomes[one.family].error == ""]
    assert len(built) >= LEAST_BUILT, built
