"""Metrics of runs as OpenMetrics text (https://prometheus.io/docs/specs/om/open_metrics_spec/), for Prometheus."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stagewright.engine.recorded_runs import RecordedRun
from stagewright.engine.run_state import active_nodes, run_word
from stagewright.events import Status

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_STATES = ("built", "cached", "failed", "skipped", "interrupted")


def openmetrics(runs: Sequence[RecordedRun], store: Path) -> str:
    """Return the metrics of a store. ``runs`` are newest first; of each project the newest and the running count."""
    return "".join(f"{line}\n" for line in [*_lines(runs, store), "# EOF"])


def _lines(runs: Sequence[RecordedRun], store: Path) -> Iterator[str]:
    last: dict[str, RecordedRun] = {}
    for run in runs:
        if run.finished is not None:
            last.setdefault(run.project, run)
    running = [run for run in runs if run.is_running]
    yield from _family("stagewright_running_builds", "Builds that run now.")
    yield _sample("stagewright_running_builds", {}, len(running))
    yield from _family("stagewright_running_nodes", "Nodes of running builds, by state.")
    for run in running:
        done = sum(node.status is not None for node in run.nodes.values())
        busy = len(active_nodes(run))
        for state, count in (("done", done), ("running", busy), ("waiting", len(run.nodes) - done - busy)):
            labels = {"project": run.project, "run": run.run, "state": state}
            yield _sample("stagewright_running_nodes", labels, count)
    yield from _family("stagewright_last_build_timestamp_seconds", "End of the last build.", "seconds")
    yield from (
        _sample(
            "stagewright_last_build_timestamp_seconds", {"project": name, "status": run_word(run)}, run.finished or 0
        )
        for name, run in last.items()
    )
    yield from _family("stagewright_last_build_duration_seconds", "Duration of the last build.", "seconds")
    yield from (
        _sample("stagewright_last_build_duration_seconds", {"project": name}, (run.finished or 0) - run.started)
        for name, run in last.items()
    )
    yield from _family("stagewright_last_build_success", "1 if the last build succeeded.")
    yield from (
        _sample("stagewright_last_build_success", {"project": name}, int(run.status == Status.BUILT))
        for name, run in last.items()
    )
    yield from _family("stagewright_last_build_nodes", "Nodes of the last build, by state.")
    for name, run in last.items():
        for state in _STATES:
            yield _sample("stagewright_last_build_nodes", {"project": name, "state": state}, run.count(Status(state)))
    yield from _family("stagewright_node_duration_seconds", "Time of each node in the last build.", "seconds")
    for name, run in last.items():
        for node in run.nodes.values():
            if node.seconds:
                labels = {"project": name, "node": node.node}
                yield _sample("stagewright_node_duration_seconds", labels, node.seconds)
    yield from _family("stagewright_store_free_bytes", "Free space on the disk of the store.", "bytes")
    yield _sample("stagewright_store_free_bytes", {}, shutil.disk_usage(store).free)


def _family(name: str, text: str, unit: str = "") -> Iterator[str]:
    yield f"# TYPE {name} gauge"
    if unit:
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {text}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    number = f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f"{name}{{{shown}}} {number}" if shown else f"{name} {number}"


def _escaped(text: str) -> str:
    """Return the value of a label, without characters that end a line."""
    text = text.encode("utf-8", errors="replace").decode()
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
