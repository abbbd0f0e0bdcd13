"""docs/requirements.md and docs/security.md name a test for each promise, and these tests exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (R\d+) \| (.+?) \| (.+) \|$", (ROOT / "docs/requirements.md").read_text("utf-8"), re.MULTILINE)


def test_numbers_are_unique_and_in_order() -> None:
    numbers = [int(number[1:]) for number, _, _ in ROWS]
    assert len(numbers) > 50
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    ("number", "tests"), [(number, tests) for number, _, tests in ROWS], ids=[row[0] for row in ROWS]
)
def test_the_tests_of_a_promise_exist(number: str, tests: str) -> None:
    named = re.findall(r"`([^`:]+)::(test_\w+)`", tests)
    assert named, f"{number} has no test"
    for path, name in named:
        assert exists(path, name), f"{number}: docs/requirements.md names {path}::{name}"


def test_the_tests_of_security_exist() -> None:
    text = (ROOT / "docs/security.md").read_text("utf-8")
    promises = re.search(r"^## Promises$(.+?)^## ", text, re.MULTILINE | re.DOTALL)
    assert promises
    rows = [line for line in promises[1].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`([^`:]+)::(test_\w+)`", row)
        assert named, f"no test: {row}"
        for path, name in named:
            assert exists(path, name), f"docs/security.md names {path}::{name}"


def exists(path: str, name: str) -> bool:
    """True if a file has a test of this name."""
    file = ROOT / path
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return re.search(rf"^def {name}\(", text, re.MULTILINE) is not None
