"""TOML in the pages: each block is valid, and its settings exist with values of the right form."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.kinds.registry import kinds
from stagewright.project.load import load

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PIECES = {Reason.UNKNOWN_NAME, Reason.MISSING_FILE}
"""Errors that a piece of a project has because the rest is not shown."""

_FENCED = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[str]:
    """Yield the TOML blocks of a page."""
    yield from _FENCED.findall(page.read_text(encoding="utf-8"))


CASES = [
    pytest.param(text, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, text in enumerate(blocks(page), 1)
]


@pytest.mark.parametrize("text", CASES)
def test_the_settings_of_a_block_exist(text: str, tmp_path: Path) -> None:
    data = tomllib.loads(text)
    head = "" if "format" in data else "format = 1\n"
    end = "" if "project" in data else '\n[project]\nname = "page"\n'
    (tmp_path / "stagewright.toml").write_text(head + textwrap.dedent(text) + end, encoding="utf-8")
    try:
        load(tmp_path, kinds())
    except ProblemsError as error:
        assert [str(problem) for problem in error.problems if not is_of_a_piece(problem)] == []


def is_of_a_piece(problem: StagewrightError) -> bool:
    """True if an error is due to what the page does not show: other entries, files, the key with the kind of a test."""
    return problem.reason in PIECES or "needs exactly one of the keys" in problem.message


def test_there_are_blocks() -> None:
    assert len(CASES) > 10
