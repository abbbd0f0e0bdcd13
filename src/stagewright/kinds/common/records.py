"""``packages.gz`` of a result: records about packages, which bills of materials are made from later (kinds/releases).

A layer has records of the packages that it adds. A result that takes parts of a root, such as a payload, has records of
that root (kinds/common/parts.py). The file is JSON, compressed by gzip; the facts of the result have its SHA-256. All
is recorded as the root and the repository have it, so that bills can change without a build of the result.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.graph.node import Yields
from stagewright.kinds.common.facts import Facts
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.ebuild_records import EbuildRecord
from stagewright.store.meta import Meta
from stagewright.store.store import Store

_LARGEST = 1 << 30


@dataclass(frozen=True)
class RecordsFile:
    """A written file and its digest."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Records:
    """Records of the ebuilds of packages, and parts of Debian's archive by package (NAME:ARCH=VERSION)."""

    ebuilds: Sequence[EbuildRecord] = ()
    areas: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the records as JSON-able data."""
        rows = [one.model_dump(mode="json") for one in sorted(self.ebuilds, key=lambda one: one.package)]
        return {"ebuilds": rows, "areas": dict(sorted(self.areas.items()))}

    def write(self, folder: Path) -> RecordsFile | None:
        """Write the records into a work folder; None without any."""
        return write_data(self.to_dict(), folder) if self.ebuilds or self.areas else None

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> Records:
        """Return the records in data from :func:`read_data`."""
        ebuilds = (EbuildRecord.model_validate(one) for one in data.get("ebuilds", ()))
        return cls(tuple(ebuilds), data.get("areas", {}))

    @classmethod
    def of_layers(cls, store: Store, layers: Iterable[Meta]) -> Records:
        """Return the records of a root; ``layers`` are topmost first. Raises: DAMAGED as :func:`read_data`."""
        ebuilds: dict[str, EbuildRecord] = {}
        areas: dict[str, str] = {}
        for layer in layers:
            found = cls.of_data(read_data(store, Yields.LAYER, layer))
            for one in found.ebuilds:
                ebuilds.setdefault(one.package, one)
            areas = {**found.areas, **areas}
        return cls(tuple(ebuilds.values()), areas)

    def with_ebuilds(self, newer: Iterable[EbuildRecord]) -> Records:
        """Return the records with others, which replace those of the same packages."""
        known = self.by_package | {one.package: one for one in newer}
        return Records(tuple(known.values()), self.areas)

    @property
    def by_package(self) -> dict[str, EbuildRecord]:
        """The records of ebuilds by package (category/name-version)."""
        return {one.package: one for one in self.ebuilds}


def write_data(data: Mapping[str, Any], folder: Path) -> RecordsFile:
    """Write records into a work folder."""
    path = folder / "packages.gz"
    path.write_bytes(gzip.compress(json.dumps(data).encode("ascii"), 6, mtime=0))
    return RecordsFile(path, file_digest(path))


def read_data(store: Store, yields: Yields, result: Meta) -> Mapping[str, Any]:
    """Return the records of a result, empty if it has none. Raises: DAMAGED if the file is not what the result says."""
    digest = Facts.of(result).records if result.facts.get("records") else None
    if not digest:
        return {}
    path = store.records(yields, result.key)
    try:
        if file_digest(path) == digest:
            with gzip.open(path) as stream:
                data: Mapping[str, Any] = json.loads(stream.read(_LARGEST))
            return data
    except (OSError, EOFError, ValueError) as error:
        raise _damaged(path) from error
    raise _damaged(path)


def _damaged(path: Path) -> StagewrightError:
    hint = "run stagewright gc after removing the folder, then build again"
    return StagewrightError(Reason.DAMAGED, f"{path}: changed since the result was built", hint=hint)
