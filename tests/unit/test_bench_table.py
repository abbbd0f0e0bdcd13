"""Tables of results in the documentation: written whole, or some rows of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.table import END, begin, write

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{begin('x-matrix')}{END}after\n", encoding="utf-8")
    return file


def lines(page: Path) -> list[str]:
    return page.read_text(encoding="utf-8").splitlines()[2:-2]


def test_a_table_replaces_the_one_before(page: Path) -> None:
    write(page, "x-matrix", ["a", "b"], [["1", "2"], ["3", "4"]])
    write(page, "x-matrix", ["a", "b"], [["5", "6"]])
    assert lines(page) == ["| a | b |", "|---|---|", "| 5 | 6 |"]
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n")


def test_some_rows_keep_the_others_and_the_order(page: Path) -> None:
    rows = [["iso", "cd", "works"], ["iso", "usb", "FAILED"]]
    write(page, "x-matrix", ["a", "b", "c"], rows)
    write(page, "x-matrix", ["a", "b", "c"], [["new", "cd", "works"], ["iso", "usb", "works"]], part_of=2)
    assert lines(page)[2:] == ["| iso | cd | works |", "| iso | usb | works |", "| new | cd | works |"]


@pytest.mark.parametrize("page", sorted((REPOSITORY / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_rows_of_the_documents_have_as_many_cells_as_their_table(page: Path) -> None:
    for table in re.findall(r"<!-- matrix: [^\n]*\n(.*?)<!-- end", page.read_text(encoding="utf-8"), re.DOTALL):
        assert len({re.sub(r"`[^`]*`", "", line).count("|") for line in table.splitlines()}) <= 1
