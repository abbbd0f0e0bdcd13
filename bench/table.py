"""Tables of results in the documentation, between two comments of a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

END = "<!-- end of the matrix -->\n"

Row = Sequence[str]
"""The cells of a row."""


def begin(target: str) -> str:
    """Return the line in front of the table that a target of make writes."""
    return f"<!-- matrix: written by make {target} -->\n"


def line(cells: Row) -> str:
    """Return a row as a line of Markdown."""
    return f"| {' | '.join(cells)} |\n"


def write(page: Path, target: str, columns: Row, rows: Sequence[Row], *, part_of: int = 0) -> None:
    """Write the table of a target into its page.

    ``part_of`` is for a run of some rows: the number of first cells that identify a row. Rows of the page that were not
    run stay.
    """
    before, rest = page.read_text(encoding="utf-8").split(begin(target))
    old, after = rest.split(END, 1)
    found = [[cell.strip() for cell in text.strip().strip("|").split(" | ")] for text in old.splitlines()[2:]]
    new = {tuple(row[:part_of]): row for row in rows}
    kept = [new.pop(tuple(row[:part_of]), row) for row in found] if part_of else []
    lines = [line(columns), f"|{'---|' * len(columns)}\n", *map(line, [*kept, *(new.values() if part_of else rows)])]
    page.write_text(before + begin(target) + "".join(lines) + END + after, encoding="utf-8")
