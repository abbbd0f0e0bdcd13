"""Building one node again from the inputs in the store, to compare both results or to replace the stored one.

The worker builds in a new work folder as in any build, but with empty caches of binary packages and of ccache. It
writes into that folder::

    again/tree         the second result
    again/content.gz   the list of its content (store/content.py)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stagewright.engine.again import AGAIN, REPLACE
from stagewright.engine.asked_pins import asked_pins
from stagewright.engine.build_options import BuildOptions
from stagewright.engine.doctor import require
from stagewright.engine.job import Job, limits_of
from stagewright.engine.lineage import lineage, metas_in
from stagewright.engine.plan import Plan, Step
from stagewright.engine.single import reported, wait_for
from stagewright.engine.targets import name_of, target_ids
from stagewright.engine.workspace import Workspace
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Node, Yields
from stagewright.kinds.common.work import Grant
from stagewright.reproduce.differences import FileDifference, file_differences
from stagewright.reproduce.explained import Difference, explained
from stagewright.store.content import FILE_NAME, Damage, Entry, compare, read_content
from stagewright.store.in_use import in_use, keys_in_use
from stagewright.store.store import Store
from stagewright.trees import files_below

_DERIVED = (".manifest.json", ".DIGESTS", ".sha256")
"""Ends of the names of files that follow from others."""


@dataclass(frozen=True)
class Rebuilt:
    """A node that was built again. ``differences`` is empty if the result was replaced without a comparison."""

    node: str
    key: str
    seconds: float
    compared: bool
    differences: tuple[Difference, ...] = field(default=())

    @property
    def unexplained(self) -> list[Difference]:
        """The differences that nothing explains."""
        return [one for one in self.differences if one.counts]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON-able data."""
        data = asdict(self) | {"differences": [one.to_dict() for one in self.differences]}
        return {**data, "equal": not self.differences, "unexplained": len(self.unexplained)}


def node_to_rebuild(workspace: Workspace, name: str) -> str:
    """Return the id of the node that a name means: a target, or the id of a node. Raises: UNKNOWN_NAME."""
    graph = workspace.graph
    known = {**{node: node for node in graph.nodes}, **target_ids(workspace.project, graph)}
    found = name_of(name, known, "a stage or node of this project")
    return graph.targets[found][0] if found in graph.targets else found


def rebuild(workspace: Workspace, plan: Plan, node_id: str, options: BuildOptions, *, compares: bool) -> Rebuilt:
    """Build a node again. With ``compares`` the store stays as it is, and the differences are returned.

    Raises: NOT_BUILT if the node or one of its inputs is not in the store, STORE_BUSY if another process uses the
    result, and what the build raises.
    """
    store, step = workspace.store, plan.steps[node_id]
    _check_built(plan, store, node_id)
    with asked_pins([step.node], workspace.ask):
        require(store, [step.node])
        return _rebuild(workspace, plan, step, options, compares=compares)


def _rebuild(workspace: Workspace, plan: Plan, step: Step, options: BuildOptions, *, compares: bool) -> Rebuilt:
    store, node_id, key = workspace.store, step.node.id, step.key.digest
    if not compares and key in keys_in_use(store):
        raise StagewrightError(Reason.STORE_BUSY, f"{node_id}: another process uses the result", hint="wait for it")
    with in_use(store, plan.keys().values()), store.locked(key) as free:
        if not free:
            raise StagewrightError(Reason.STORE_BUSY, f"{node_id}: another process builds it", hint="wait for it")
        with store.scratch(AGAIN) as folder:
            seconds = _run(workspace, _job(workspace, plan, step.node, options), folder, AGAIN if compares else REPLACE)
            if not compares:
                return Rebuilt(node_id, key, seconds, compared=False)
            found = list(_differences(store, step.node, key, folder))
            known = workspace.project.unreproducible
            trees = [*_trees(plan, store), (node_id, folder / AGAIN / "tree")]
            return Rebuilt(node_id, key, seconds, compared=True, differences=tuple(explained(found, trees, known)))


def _check_built(plan: Plan, store: Store, node_id: str) -> None:
    for name in (node_id, *plan.steps[node_id].node.inputs.values()):
        step = plan.steps[name]
        if not store.has(step.node.yields, step.key.digest):
            what = f"{name}: not built with the present settings of the project"
            raise StagewrightError(Reason.NOT_BUILT, what, hint=f"stagewright build {name.rpartition(':')[2]}")


def _job(workspace: Workspace, plan: Plan, node: Node, options: BuildOptions) -> Job:
    project, machine = workspace.project, options.resources
    return Job(
        project=project.info.name,
        project_folder=project.folder.resolve(),
        node=node,
        key=plan.steps[node.id].key,
        inputs=plan.inputs_of(node),
        grant=Grant(machine.cores, max(machine.memory, node.demand.memory)),
        limits=limits_of(node, project, options.limits),
        store=workspace.store.path,
        log=workspace.log_file(node.id, "rebuild"),
        lineage=lineage(plan, metas_in(workspace.store), node.id),
    )


def _run(workspace: Workspace, job: Job, folder: Path, mode: str) -> float:
    """Run the worker, and return its time in seconds. Raises what the worker reports."""
    with reported(workspace.emit, job.node.id, "rebuild", job.key.digest, job.log):
        result = wait_for(workspace.launch(job, folder, mode), workspace.emit)
        if result.error:
            raise StagewrightError.from_dict(result.error)
    return result.seconds


def _differences(store: Store, node: Node, key: str, folder: Path) -> Iterator[FileDifference]:
    old, again = store.folder(node.yields, key), folder / AGAIN
    if node.yields is Yields.LAYER:
        meta = store.meta(node.yields, key)
        expected = _tree_entries(read_content(old / FILE_NAME, meta.content or None))
        yield from _joined(compare(expected, _tree_entries(read_content(again / FILE_NAME))))
        return
    files = [set(files_below(place / "tree")) for place in (old, again)]
    for name in sorted(files[0] | files[1]):
        if name.endswith(_DERIVED):
            continue
        if name in files[0] & files[1]:
            yield from file_differences(name, old / "tree" / name, again / "tree" / name, folder)
        else:
            yield FileDifference((), f"/{name}", ("missing" if name in files[0] else "added",))


def _tree_entries(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries of the tree: binary packages have the time of their build."""
    inside, left_out = False, 0
    for entry in entries:
        if entry.depth == 0:
            inside = entry.name == "tree"
        if not inside:
            left_out += 1
        elif entry.is_again:
            yield entry._replace(content=f"={int(entry.content[1:]) - left_out}")
        else:
            yield entry


def _joined(damages: Iterable[Damage]) -> Iterator[FileDifference]:
    """Yield one difference for each path."""
    found: dict[str, list[Damage]] = {}
    for damage in damages:
        found.setdefault("/" + damage.path.removeprefix("tree").lstrip("/"), []).append(damage)
    for path, several in found.items():
        shown = [
            f"{one.what} {one.expected} and {one.found}" for one in several if one.what not in ("content", "added")
        ]
        yield FileDifference((), path, tuple(one.what for one in several), "; ".join(shown))


def _trees(plan: Plan, store: Store) -> list[tuple[str, Path]]:
    """Return the trees of all nodes of a plan that are in the store, in the order of the build."""
    steps = [(name, step.node.yields, step.key.digest) for name, step in plan.steps.items()]
    return [(name, store.tree(yields, key)) for name, yields, key in steps if store.has(yields, key)]
