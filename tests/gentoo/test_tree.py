"""Profiles and atoms of a real repository: nothing is built."""

from __future__ import annotations

import pytest

from gentoo.families import CANDIDATES, Candidate
from gentoo.project import PROFILE
from stagewright.portage.atom_check import AtomCheck
from stagewright.portage.repositories import Repository, known_chain, profile_chain
from stagewright.portage.settings import PortageSettings
from stagewright.portage.visibility import Visibility


@pytest.fixture(scope="session")
def profiles(repository: Repository) -> list[str]:
    """The profiles of profiles.desc."""
    lines = (repository.path / "profiles/profiles.desc").read_text(encoding="utf-8").splitlines()
    return [line.split()[1] for line in lines if len(line.partition("#")[0].split()) > 2]


@pytest.fixture(scope="session")
def check(repository: Repository) -> AtomCheck:
    """The check of atoms under the profile of the suite."""
    chain = known_chain(PROFILE, (), [repository])
    assert chain, f"profile {PROFILE} not found"
    return AtomCheck([repository], (), Visibility([repository], chain, (), PortageSettings()))


def test_every_profile_resolves(repository: Repository, profiles: list[str]) -> None:
    chains = {profile: profile_chain(profile, [repository]) for profile in profiles}
    assert len(chains) > 100
    assert all(chains.values())


def test_every_profile_has_an_architecture_and_keywords(repository: Repository, profiles: list[str]) -> None:
    for profile in profiles:
        visibility = Visibility([repository], profile_chain(profile, [repository]), (), PortageSettings())
        assert visibility.arch, profile
        assert visibility.accepted_keywords, profile


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda one: one.package)
def test_atoms_of_a_package_are_checked(repository: Repository, check: AtomCheck, candidate: Candidate) -> None:
    package = candidate.package
    found = [ebuild for ebuild in check.ebuilds(package) if not ebuild.is_live]
    if not found:
        pytest.skip(f"NOT TESTED: the repository does not have {package}")
    newest = check.ebuilds(package)[-1]
    assert list(check.problems(f"{package}::{repository.name}", "packages.0")) == []
    assert list(check.problems(f">={package}-{found[0].version}", "packages.0")) == []
    if newest.slot:
        assert list(check.problems(f"{package}:{newest.slot}", "packages.0")) == []
    for wrong in (f"={package}-99999", f"{package}:no-slot", f"{package}::nowhere", f"{package}x"):
        errors = list(check.problems(wrong, "packages.0"))
        is_unknown = ":no-slot" in wrong and not all(ebuild.slot for ebuild in check.ebuilds(package))
        assert len(errors) == (0 if is_unknown else 1), wrong
        assert all(error.hint for error in errors)


def test_almost_every_package_can_be_installed(repository: Repository, check: AtomCheck) -> None:
    """Only packages that are masked, without a keyword, or live are reported: the check is not wrong about others."""
    folders = [path for path in sorted(repository.path.glob("*-*/*/")) if next(path.glob("*.ebuild"), None)]
    packages = [f"{folder.parent.name}/{folder.name}" for folder in folders[:3000]]
    problems = {package: list(check.problems(package, "packages.0")) for package in packages}
    reported = [errors[0].message for errors in problems.values() if errors]
    assert len(reported) < len(problems) / 3, reported[:20]
    assert all("masked" in message or "live ebuild" in message for message in reported)
