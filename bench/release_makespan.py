"""``make release-makespan RELENG=<checkout>``: how long Gentoo's releases would take on farms of several sizes.

It writes a table in docs/farm.md: for the specs of each configuration of catalyst-auto in a checkout of gentoo/releng,
and for all of them as one build. The order is that of a run (engine/makespan.py). It is compared with the best of
hundreds of other list schedules, and with catalyst-auto, which builds one spec at a time on a single machine.
The times of the specs are drawn, not measured: hours by target, with a spread by architecture and spec.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.matrix import ROOT
from bench.table import line, write
from stagewright.engine.makespan import makespan
from stagewright.graph.node import Node, Yields

PAGE, TARGET = ROOT / "docs" / "farm.md", "release-makespan"
COLUMNS = ("configuration", "specs", "2 machines", "4 machines", "8 machines", "50 machines", "catalyst-auto")
WORKERS = (2, 4, 8, 50)

HOURS = {
    "stage1": 0.6,
    "stage3": 2.5,
    "stage4": 1.5,
    "livecd-stage1": 1.5,
    "livecd-stage2": 0.7,
    "diskimage-stage1": 0.7,
    "diskimage-stage2": 0.3,
    "netboot": 0.5,
}
"""Usual hours of a target. A desktop's stage3 takes ten."""

OTHERS = 1000
"""List schedules of each kind that are tried besides."""

LIMIT = 1.05
"""The specs of a configuration, and all as one build, may take so much longer than the best list schedule."""


def main() -> int:
    """Write the table. Return 1 if a schedule is not within the limit."""
    parser = argparse.ArgumentParser(prog="python -m bench.release_makespan", description=__doc__)
    parser.add_argument("--releng", type=Path, required=True, help="a checkout of gentoo/releng")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    options = parser.parse_args()
    rows, whole, seconds, alone, worst = [], list[Node](), dict[str, float](), list[float](), 0.0
    for conf in sorted((options.releng / "tools").glob("catalyst-auto-*.conf")):
        specs = read_graph(conf)
        name = conf.stem.removeprefix("catalyst-auto-")
        nodes, hours = as_nodes(specs, name), times(specs, name)
        cells, far = compare(nodes, hours)
        worst = max(worst, far)
        rows.append([name, str(len(nodes)), *cells, f"{sum(hours.values()):.0f} h"])
        print(line(rows[-1]), end="", flush=True)
        whole, seconds, alone = [*whole, *nodes], seconds | hours, [*alone, sum(hours.values())]
    begin = time.process_time()
    makespan(whole, seconds, max(WORKERS))
    each = (time.process_time() - begin) / len(whole) * 1000
    longest = f"{max(alone):.0f} h on {len(alone)}"
    cells, far = compare(whole, seconds)
    worst = max(worst, far)
    rows.append(["all as one build", str(len(whole)), *cells, longest])
    print(line(rows[-1]), f"worst {worst:.3f} of the best list schedule; {each:.3f} ms a node", sep="")
    write(options.page, TARGET, COLUMNS, rows)
    return 0 if worst <= LIMIT else 1


def read_graph(conf: Path) -> list[dict[str, Any]]:
    """Return the specs of a configuration, by ``catalyst graph``."""
    words = [sys.executable, "-m", "stagewright", "catalyst", "graph", "--conf", str(conf), "--json"]
    found: list[dict[str, Any]] = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return found


def as_nodes(specs: Sequence[Mapping[str, Any]], prefix: str) -> list[Node]:
    """Return specs as nodes in build order. Seeds are there already."""
    made = {spec["output"]: spec for spec in specs}
    nodes: dict[str, Node] = {}

    def add(spec: Mapping[str, Any]) -> str:
        name = f"{prefix}/{spec['spec']}"
        if name not in nodes:
            sources = [add(made[source]) for source in spec["sources"] if source in made]
            inputs = {str(number): source for number, source in enumerate(sources)}
            nodes[name] = Node(name, spec["target"], Yields.LAYER, inputs=inputs)
        return name

    for spec in specs:
        add(spec)
    return list(nodes.values())


def times(specs: Sequence[Mapping[str, Any]], prefix: str) -> dict[str, float]:
    """Draw the hours of specs. The same specs get the same ones."""
    speed = random.Random(prefix).lognormvariate(0, 0.6)
    drawn = {}
    for spec in specs:
        usual = HOURS[spec["target"]] * (4 if "desktop" in spec["output"] else 1)
        drawn[f"{prefix}/{spec['spec']}"] = usual * speed * random.Random(spec["output"]).lognormvariate(0, 0.3)
    return drawn


def compare(nodes: Sequence[Node], hours: Mapping[str, float]) -> tuple[list[str], float]:
    """Return the cells of a row, the hours on each number of machines with the ratio to the best list schedule.

    Also return the largest of these ratios.
    """
    found = {workers: makespan(nodes, hours, workers).seconds for workers in WORKERS}
    ratios = {workers: ours / best(nodes, hours, workers) for workers, ours in found.items()}
    return [f"{found[workers]:.1f} h ({ratios[workers]:.2f})" for workers in WORKERS], max(ratios.values())


def users_of(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """Return the nodes that have a node as an input, by its id."""
    users: dict[str, list[str]] = {}
    for node in nodes:
        for source in set(node.inputs.values()):
            users.setdefault(source, []).append(node.id)
    return users


def best(nodes: Sequence[Node], hours: Mapping[str, float], workers: int) -> float:
    """Return the time of the best list schedule of many: by longest way, most work behind, own time, and by chance."""
    users = users_of(nodes)
    way, behind = dict[str, float](), dict[str, float]()
    for node in reversed(nodes):
        following = users.get(node.id, [])
        way[node.id] = hours[node.id] + max((way[user] for user in following), default=0)
        behind[node.id] = hours[node.id] + sum(behind[user] for user in following)
    chance = random.Random(len(nodes) * workers)
    orders = [way, behind, hours]
    for _ in range(OTHERS):
        orders.append({name: value * chance.uniform(0.8, 1.25) for name, value in way.items()})
        orders.append({name: value * chance.uniform(0.8, 1.25) for name, value in behind.items()})
        orders.append({name: chance.random() for name in way})
    floor = max(*way.values(), sum(hours.values()) / workers)
    found = float("inf")
    for order in orders:
        found = min(found, list_schedule(nodes, users, hours, workers, order))
        if found <= floor * 1.0001:
            break
    return found


def list_schedule(
    nodes: Sequence[Node],
    users: Mapping[str, Sequence[str]],
    hours: Mapping[str, float],
    workers: int,
    priority: Mapping[str, float],
) -> float:
    """Return the time of a list schedule: a machine that is free takes the node with the highest priority."""
    missing = {node.id: len(set(node.inputs.values())) for node in nodes}
    ready = [(-priority[name], name) for name, count in missing.items() if not count]
    heapq.heapify(ready)
    now, running = 0.0, list[tuple[float, str]]()
    while ready or running:
        while ready and len(running) < workers:
            name = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + hours[name], name))
        now, done = heapq.heappop(running)
        for user in users.get(done, ()):
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, (-priority[user], user))
    return now


if __name__ == "__main__":
    sys.exit(main())
