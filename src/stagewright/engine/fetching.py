"""Sources of packages, fetched before builds need them: Portage works out what each stage will fetch.

If the root of a stage is built, Portage is asked in that root, and names exactly what the build will fetch. Otherwise
it is asked in the nearest root below that is built (in the end the seed's), where every package that the stage needs
counts as missing: more is fetched than needed rather than less (decision 14).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.engine.job import Job, limits_of
from stagewright.engine.plan import Plan, State, Step
from stagewright.engine.single import ask_worker, reported
from stagewright.engine.worker import FETCHED
from stagewright.engine.workspace import Workspace
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.events import NodeNotice, Status
from stagewright.graph.node import Yields
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.work import Grant
from stagewright.project.lock import Pin
from stagewright.store.store import Store

EXPECTED = (Reason.DEPENDENCIES, Reason.ENVIRONMENT_LACKS, Reason.PACKAGE_FAILED, Reason.COMMAND_FAILED)
"""Reasons why Portage may fail in the root of another node, though it will not in the stage's own root."""


@dataclass(frozen=True)
class Sources:
    """The distfiles that a node needs, or why they are not known before the root below is built.

    ``files`` are paths below the folder of shared distfiles, which end with the name of the file.
    """

    node: str
    files: tuple[str, ...] = ()
    unknown: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the sources as JSON-able data."""
        return {"files": sorted(Path(path).name for path in self.files), "untold": self.unknown or None}


@dataclass(frozen=True)
class FetchResult:
    """The result of a fetch.

    ``pins`` are by node id. ``distfiles`` is the folder with the files ``paths``. ``removed`` are files of the mirror
    that were removed because they are no longer needed.
    """

    pins: dict[str, Pin]
    sources: list[Sources]
    distfiles: Path
    removed: Sequence[Path] = ()

    @property
    def paths(self) -> list[str]:
        """The paths of all distfiles below ``distfiles``, sorted, each once."""
        return sorted({name for one in self.sources for name in one.files})

    @property
    def size(self) -> int:
        """The size of all distfiles in bytes."""
        return sum((self.distfiles / name).stat().st_size for name in self.paths)


def fetch_sources(workspace: Workspace, plan: Plan, *, everything: bool) -> list[Sources]:
    """Fetch the distfiles of the nodes that a plan builds; of all its nodes with ``everything``.

    Raises what Portage could not fetch, of all nodes, each with its place.
    """
    found: list[Sources] = []
    problems: list[StagewrightError] = []
    for step in _steps(plan, everything=everything):
        try:
            found.append(_fetch(workspace, plan, step))
        except StagewrightError as error:
            problems.append(_placed(step, error))
    if problems:
        raise ProblemsError(problems)
    return found


def _steps(plan: Plan, *, everything: bool) -> Iterator[Step]:
    """Yield the nodes that install packages."""
    for step in plan.steps.values():
        installs = (
            isinstance(step.node.settings, PackageStage)
            and isinstance(step.node.context, PackageContext)
            and step.node.context.repos
        )
        if installs and (everything or step.state is State.BUILD):
            yield step


def _fetch(workspace: Workspace, plan: Plan, step: Step) -> Sources:
    node, store, emit = step.node, workspace.store, workspace.emit
    root = _root(plan, step, store)
    if root is None:
        return _unknown(workspace, node.id, f"nothing below {node.id} is built")
    elsewhere = root != node.inputs["root"]
    inputs = {**plan.inputs_of(node), "root": (Yields.LAYER, plan.steps[root].key.digest)}
    log = workspace.log_file(node.id, "fetch")
    job = Job(
        project=workspace.project.info.name,
        project_folder=workspace.project.folder.resolve(),
        node=node,
        key=step.key,
        inputs=inputs,
        grant=Grant(1, node.demand.memory),
        limits=limits_of(node, workspace.project),
        store=store.path,
        log=log,
        other_root=elsewhere,
    )
    with reported(emit, node.id, "fetch", step.key.digest, log) as report:
        try:
            return Sources(node.id, tuple(ask_worker(workspace, job, "fetch", FETCHED)))
        except StagewrightError as error:
            if not elsewhere or error.reason not in EXPECTED:
                raise
            report.status, why = Status.SKIPPED, error.message
    return _unknown(workspace, node.id, why)


def _root(plan: Plan, step: Step, store: Store) -> str | None:
    """Return the node in whose root Portage is asked: the stage's own root if it is built, else the nearest below."""
    source = step.node.inputs.get("root")
    while source and not store.has(Yields.LAYER, plan.steps[source].key.digest):
        source = plan.graph.nodes[source].inputs.get("root")
    return source


def _unknown(workspace: Workspace, node: str, why: str) -> Sources:
    text = f"its sources are unknown until its base stage is built: {why}"
    workspace.emit(NodeNotice(node=node, text=text))
    return Sources(node, unknown=why)


def _placed(step: Step, error: StagewrightError) -> StagewrightError:
    message = f"{step.node.id}: {error.message}"
    return StagewrightError(
        error.reason, message, place=error.place or step.node.place, hint=error.hint, detail=error.detail
    )
