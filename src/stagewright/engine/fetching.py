"""Sources of packages, fetched ahead of builds: what each stage will ask for, worked out by Portage itself.

A stage whose root is built is asked in that root, and names exactly what its build will fetch. Where the root is yet to
be built, the nearest root below that is there takes its place (in the end the seed's), and everything that the packages
need counts as missing: rather too much than too little (decision 14).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stagewright.engine.job import Job
from stagewright.engine.pins import attend
from stagewright.engine.plan import Plan, State, Step
from stagewright.engine.worker import FETCHED
from stagewright.engine.worker_process import Worker
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.events import Event, Listener, NodeFinished, NodeNotice, NodeStarted, Status
from stagewright.graph.node import Yields
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.registry import by_kind
from stagewright.store.store import Store

UNTOLD = (Reason.DEPENDENCIES, Reason.ENVIRONMENT_LACKS, Reason.PACKAGE_FAILED, Reason.COMMAND_FAILED)
"""Failures in a root that takes another's place: that other root may do better, once it is built."""


@dataclass(frozen=True)
class Sources:
    """What a node needs: the names of its distfiles, or why they cannot be told before the root below is built."""

    node: str
    files: tuple[str, ...] = ()
    untold: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The sources for programs."""
        return {"files": list(self.files), "untold": self.untold or None}


def fetch_sources(plan: Plan, store: Store, listeners: Sequence[Listener], *, everything: bool) -> list[Sources]:
    """Fetch the distfiles of what a plan would build; of all its nodes with ``everything``.

    Raises what Portage could not fetch, of all nodes, each with its place.
    """
    found: list[Sources] = []
    problems: list[StagewrightError] = []

    def emit(event: Event) -> None:
        for listener in listeners:
            listener(event)

    for step in _steps(plan, everything=everything):
        try:
            found.append(_fetch(plan, step, store, emit))
        except StagewrightError as error:
            problems.append(_placed(step, error))
    if problems:
        raise ProblemsError(problems)
    return found


def _steps(plan: Plan, *, everything: bool) -> Iterator[Step]:
    """The nodes that will install packages."""
    for step in plan.steps.values():
        installs = issubclass(by_kind()[step.node.kind], PackageStage) and step.node.context.get("repos")
        if installs and (everything or step.state is State.BUILD):
            yield step


def _fetch(plan: Plan, step: Step, store: Store, emit: Callable[[Event], None]) -> Sources:
    node, name = step.node, plan.project.info.name
    root = _root(plan, step, store)
    if root is None:
        return _untold(node.id, f"nothing below {node.id} is built", emit)
    elsewhere = root != node.inputs["root"]
    inputs = {**plan.inputs_of(node), "root": (Yields.LAYER, plan.steps[root].key.digest)}
    log = store.log_folder(name, node.id) / f"fetch-{time.strftime('%Y%m%d-%H%M%S')}.log"
    told = replace(node, hints={**node.hints, "elsewhere": elsewhere})
    job = Job.of(name, told, step.key, inputs, store.path, log, 1, node.memory)
    emit(NodeStarted(node=node.id, kind="fetch", key=step.key.digest, log=str(log)))
    with store.scratch("fetch") as folder:
        result = attend(Worker.start(job, folder, mode="fetch"), emit)
        error = StagewrightError.from_dict(result.error) if result.error else None
        if error and elsewhere and error.reason in UNTOLD:
            emit(NodeFinished(node=node.id, status=Status.SKIPPED, seconds=result.seconds))
            return _untold(node.id, error.message, emit)
        emit(result)
        if error:
            raise error
        files = json.loads(Path(folder, FETCHED).read_text(encoding="utf-8"))
    return Sources(node.id, tuple(files))


def _root(plan: Plan, step: Step, store: Store) -> str | None:
    """The node whose root stands in for that of a stage: its own if it is built, else the nearest below."""
    source = step.node.inputs.get("root")
    while source and not store.has(Yields.LAYER, plan.steps[source].key.digest):
        source = plan.graph.nodes[source].inputs.get("root")
    return source


def _untold(node: str, why: str, emit: Callable[[Event], None]) -> Sources:
    emit(NodeNotice(node=node, text=f"what it needs can only be told once the root below is built: {why}"))
    return Sources(node, untold=why)


def _placed(step: Step, error: StagewrightError) -> StagewrightError:
    message = f"{step.node.id}: {error.message}"
    return StagewrightError(
        error.reason, message, place=error.place or step.node.place, hint=error.hint, detail=error.detail
    )


def names_of(found: Iterable[Sources]) -> list[str]:
    """The distfiles of several nodes, each once."""
    return sorted({name for one in found for name in one.files})
