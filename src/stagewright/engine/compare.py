"""Comparing two sides: roots are mounted read-only in namespaces of a process of their own, and nothing is unpacked.

That process is started by :func:`compare` as ``python -m stagewright.engine.compare``, reads two sides from a file, and
prints what differs as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stagewright.engine.diff_sources import Side
from stagewright.engine.worker import isolated
from stagewright.errors import Reason, StagewrightError
from stagewright.portage.installed import Package, from_data, packages_of
from stagewright.release.listing import read_contents
from stagewright.release.package_changes import package_changes
from stagewright.release.tree import PathChange, Tree, TreeEntry, path_changes, read_tree
from stagewright.root.overlay import mount_layers
from stagewright.run import python, run


def compare(old: Side, new: Side) -> dict[str, Any]:
    """What differs between two sides.

    ``equal``; ``packages`` with lists ``added``, ``removed``, ``changed``; ``files`` with such lists and the ``total``
    bytes, or None when a side has no listing. Raises ``NOT_ROOT`` where a root has to be mounted and cannot be.
    """
    if not (old.layers or new.layers):
        return _compare([old, new], Path())
    if os.geteuid() != 0:
        raise StagewrightError(
            Reason.NOT_ROOT, "comparing roots needs root, to mount them", hint="run as root, or compare two manifests"
        )
    with tempfile.TemporaryDirectory(prefix="stagewright-diff-") as name:
        job = Path(name) / "sides.json"
        job.write_text(json.dumps([old.to_dict(), new.to_dict()]), encoding="utf-8")
        said = run(isolated(python("stagewright.engine.compare", str(job)))).stdout
    result: dict[str, Any] = json.loads(said)
    return result


def main(job: Path) -> None:
    """Compare the sides of a job, in namespaces that end with this process."""
    both = [Side(**side) for side in json.loads(job.read_text(encoding="utf-8"))]
    sys.stdout.write(json.dumps(_compare(both, job.parent)))


def _compare(both: Sequence[Side], folder: Path) -> dict[str, Any]:
    looked = [_look(side, folder / str(number)) for number, side in enumerate(both)]
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


def _look(side: Side, target: Path) -> tuple[Tree | None, list[Package]]:
    """The tree and the packages of a side."""
    if not side.layers:
        return read_contents(Path(side.contents)) if side.contents else None, from_data(side.packages or ())
    root = mount_layers([Path(layer) for layer in side.layers], target)
    packages = packages_of(root, side.facts) if side.packages is None else from_data(side.packages)
    return read_tree(root, side.skip), packages


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
