"""Estimates of running builds: how long nodes took before, and when a run will end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping

from stagewright.engine.recorded_runs import RecordedRun
from stagewright.events import Status

_MOST = 5  # runs that an estimate uses


def usual_seconds(runs: Iterable[RecordedRun], project: str, folder: str) -> dict[str, float]:
    """Return the median time of each node of a project in its last successful builds; ``runs`` are newest first."""
    times: dict[str, list[float]] = {}
    for run in runs:
        if (run.project, run.folder) != (project, folder):
            continue
        for name, node in run.nodes.items():
            found = times.setdefault(name, [])
            if node.status is Status.BUILT and node.seconds and len(found) < _MOST:
                found.append(node.seconds)
    return {name: statistics.median(found) for name, found in times.items() if found}


def remaining_seconds(run: RecordedRun, usual: Mapping[str, float], now: float | None = None) -> float | None:
    """Return the seconds until a run ends, at least; None if a node that is left was never built before.

    It is the longest way through the nodes that are left. A run with fewer cores than ready nodes takes longer.
    """
    now = time.time() if now is None else now
    left = {name: node for name, node in run.nodes.items() if node.status is None}
    if any(name not in usual for name in left):
        return None
    ends: dict[str, float] = {}
    for name in run.nodes:  # in the order of the plan: inputs first
        if name in left:
            spent = now - (left[name].started or now)
            before = max((ends.get(source, 0.0) for source in run.inputs.get(name, ())), default=0.0)
            ends[name] = before + max(usual[name] - spent, 0.0)
    return max(ends.values(), default=0.0)


def unsteady_tests(runs: Iterable[RecordedRun]) -> dict[str, tuple[int, int]]:
    """Return the tests that both passed and failed with the same inputs: failures and all runs, by project and node."""
    ends: dict[tuple[str, str, str], list[Status]] = {}
    for run in runs:
        for name, node in run.nodes.items():
            if name.startswith("test:") and node.status in (Status.BUILT, Status.FAILED) and node.key:
                ends.setdefault((run.project, name, node.key), []).append(node.status)
    found: dict[str, tuple[int, int]] = {}
    for (project, name, _), states in ends.items():
        if len(set(states)) > 1:
            failures, all_runs = found.get(f"{project}/{name}", (0, 0))
            found[f"{project}/{name}"] = (failures + states.count(Status.FAILED), all_runs + len(states))
    return found
