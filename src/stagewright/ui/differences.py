"""The lines of differences between two builds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stagewright.reproduce.explained import Difference
from stagewright.ui.text import printable, shown


def difference_lines(differences: Iterable[Difference]) -> Iterator[str]:
    """Yield the lines of differences, sorted by package."""
    for one in sorted(differences, key=lambda one: (one.owner.package, one.file.name)):
        yield from _lines(one)


def _lines(one: Difference) -> Iterator[str]:
    owner = one.owner.package or "no package"
    made = f", made by {one.owner.node}" if one.owner.node else ""
    detail = f" ({one.file.detail})" if one.file.detail else ""
    yield f"  {shown(one.file.name)}: {', '.join(one.file.what)}{detail}"
    yield f"      {owner}{made}"
    if one.known:
        yield f"      known: {shown(one.known)}"
    elif one.file.follows:
        yield "      only digests of other files differ in it"
    yield from (f"      | {line}" for line in printable(one.report).splitlines())
