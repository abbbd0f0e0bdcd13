"""The packages that differ between two roots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stagewright.portage.ebuilds import split_version
from stagewright.portage.installed import Package, packages_as_data


@dataclass(frozen=True)
class PackageChange:
    """A package that differs: its old and new state (None: not installed)."""

    old: Package | None
    new: Package | None

    @property
    def use(self) -> list[str]:
        """The changed USE flags, ``+flag`` and ``-flag``, sorted by name."""
        before = set(self.old.use if self.old else ())
        after = set(self.new.use if self.new else ())
        return [f"{'+' if flag in after else '-'}{flag}" for flag in sorted(before ^ after)]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data."""
        data = {
            side: packages_as_data([one])[0] if one else None for side, one in (("old", self.old), ("new", self.new))
        }
        return {**data, "use": self.use} if self.old and self.new else data


def package_changes(old: Sequence[Package], new: Sequence[Package]) -> list[PackageChange]:
    """Return the packages that differ in version, slot, USE flags or repository, sorted by name.

    Packages match by name and slot. If one unmatched package of a name is left on each side, these two match.
    """
    before, after = _by_name(old), _by_name(new)
    names = sorted(before.keys() | after.keys())
    found = [change for name in names for change in _of_name(before.get(name, {}), after.get(name, {}))]
    return [change for change in found if change.old is None or change.new is None or _differ(change.old, change.new)]


def _by_name(packages: Sequence[Package]) -> dict[str, dict[str, Package]]:
    """Return packages by category/package, then by slot."""
    table: dict[str, dict[str, Package]] = {}
    for package in packages:
        table.setdefault(split_version(package.name)[0], {})[_slot(package)] = package
    return table


def _of_name(before: dict[str, Package], after: dict[str, Package]) -> Iterator[PackageChange]:
    for slot in sorted(before.keys() & after.keys()):
        yield PackageChange(before.pop(slot), after.pop(slot))
    if len(before) == len(after) == 1:
        yield PackageChange(before.popitem()[1], after.popitem()[1])
    yield from (PackageChange(package, None) for package in before.values())
    yield from (PackageChange(None, package) for package in after.values())


def _slot(package: Package) -> str:
    return package.slot.partition("/")[0]


def _differ(old: Package, new: Package) -> bool:
    before, after = ((one.name, one.slot, one.repository, sorted(one.use)) for one in (old, new))
    return before != after
