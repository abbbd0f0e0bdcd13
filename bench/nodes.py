"""The cost of a node besides its work: a chain of stages that only change a file."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from pathlib import Path

from bench.measure import Row, Setting, command, stagewright, timed
from stagewright.engine.ready_nodes import ReadyNodes
from stagewright.graph.node import Node, Yields

NODES = 20
CHAINS = 3
PENDING = 20_000


def measure(setting: Setting) -> list[Row]:
    """Compare chains of two lengths, so that the start of the command does not count; then the scheduler alone.

    The floor of a node is that of its three processes and of its work: mounting, a file, a sync, a rename.
    """
    short, long = 2, 2 + max(2, setting.count(NODES))
    seconds = {count: _chain(setting, count) for count in (short, long)}
    each = (seconds[long] - seconds[short]) / (long - short)
    count = setting.count(PENDING)
    pending = _scheduling(count)
    return [
        Row(
            "a node of a chain", max(0.0, each) * 1000, 120, "ms", f"processor time of all its processes, {long} nodes"
        ),
        Row(
            "from the end of a node to the next phase",
            min(_pause(setting, number, long) for number in range(setting.count(CHAINS))),
            0.12,
            "s",
            "wall time: the end of one, the start of the next; median of the nodes, least of some chains",
        ),
        Row(f"order of {count} pending nodes", pending / count * 1000, 2, "ms", "a node, processor time"),
    ]


def _chain(setting: Setting, count: int) -> float:
    folder = write_chain(setting.folder / f"chain{count}", count)
    return timed(stagewright, folder, folder / "store", "build", "--progress=quiet")[1]


def _pause(setting: Setting, number: int, count: int) -> float:
    """Return the time from the end of a node, when all inputs of the next one are there, to the next one's first phase.

    The times are those of the events of the run.
    """
    folder = write_chain(setting.folder / f"pause{number}", count)
    words = command(folder, folder / "store", "build", "--progress=json")
    output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    ended: float | None = None
    pauses: list[float] = []
    for event in map(json.loads, output.splitlines()):
        if event["event"] == "NodePhase" and ended is not None:
            pauses.append(event["time"] - ended)
            ended = None
        elif event["event"] == "NodeFinished":
            ended = event["time"]
    return statistics.median(pauses)


def write_chain(folder: Path, count: int, word: str = "") -> Path:
    """Write a project with a chain of so many stages, and return its folder. Chains of other words share no node."""
    (folder / "seed" / "usr").mkdir(parents=True)
    (folder / "seed" / "usr" / "word").write_text(word, encoding="utf-8")
    lines = [
        "format = 1",
        '[project]\nname = "chain"\nsource_date_epoch = 0',
        '[seeds.seed]\nfile = "seed"\narch = "amd64"',
    ]
    for number in range(count):
        below = f"s{number - 1}" if number else "seed"
        lines.append(
            f'[stages.s{number}]\nkind = "livecd-stage1"\nroot = "{below}"\nos_release = {{ VERSION = "{number}" }}'
        )
    (folder / "stagewright.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _scheduling(count: int) -> float:
    """Return the processor time of taking so many nodes in chains of 20.

    Another order is looked for: two chains have most of the work, so the least time is far from all orders.
    """
    width = max(1, count // 20)
    nodes = [_node(row, step) for step in range(20) for row in range(width)][:count]
    seconds = {node.id: 1.0 + number % 97 for number, node in enumerate(nodes)}
    seconds[nodes[0].id] = seconds[nodes[-1].id] = sum(seconds.values())
    started = time.process_time()
    queue = ReadyNodes(nodes, seconds, workers=3)
    while node := queue.take(lambda _: True):
        queue.built(node.id)
    return time.process_time() - started


def _node(row: int, step: int) -> Node:
    inputs = {"root": f"{row}.{step - 1}"} if step else {}
    return Node(f"{row}.{step}", "tarball", Yields.ARTIFACT, inputs=inputs)
