"""Tests of the program stagewright-update that need no disk: its code, and the order of versions."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from itertools import chain, pairwise

import pytest
from updater import FILES, PROGRAM

from stagewright.media.disk.partition_types import known_types

PARTS = sorted(FILES.glob("lib/*.sh"))

ASCENDING = (
    *("~", "", "0~rc1", "0", "1.0~~a", "1.0~a", "1.0~rc1", "1.0", "1.0-1", "1.0-2", "1.0^git", "1.0.next", "1.0.1"),
    *("1.0a", "1.1", "1.1-1", "1.1^1", "1.2", "1.9", "1.10", "1.99", "2.0", "2a", "2b", "2ba", "10", "2026.01"),
    "20260102",
)
"""Versions from the lowest to the highest."""


def compare(pairs: Iterable[tuple[str, str]], shell: str = "dash") -> str:
    """Return <, = or > for each pair. One shell compares them all."""
    script = f'. {FILES}/lib/versions.sh; while [ $# -gt 0 ]; do compare_versions "$1" "$2"; shift 2; done'
    words = [*shell.split(), "-c", script, "compare", *chain.from_iterable(pairs)]
    return "".join(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.slow
def test_shellcheck_has_no_findings() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("NOT TESTED: shellcheck is not installed")
    done = subprocess.run(
        ["shellcheck", "-s", "sh", PROGRAM, *PARTS, *FILES.glob("service/S*")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_program_reads_all_parts_and_the_help_names_every_command() -> None:
    program = PROGRAM.read_text(encoding="utf-8")
    assert {*re.findall(r"for part in (.*); do", program)[0].split()} == {part.stem for part in PARTS}
    commands = {name for part in PARTS for name in re.findall(r"^(\w+)_command\(\)", part.read_text(), re.MULTILINE)}
    shown = subprocess.run([PROGRAM, "--help"], check=True, capture_output=True, text=True).stdout
    assert {*re.findall(r"^  (\w+)  ", shown, re.MULTILINE)} == commands


def test_types_of_partitions_are_those_of_the_specification() -> None:
    known = {guid: name for name, guid in known_types().items()}
    text = (FILES / "lib/disk.sh").read_text(encoding="utf-8")
    for role, body in re.findall(r"^\t(\w+(?:-verity)?)\) (echo .*?);;", text, re.MULTILINE | re.DOTALL):
        names = [known[guid] for guid in re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", body)]
        kind, _, verity = role.partition("-")
        assert len(names) == (1 if role == "esp" else 8), role
        assert all(name.startswith(kind) and name.endswith("-verity") is bool(verity) for name in names), names


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["dash", "busybox ash"])
def test_versions_have_an_order(shell: str) -> None:
    rising = list(pairwise(ASCENDING))
    assert compare(rising, shell) == "<" * len(rising)
    assert compare([(higher, lower) for lower, higher in rising], shell) == ">" * len(rising)
    assert compare([("1.0", "1.0"), ("01.002", "1.2"), ("1_0", "1/0")], shell) == "==="
    words = [*shell.split(), str(PROGRAM), "compare", "1.9", "1.10"]
    assert subprocess.run(words, check=True, capture_output=True, text=True).stdout == "<\n"


@pytest.mark.slow
def test_systemd_has_the_same_order() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NOT TESTED: systemd-analyze is not installed")
    others = ["1.0-", "1..0", "1.0_1", "a", "1.a", "1.0.0", "00.1", "1^", "1~", "-1"]
    pairs = list(pairwise([*ASCENDING[2:], *reversed(others), *others]))
    for pair, found in zip(pairs, compare(pairs), strict=True):
        words = ["systemd-analyze", "compare-versions", "--", *pair]
        code = subprocess.run(words, check=False, capture_output=True).returncode
        assert found == {0: "=", 11: ">", 12: "<"}[code], pair


@pytest.mark.parametrize(
    ("clock", "random", "seconds"),
    [("04 09 00", 0, 60), ("04 10 00", 5, 86405), ("04 10 01", 1799, 86399 + 1799), ("23 59 59", 1800, 4 * 3600 + 601)],
)
def test_automatic_updates_are_at_night(clock: str, random: int, seconds: int) -> None:
    words = ["dash", "-c", f". {FILES}/lib/boot.sh; seconds_to_night {random}"]
    done = subprocess.run(words, input=clock, capture_output=True, text=True, check=True)
    assert int(done.stdout) == seconds
