"""Names of entries. They contain no stamp of the build, so they are the same in all releases."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.catalyst.release_graph import SpecResult
from stagewright.catalyst.tokens import STAMP

_STRANGE = re.compile(r"[^A-Za-z0-9._+-]+")


def bare(identity: str) -> str:
    """Return the last part of an identity without its stamps.

    ``23.0-default/stage3-amd64-x-TIME`` becomes ``stage3-amd64-x``.
    """
    name = identity.rpartition("/")[2]
    return re.sub(r"-{2,}", "-", clean(STAMP.sub("", name)))


def clean(text: str) -> str:
    """Return a text as a valid name. Invalid characters are replaced by dashes."""
    return _STRANGE.sub("-", text).strip("-.") or "x"


def spec_names(results: Iterable[SpecResult]) -> dict[str, str]:
    """Return a unique name for each spec of a release, by its name in the graph.

    Equal names are extended by the release type, or by the file's name, or by its folders.
    """
    items = list(results)
    ways = [
        {item.name: bare(item.identity) for item in items},
        {item.name: f"{clean(item.identity.rpartition('/')[0])}-{bare(item.identity)}" for item in items},
        {item.name: f"{bare(item.identity)}-{_stem(item)}" for item in items},
        {item.name: f"{bare(item.identity)}-{clean(str(item.member.spec.file.with_suffix('')))}" for item in items},
    ]
    return _first_unique(ways, {item.name for item in items})


def _stem(item: SpecResult) -> str:
    """Return the name of the spec's file without its target."""
    stem = clean(Path(item.member.spec.file).stem)
    return stem.removeprefix(f"{item.member.target}-")


def seed_names(identities: Iterable[str]) -> dict[str, str]:
    """Return a unique name for each seed, by its identity."""
    known = sorted(set(identities))
    ways = [
        {identity: f"{bare(identity.removesuffix('-latest'))}-seed" for identity in known},
        {identity: f"{clean(identity)}-seed" for identity in known},
        {identity: f"{clean(identity)}-seed-{number}" for number, identity in enumerate(known)},
    ]
    return _first_unique(ways, set(known))


@dataclass
class FileNames:
    """Names in the project for external files: the last two parts of their path, or more if these are taken."""

    taken: dict[str, Path]

    def name_of(self, path: Path, folder: str = "files") -> str:
        """Return the name of a file. Repeated calls return the same name."""
        parts = [part for part in path.parts if part not in ("/", "..", ".")]
        for count in range(min(2, len(parts)), len(parts) + 1):
            name = "/".join([folder, *map(clean, parts[-count:])])
            if self.taken.setdefault(name, path) == path:
                return name
        name = f"{folder}/{clean(str(path))}-{len(self.taken)}"
        self.taken[name] = path
        return name


def _first_unique(ways: Sequence[Mapping[str, str]], names: set[str]) -> dict[str, str]:
    """Return for each item its first candidate that is unique among the candidates of the same rank."""
    found: dict[str, str] = {}
    for way in ways:
        counts = Counter(way[name] for name in names)
        free = {name for name in names - found.keys() if counts[way[name]] == 1 and way[name] not in found.values()}
        found |= {name: way[name] for name in sorted(free)}
    found |= {name: f"{ways[-1][name]}-{number}" for number, name in enumerate(sorted(names - found.keys()))}
    return found
