"""The logs of the nodes of a project in the store."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from stagewright.engine.last_failures import LastFailure, last_failures
from stagewright.engine.plan import one_target
from stagewright.engine.workspace import Workspace
from stagewright.errors import Reason, StagewrightError


def logs_of(workspace: Workspace, node: str) -> list[Path]:
    """Return the logs of the builds of a node, newest last."""
    folder = workspace.store.log_folder(workspace.project.records, node)
    return sorted(folder.glob("*.log"), key=_time)


def logs_of_target(workspace: Workspace, target: str) -> list[Path]:
    """Return the logs of the builds of a target or node, newest last. Raises ``NOT_BUILT`` if there is none."""
    logs = [path for node in _nodes_of(workspace, target) for path in logs_of(workspace, node)]
    if not logs:
        hint = workspace.project.hint("build", target.rpartition(":")[2])
        raise StagewrightError(Reason.NOT_BUILT, f"{target}: never built", hint=hint)
    return logs


def _nodes_of(workspace: Workspace, target: str) -> Sequence[str]:
    graph = workspace.graph
    name = target if target in graph.nodes else one_target(workspace, target)
    return [name] if name in graph.nodes else graph.targets[name]


def has_failed(workspace: Workspace, node: str) -> bool:
    """Return True if the last build of a node failed, as far as this user can see."""
    try:
        return workspace.store.failed(workspace.project.records, node).exists()
    except OSError:  # the folder of another user's store is closed
        return False


def last_failure(workspace: Workspace) -> str | None:
    """Return the id of the node whose build failed last, and that was not built since; None if there is none.

    These are the nodes whose failed root the store keeps, and those that failed on a machine of a farm.
    """
    failures = last_failures(workspace.store, workspace.project.records, workspace.graph.nodes)
    found = {node: one.time for node, one in failures.items() if one.message}
    for node in workspace.graph.nodes:
        with contextlib.suppress(OSError):  # the folder of another user's store is closed
            found[node] = workspace.store.failed(workspace.project.records, node).stat().st_mtime
    return max(found, key=lambda node: found[node], default=None)


def failures_elsewhere(workspace: Workspace, target: str) -> dict[str, LastFailure]:
    """Return the last failures of the nodes of a target on machines of a farm, if they were not built since."""
    found = last_failures(workspace.store, workspace.project.records, _nodes_of(workspace, target))
    return {node: one for node, one in found.items() if one.machine}


def last_built(workspace: Workspace) -> str | None:
    """Return the id of the node with the newest log; None if nothing was ever built."""
    logs = {node: logs_of(workspace, node) for node in workspace.graph.nodes}
    times = {node: _time(found[-1]) for node, found in logs.items() if found}
    return max(times, key=lambda node: times[node], default=None)


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # a running build may remove it
        return 0.0
