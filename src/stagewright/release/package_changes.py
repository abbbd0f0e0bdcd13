"""The packages that differ between two roots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from stagewright.portage.ebuilds import split_version
from stagewright.portage.installed import Package, packages_as_data

P = TypeVar("P")


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
    """Return the packages that differ in version, slot, USE flags or repository, sorted by name."""
    found = [PackageChange(*pair) for pair in match_packages(old, new, _name_and_slot)]
    return [change for change in found if change.old is None or change.new is None or _differ(change.old, change.new)]


def match_packages(
    old: Sequence[P], new: Sequence[P], key: Callable[[P], tuple[str, str]]
) -> Iterator[tuple[P | None, P | None]]:
    """Yield the old and the new state of each package (None: not there), sorted by name. ``key`` gives name and slot.

    Packages match by name and slot. If one unmatched package of a name is left on each side, these two match.
    """
    before, after = _by_name(old, key), _by_name(new, key)
    for name in sorted(before.keys() | after.keys()):
        yield from _of_name(before.get(name, {}), after.get(name, {}))


def _by_name(packages: Sequence[P], key: Callable[[P], tuple[str, str]]) -> dict[str, dict[str, P]]:
    """Return packages by name, then by slot."""
    table: dict[str, dict[str, P]] = {}
    for package in packages:
        name, slot = key(package)
        table.setdefault(name, {})[slot] = package
    return table


def _of_name(before: dict[str, P], after: dict[str, P]) -> Iterator[tuple[P | None, P | None]]:
    for slot in sorted(before.keys() & after.keys()):
        yield before.pop(slot), after.pop(slot)
    if len(before) == len(after) == 1:
        yield before.popitem()[1], after.popitem()[1]
    yield from ((package, None) for package in before.values())
    yield from ((None, package) for package in after.values())


def _name_and_slot(package: Package) -> tuple[str, str]:
    return split_version(package.name)[0], package.slot.partition("/")[0]


def _differ(old: Package, new: Package) -> bool:
    before, after = ((one.name, one.slot, one.repository, sorted(one.use)) for one in (old, new))
    return before != after
