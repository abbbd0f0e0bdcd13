"""The output of emerge, parsed from samples of real runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.errors import Reason
from stagewright.portage.emerge_output import EmergeOutput

SAMPLES = Path(__file__).parents[1] / "data" / "emerge"


def read(name: str) -> tuple[EmergeOutput, list[tuple[int, int, str]]]:
    output = EmergeOutput()
    steps = [
        step
        for line in (SAMPLES / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        if (step := output.read(line))
    ]
    return output, steps


@pytest.mark.parametrize("name", ["build-jobs2", "binpkg-jobs2"])
def test_progress_names_every_package_once(name: str) -> None:
    _, steps = read(name)
    assert [done for done, _, _ in steps] == list(range(1, 10))
    assert {total for _, total, _ in steps} == {9}
    assert "sys-apps/busybox-1.35.0" in [package for _, _, package in steps]


def test_fetching_is_progress() -> None:
    _, steps = read("fetch")
    assert steps
    assert all("/" in package for _, _, package in steps)


def test_a_run_with_nothing_to_do_reports_no_progress() -> None:
    assert read("nothing-to-do")[1] == []


@pytest.mark.parametrize("name", ["fail-compile", "fail-compile-quiet", "fail-compile-keep-going"])
def test_a_failing_compiler_names_package_phase_and_cause(name: str) -> None:
    output, _ = read(name)
    error = output.failure(fetching=False)
    assert error.reason is Reason.PACKAGE_FAILED
    assert output.failed == ("test-fail/compile-dies-1", "compile")
    assert "test-fail/compile-dies-1" in error.message
    assert "undeclared" in error.detail
    assert "Call stack" not in error.detail


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("fail-no-such-package", "test-fail/not-there"),
        ("fail-masked-keyword", "test-fail/masked-keyword"),
        ("fail-bad-use-dep", "app-misc/hello[shout]"),
        ("fail-missing-dep", "app-misc/no-such-package"),
        ("fail-package-mask", "app-misc/relic is masked by package.mask"),
        ("fail-package-mask-version", ">=app-misc/hello-2 is masked by package.mask"),
        ("fail-required-use", "REQUIRED_USE of app-misc/lamp is not met"),
        ("fail-required-use-both", "REQUIRED_USE of app-misc/lamp is not met"),
        ("fail-circular", "circular dependencies"),
        ("fail-profile-none", "the profile is invalid"),
        ("fail-profile-dangling", "the profile is invalid"),
        ("fail-profile-parent", "the profile is invalid"),
    ],
)
def test_unsatisfied_dependencies_are_reported(name: str, word: str) -> None:
    error = read(name)[0].failure(fetching=True)
    assert error.reason is Reason.DEPENDENCIES
    assert word in error.message
    assert error.detail
    assert error.hint


@pytest.mark.parametrize(
    ("name", "evidence"),
    [
        ("fail-circular", "app-misc/egg-1.0"),
        ("fail-required-use", "exactly-one-of ( oil wax )"),
        ("fail-package-mask", "It has been replaced by app-misc/lamp"),
    ],
)
def test_dependency_errors_quote_emerge(name: str, evidence: str) -> None:
    assert evidence in read(name)[0].failure(fetching=True).detail


@pytest.mark.parametrize("name", ["fail-fetch-missing", "fail-build-missing-distfile-offline"])
def test_a_missing_distfile_is_reported(name: str) -> None:
    error = read(name)[0].failure(fetching=name == "fail-fetch-missing")
    assert error.reason is Reason.FETCH_FAILED
    assert "no-such-source-1.tar.gz" in error.message
    assert error.hint


@pytest.mark.parametrize("name", ["fail-manifest", "fail-fetch-manifest"])
def test_a_distfile_that_does_not_match_the_manifest_is_reported(name: str) -> None:
    error = read(name)[0].failure(fetching=False)
    assert error.reason is Reason.FETCH_FAILED
    assert "busybox-1.35.0.tar.bz2" in error.message
    assert "Manifest" in error.message


def test_only_the_last_lines_of_a_long_run_are_kept() -> None:
    output = EmergeOutput()
    for number in range(10_000):
        output.read(f"line {number}")
    assert len(output.lines) < 1000
    assert output.lines[-1] == "line 9999"


def test_each_reason_of_masks_is_named_once() -> None:
    output = EmergeOutput()
    for line in (
        '!!! All ebuilds that could satisfy "x11-drivers/nvidia-drivers" have been masked.',
        "- x11-drivers/nvidia-drivers-590::gentoo (masked by: NVIDIA-2025 license(s), ~amd64 keyword)",
        "- x11-drivers/nvidia-drivers-580::gentoo (masked by: NVIDIA-2025 license(s))",
    ):
        output.read(line)
    message = output.failure(fetching=True).message
    assert message.endswith("is masked by NVIDIA-2025 license(s), ~amd64 keyword")


def test_the_packages_to_build_are_those_of_the_list_that_are_not_binary() -> None:
    output, _ = read("pretend")
    assert output.sources[:2] == ["sys-apps/demo-baselayout-1::demo", "sys-apps/busybox-1.35.0::demo"]
    assert len(output.sources) == 9
    output = EmergeOutput()
    output.read('[binary   R    ] app-misc/hello-1.0-2::demo to /target/ USE="static" 0 KiB')
    output.read("[ebuild     U #] app-misc/greet-2.0:0/1 [1.0] ")
    assert output.sources == ["app-misc/greet-2.0"]


def test_the_question_is_known_when_it_is_complete() -> None:
    assert EmergeOutput.asks("Would you like to merge these packages? [Yes/No] ")
    assert not EmergeOutput.asks("Would you like to merge these packages? ")
    assert not EmergeOutput.asks("Would you like to fetch the source files for these packages? [Yes/No] ")
