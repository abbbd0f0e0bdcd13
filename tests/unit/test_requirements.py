"""docs/requirements.md names a test for each promise, and these tests exist."""

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
        file = ROOT / path
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"{number}: docs/requirements.md names {path}::{name}"
