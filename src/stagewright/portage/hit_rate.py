"""How many packages of a stage binary package hosts have, from their indexes and the repositories.

Nothing is resolved. The packages are those that the stage names, and those that they need at run time: RDEPEND and
PDEPEND of the packages in the indexes. The version of each is the newest that masks, keywords and the atom leave. A
host has the package if its index lists exactly this version. Portage also compares USE flags and dependencies, and
knows what is installed; so a build can take fewer packages from a host, and need more or fewer of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from stagewright.lazy_dataclass import dataclass
from stagewright.portage.atom_check import AtomCheck
from stagewright.portage.atoms import PackageAtom, parse_atom
from stagewright.portage.dependency_text import AnyOf, Part, parse, reduced, words_of
from stagewright.portage.ebuilds import by_version, split_version

_MOST_PACKAGES = 20_000
"""The largest number of packages that are counted for a stage, whatever an index contains."""

_BUILT_SLOT = re.compile(r"(:[^/:\[]+)/[^=:\[]+=")
"""A slot with the sub-slot that a package was built against: another sub-slot would need another package of it."""

Entry = Mapping[str, str]
"""The entries of a package in an index, by name."""


@dataclass(frozen=True)
class HitRate:
    """``hits`` of the ``wanted`` packages are on a host.

    ``others`` are packages that hosts have in other versions only: the package, the version of the repositories, and
    the newest version of the hosts. ``missing`` are packages that no host has. Both are sorted.
    """

    wanted: int
    hits: int
    others: tuple[tuple[str, str, str], ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def percent(self) -> int:
        """The hits in percent of the wanted packages, rounded down."""
        return 100 * self.hits // self.wanted if self.wanted else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-able data."""
        others = [{"package": name, "version": version, "host": host} for name, version, host in self.others]
        return {"packages": self.wanted, "on_hosts": self.hits, "other_version": others, "missing": list(self.missing)}


@dataclass
class _Count:
    """The state of one count."""

    check: AtomCheck
    index: Mapping[str, Mapping[str, Entry]]  # by package, and by version
    versions: dict[str, str] = field(default_factory=dict)  # by category/name-version: its package
    waiting: list[PackageAtom] = field(default_factory=list)

    def add(self, atom: PackageAtom) -> None:
        """Count the package of an atom, and remember what it needs."""
        best = self._best(atom)
        if best is None or f"{atom.package}-{best}" in self.versions:
            return
        self.versions[f"{atom.package}-{best}"] = atom.package
        known = self.index.get(atom.package, {})
        entry = known.get(best) or known.get(max(known, key=by_version, default=""))
        self.waiting += _needed(entry, self.index) if entry else []

    def _best(self, atom: PackageAtom) -> str | None:
        """Return the version that Portage would choose for an atom, or None if there is no ebuild for it."""
        visibility = self.check.visibility
        if visibility and any(split_version(cpv)[0] == atom.package for cpv in visibility.provided):
            return None
        fitting = [ebuild for ebuild in self.check.ebuilds(atom.package) if atom.matches(atom.package, ebuild)]
        visible = [
            one for one in fitting if not one.is_live and not (visibility and visibility.mask(atom.package, one))
        ]
        return visible[-1].version if visible else None


def hit_rate(atoms: Iterable[str], check: AtomCheck, entries: Iterable[Entry]) -> HitRate:
    """Return the hit rate of a stage with these atoms, by the entries of the indexes of all its hosts."""
    index: dict[str, dict[str, Entry]] = defaultdict(dict)
    for entry in entries:
        package, version = split_version(entry.get("CPV", ""))
        if version:
            index[package][version] = entry
    count = _Count(check, dict(index))
    count.waiting += [atom for text in atoms if (atom := parse_atom(text))]
    while count.waiting and len(count.versions) < _MOST_PACKAGES:
        count.add(count.waiting.pop())
    found = sorted((package, name.removeprefix(f"{package}-")) for name, package in count.versions.items())
    lacking = [(package, version) for package, version in found if version not in index.get(package, {})]
    others = (
        (package, version, max(index[package], key=by_version)) for package, version in lacking if package in index
    )
    missing = tuple(f"{package}-{version}" for package, version in lacking if package not in index)
    return HitRate(len(found), len(found) - len(lacking), tuple(others), missing)


def _needed(entry: Entry, index: Mapping[str, object]) -> Iterator[PackageAtom]:
    """Yield what a package of an index needs at run time."""
    use = entry.get("USE", "").split()
    for name in ("RDEPEND", "PDEPEND"):
        try:
            parts = reduced(parse(entry.get(name, "")), use)
        except ValueError:
            continue
        words = (_BUILT_SLOT.sub(r"\1", word) for word in _flat(parts, index))
        yield from filter(None, map(parse_atom, words))


def _flat(parts: Sequence[Part], index: Mapping[str, object]) -> Iterator[str]:
    """Yield atoms; of alternatives the first whose packages are all in the index, or else the first."""
    for part in parts:
        if isinstance(part, str):
            yield part
        elif isinstance(part, AnyOf):
            groups = [(one,) for one in part.parts]
            yield from _flat(next((group for group in groups if _is_there(group, index)), groups[0]), index)
        elif isinstance(part, tuple):
            yield from _flat(part, index)


def _is_there(parts: tuple[Part, ...], index: Mapping[str, object]) -> bool:
    atoms = [atom for word in words_of(parts) if (atom := parse_atom(word))]
    return bool(atoms) and all(atom.package in index for atom in atoms)
