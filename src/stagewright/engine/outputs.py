"""The output folder of a project: hard links to the files of its artifacts in the store."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from stagewright.engine.plan import Plan
from stagewright.engine.project_files import give_to_invoker, writing
from stagewright.kinds.common.artifact import OutputKind
from stagewright.kinds.registry import facts_of
from stagewright.kinds.releases.origins import files_read
from stagewright.release.manifest import SUFFIX
from stagewright.release.origin import Origin, write_with_origin
from stagewright.release.project_source import project_source
from stagewright.release.provenance import lock_text
from stagewright.store.links import link
from stagewright.store.store import Store
from stagewright.trees import files_below

FOLDER = "out"

_NOUN = "the folder of results"


def check_folder(plan: Plan, folder: Path) -> None:
    """Check that the artifacts of a plan can be linked into a folder, before hours of building. Raises: USAGE."""
    nodes = (node_id for target in plan.targets for node_id in plan.graph.targets[target])
    if not any(isinstance(plan.steps[node_id].node.settings, OutputKind) for node_id in nodes):
        return
    with writing(folder, _NOUN):
        if os.path.lexists(folder) and not folder.is_dir():
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
        existing = folder if folder.is_dir() else folder.parent
        if not os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
            code = errno.EROFS if os.statvfs(existing).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(code, os.strerror(code), str(existing))


def publish(plan: Plan, store: Store, folder: Path) -> Mapping[str, list[str]]:
    """Link the artifacts of all targets into a folder, and return their paths by target.

    An artifact of one file gets its own name in the folder, together with its digests and manifest; an artifact of
    several files gets a folder with the name of the target. Across file systems, files are copied. Copies of manifests
    get the origin of the artifact, too.
    """
    with writing(folder, _NOUN):
        outputs = _publish(plan, store, folder)
        if outputs:
            give_to_invoker(folder)
    return outputs


def _publish(plan: Plan, store: Store, folder: Path) -> Mapping[str, list[str]]:
    outputs: dict[str, list[str]] = {}
    for target in plan.targets:
        for node_id in plan.graph.targets[target]:
            step = plan.steps[node_id]
            if not isinstance(step.node.settings, OutputKind) or not store.has(step.node.yields, step.key.digest):
                continue
            tree = store.tree(step.node.yields, step.key.digest)
            # Deepest first, so that a web server has all packages before the index that names them.
            found = (path for path in (tree / name for name in files_below(tree)) if path.is_file())
            files = sorted(found, key=lambda path: -len(path.parts))
            main = facts_of(store.meta(step.node.yields, step.key.digest)).main_file
            place = folder if main else folder / target
            for file in files:
                target_file = place / file.relative_to(tree)
                if file.parent == tree and file.name.endswith(f".{SUFFIX}"):
                    write_with_origin(file, target_file, _origin(plan, target, node_id), store)
                else:
                    link(file, target_file)
            if not main:
                _prune(place, {place / file.relative_to(tree) for file in files})
            outputs[target] = [str(place / main)] if main else [str(place)]
    return outputs


def _origin(plan: Plan, target: str, node: str) -> Origin:
    project = plan.project
    source = project_source(project.folder, files_read(project, plan.graph, [node]))
    given = {name: override.value for name, override in sorted(project.given.items())}
    return Origin(target=target, source=source, lock=lock_text(project), given=given)


def _prune(folder: Path, wanted: set[Path]) -> None:
    """Remove the files of an earlier build from a folder."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in wanted:
            path.unlink()
