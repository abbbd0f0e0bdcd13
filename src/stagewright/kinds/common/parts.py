"""Records of the parts that a result takes from a root: a payload, or kernels with a system in their initramfs.

The root exists only during the build. So the result keeps the records of its packages, and the paths of its parts'
files, in ``packages.gz`` (kinds/common/records.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stagewright.chroot import inside
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.records import Records, RecordsFile, write_data
from stagewright.kinds.common.work import Work
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.emerge import Portage
from stagewright.portage.installed import installed_packages
from stagewright.release.owners import Owners, PackageRecord, has_records
from stagewright.root.overlay import mount_layers
from stagewright.root.root import Root


@dataclass(frozen=True)
class Part:
    """A part that was taken from a root. ``paths`` are those of its files in the root, without links in folders.

    ``kernel`` is the name of its kernel. ``sources`` is a file of the package that it was compiled from. ``by`` is the
    program that made it, and ``made`` are the paths that the root does not have. ``own`` are paths of files that the
    project itself added.
    """

    name: str
    image: str
    paths: Sequence[str]
    kernel: str = ""
    sources: str = ""
    by: str = ""
    own: Sequence[str] = ()
    made: Sequence[str] = ()


@dataclass(frozen=True)
class PartRecords:
    """Parts, and the records of all packages of the root that they were taken from."""

    records: Records
    installed: Sequence[PackageRecord]
    parts: Sequence[Part]

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> PartRecords:
        """Return the records in data from ``read_data``."""
        return cls(
            records=Records.of_data(data),
            installed=[PackageRecord(**{**one, "paths": tuple(one["paths"])}) for one in data.get("installed", ())],
            parts=[Part(**one) for one in data.get("parts", ())],
        )


def write_parts(
    work: Work[PackageContext], role: str, root: Root, portage: Portage, parts: Iterable[Part]
) -> RecordsFile:
    """Write the records of parts that were taken from the root of an input, after this build added packages to it."""
    packages = inside(root.path, installed_packages, Path("/"))
    own = portage.ebuild_records(packages, work.key.data["repos"])
    records = Records.of_layers(work.store, work.layers(role)).with_ebuilds(own)
    owners, _ = read_owners(work, role, root.path)
    installed = {one.name for one in owners.packages}
    records = replace(records, ebuilds=[one for one in records.ebuilds if one.package in installed])
    plain = [inside(root.path, _plain, owners, part) for part in parts]
    data: Mapping[str, Any] = {
        **records.to_dict(),
        "installed": [asdict(one) for one in owners.packages],
        "parts": [asdict(one) for one in plain],
    }
    return write_data(data, work.folder)


def read_owners(work: Work[Any], role: str, root: Path) -> tuple[Owners, bool]:
    """Return the owners of the files in the root of an input, and True if the root has its records of packages.

    The root is mounted at ``root``. If upper layers removed the records, as live media do, those below count.
    """
    is_complete = inside(root, has_records)
    if not is_complete:
        trees = work.store.stack(work.inputs[role].key)
        lowest = next((number for number, tree in enumerate(trees) if inside(tree, has_records)), None)
        root = root if lowest is None else mount_layers(trees[lowest:], work.folder / "records")
    return inside(root, Owners.read), is_complete


def _plain(owners: Owners, part: Part) -> Part:
    """Return a part with paths that have no links in their folders, and with those that the root does not have."""
    sources = owners.plain(part.sources) if part.sources else ""
    paths, own = ([owners.plain(path) for path in some] for some in (part.paths, part.own))
    made = [path for path in paths if part.by and not os.path.lexists(path)]
    return replace(part, paths=paths, sources=sources, own=own, made=made)
