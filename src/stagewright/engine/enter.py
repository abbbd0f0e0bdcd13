"""Entering roots: the failed attempt at a node if one is kept, else a fresh one that is thrown away."""

from __future__ import annotations

from collections.abc import Callable

from stagewright.engine.job import FILE_NAME, Job
from stagewright.engine.plan import Plan
from stagewright.engine.worker import command
from stagewright.errors import Reason, StagewrightError
from stagewright.run import interactive
from stagewright.store.store import Store


def enter(plan: Plan, store: Store, words: list[str], tell: Callable[[str], None]) -> int:
    """Run a shell, or ``words``, in the root of the plan's one target; returns its exit code."""
    (node_id,) = plan.sinks
    project = plan.project.info.name
    kept = store.failed(project, node_id)
    if (kept / FILE_NAME).exists():
        tell(f"{node_id}: the root as the failed build left it")
        return interactive(command(kept, "shell", *words))
    step = plan.steps[node_id]
    missing = [source for source in step.node.inputs.values() if plan.steps[source].state != "cached"]
    if missing:
        raise StagewrightError(
            Reason.NOT_BUILT,
            f"{node_id} starts from {', '.join(missing)}, which is not built",
            hint=f"stagewright build {' '.join(name.rpartition(':')[2] for name in missing)}",
        )
    log = store.log_folder(project, node_id) / "shell.txt"  # no log of a build
    log.parent.mkdir(parents=True, exist_ok=True)
    tell(f"{node_id}: a fresh root; what you change in it is thrown away")
    with store.scratch("shell") as folder:
        Job.of(project, step.node, step.key, plan.inputs_of(step.node), store.path, log, 1, step.node.memory).write(
            folder
        )
        return interactive(command(folder, "shell", *words))
