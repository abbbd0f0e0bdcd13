"""Comparing two roots or artifacts. A separate process mounts roots read-only in its namespaces; nothing is unpacked.

:func:`compare` starts that process as ``python -m stagewright.engine.compare``. It reads two sources from a file, and
prints the differences as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stagewright.engine.diff_sources import DiffSource
from stagewright.engine.worker import isolated
from stagewright.errors import StagewrightError
from stagewright.interpreter import python
from stagewright.portage.installed import Package, packages_from_data, packages_of
from stagewright.release.listing import read_contents
from stagewright.release.package_changes import package_changes
from stagewright.release.tree import PathChange, Tree, TreeEntry, path_changes, read_tree
from stagewright.root.overlay import mount_layers
from stagewright.run import run
from stagewright.temporary import temporary_folder


def compare(old: DiffSource, new: DiffSource) -> dict[str, Any]:
    """Return the differences between two sources.

    The keys are ``equal``; ``packages`` with the lists ``added``, ``removed`` and ``changed``; and ``files`` with the
    same lists and the ``total`` bytes, or None if a source has no listing. Raises ``NOT_ROOT`` or
    ``HOST_FEATURE`` if a root must be mounted and this process cannot make the namespaces for it.
    """
    if not (old.layers or new.layers):
        return _compare([old, new], Path())
    with temporary_folder("diff") as folder:
        job = folder / "sources.json"
        job.write_text(json.dumps([old.to_dict(), new.to_dict()]), encoding="utf-8")
        said = run(isolated(python("stagewright.engine.compare", str(job)))).stdout
    result: dict[str, Any] = json.loads(said)
    return result


def main(job: Path) -> None:
    """Compare the sources in a file, in namespaces that end with this process."""
    both = [DiffSource(**source) for source in json.loads(job.read_text(encoding="utf-8"))]
    sys.stdout.write(json.dumps(_compare(both, job.parent)))


def _compare(both: Sequence[DiffSource], folder: Path) -> dict[str, Any]:
    looked = [_look(source, folder / str(number)) for number, source in enumerate(both)]
    (old_tree, old_packages), (new_tree, new_packages) = looked
    packages = package_changes(old_packages, new_packages)
    files = path_changes(old_tree, new_tree) if old_tree and new_tree else None
    return {
        "equal": not packages and not files and (files is not None or both[0].key == both[1].key),
        "packages": {
            "added": [change.to_dict()["new"] for change in packages if not change.old],
            "removed": [change.to_dict()["old"] for change in packages if not change.new],
            "changed": [change.to_dict() for change in packages if change.old and change.new],
        },
        "files": _files(old_tree, new_tree, files) if old_tree and new_tree and files is not None else None,
    }


def _look(source: DiffSource, target: Path) -> tuple[Tree | None, list[Package]]:
    """Return the tree and the packages of a source."""
    if not source.layers:
        return read_contents(Path(source.contents)) if source.contents else None, packages_from_data(
            source.packages or ()
        )
    root = mount_layers([Path(layer) for layer in source.layers], target)
    remembered = map(packages_from_data, source.remembered)
    packages = packages_of(root, remembered) if source.packages is None else packages_from_data(source.packages)
    return read_tree(root, source.skip), packages


def _files(old: Tree, new: Tree, found: Sequence[PathChange]) -> dict[str, Any]:
    return {
        "added": [{"path": change.path, "size": change.growth} for change in found if not change.old],
        "removed": [{"path": change.path, "size": -change.growth} for change in found if not change.new],
        "changed": [_changed(change, change.old, change.new) for change in found if change.old and change.new],
        "total": {"old": old.size, "new": new.size},
    }


def _changed(change: PathChange, old: TreeEntry, new: TreeEntry) -> Mapping[str, Any]:
    return {"path": change.path, "old_size": old.size, "new_size": new.size, "what": list(change.what)}


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except StagewrightError as failure:
        sys.exit(str(failure))
