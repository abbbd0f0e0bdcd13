"""Rules for old versions of a published release."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from stagewright.project.fields import Section
from stagewright.release.seen import version_order

Count = Annotated[int, Field(ge=0, le=10_000)]


class Keep(Section):
    """The versions that stay published. A version stays if any rule keeps it. Without rules all stay."""

    last: Count | None = None
    """The number of newest versions."""
    monthly: Count | None = None
    """The number of months of which the newest version stays."""
    yearly: Count | None = None
    """The number of years of which the newest version stays."""

    def removed(self, versions: Sequence[DatedVersion]) -> list[DatedVersion]:
        """Return the versions that no rule keeps, oldest first. The newest one always stays."""
        if self.last is None and self.monthly is None and self.yearly is None:
            return []
        newest_first = sorted(versions, key=DatedVersion.order, reverse=True)
        kept = set(newest_first[: max(1, self.last or 0)])
        for count, form in ((self.monthly, "%Y-%m"), (self.yearly, "%Y")):
            kept.update(_newest_of_each(newest_first, form)[: count or 0])
        return [version for version in reversed(newest_first) if version not in kept]


@dataclass(frozen=True)
class DatedVersion:
    """A version and its date (seconds since 1970)."""

    version: str
    date: int

    def order(self) -> tuple[int, list[tuple[int, int, str]]]:
        """Return the key for sorting: the date, then the version by its numbers."""
        return self.date, version_order(self.version)


def _newest_of_each(newest_first: Sequence[DatedVersion], form: str) -> list[DatedVersion]:
    """Return the newest version of each period, newest period first. ``form`` is a format of strftime(3)."""
    found: dict[str, DatedVersion] = {}
    for version in newest_first:
        found.setdefault(time.strftime(form, time.gmtime(version.date)), version)
    return list(found.values())
