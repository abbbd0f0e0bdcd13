"""Differences with their owners, and with the reasons that a project or Stagewright knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stagewright.project.unreproducible import Unreproducible
from stagewright.release.components import split_pf
from stagewright.reproduce.differences import FileDifference
from stagewright.reproduce.diffoscope import diffoscope
from stagewright.reproduce.file_owners import FileOwner, file_owners

MOST_REPORTS = 10
"""The largest number of files that diffoscope compares."""

_RECORDS = Unreproducible(
    files=[f"/var/db/pkg/*/{name}" for name in ("BUILD_ID", "BINPKGMD5", "COUNTER", "environment.bz2")],
    why="Portage's records differ if one build compiles a package and the other takes it from the cache",
)


@dataclass(frozen=True)
class Difference:
    """A file that differs, its owner, and the reason if the project knows this difference."""

    file: FileDifference
    owner: FileOwner
    known: str = ""
    report: str = ""  # of diffoscope(1)

    @property
    def counts(self) -> bool:
        """True if nothing explains the difference."""
        return not self.known and not self.file.follows

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as JSON-able data."""
        file = {name: value for name, value in asdict(self.file).items() if name != "copies"}
        return {
            **file,
            "name": self.file.name,
            "report": self.report,
            "package": self.owner.package,
            "node": self.owner.node,
            "known": self.known,
        }


def explained(
    found: Sequence[FileDifference], results: Sequence[tuple[str, Path]], known: Mapping[str, Unreproducible]
) -> Iterator[Difference]:
    """Yield differences with owners and reasons. ``results`` are nodes with their trees, in the order of the build."""
    entries = [*known.values(), _RECORDS]
    owners = file_owners({one.place for one in found}, results)
    reports = 0
    for one in found:
        owner = owners[one.place]
        name = split_pf(owner.package)[0] if "/" in owner.package else owner.package
        why = next((entry.why for entry in entries if entry.covers(one.place, name)), "")
        found_one = Difference(one, owner, why)
        if found_one.counts and one.copies and reports < MOST_REPORTS:
            reports += 1
            found_one = replace(found_one, report=diffoscope(*one.copies))
        yield found_one
