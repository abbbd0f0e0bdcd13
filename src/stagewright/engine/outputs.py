"""The output folder of a project: hard links to what the store holds for people (R77: no second copy)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stagewright.engine.plan import Plan
from stagewright.kinds.registry import by_kind
from stagewright.store.links import link
from stagewright.store.store import Store

FOLDER = "out"


def publish(plan: Plan, store: Store, folder: Path) -> Mapping[str, list[str]]:
    """Link the files of all targets that are for people into a folder; returns their paths by target.

    An artifact that is a file lies in the folder under its own name, with what goes with it (its digests and the like);
    one of several files in a folder of the target's name. Across file systems files are copied.
    """
    outputs: dict[str, list[str]] = {}
    for target in plan.targets:
        for node_id in plan.graph.targets[target]:
            step = plan.steps[node_id]
            if not by_kind()[step.node.kind].publishes or not store.has(step.node.yields, step.key.digest):
                continue
            tree = store.tree(step.node.yields, step.key.digest)
            # Deepest first: who serves the folder has all packages before the index that names them.
            files = sorted((path for path in tree.rglob("*") if path.is_file()), key=lambda path: -len(path.parts))
            main = store.meta(step.node.yields, step.key.digest).facts.get("file")
            place = folder if main else folder / target
            for file in files:
                link(file, place / file.relative_to(tree))
            if not main:
                _prune(place, {place / file.relative_to(tree) for file in files})
            outputs[target] = [str(place / main)] if main else [str(place)]
    return outputs


def _prune(folder: Path, wanted: set[Path]) -> None:
    """Remove what an earlier build left in a folder."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in wanted:
            path.unlink()
