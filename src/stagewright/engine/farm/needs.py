"""Needs of nodes of the machine that builds them, and the nodes that stay on the machine of the user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stagewright.engine.farm.machines import Machine
from stagewright.graph.keys import Key
from stagewright.graph.node import Demand, Graph, Node
from stagewright.kinds.common.base import Seed, Stage
from stagewright.kinds.common.signing_keys import signing_keys
from stagewright.kinds.common.tools import FETCH_NETWORK

HERE = "here"
"""The need of a node that only the machine of the user can build."""

_HERE_KINDS = ("project",)
"""Kinds that take results of other projects from the store of the user."""

_HERE_TABLES = ("releases",)
"""Entries that sign with the keys of the user, or that look into the folder of the project."""


@dataclass(frozen=True)
class FarmDemand(Demand):
    """The demand of a node on a farm. ``needs`` are labels such as ``arch:arm64``: see :func:`lacks`."""

    needs: frozenset[str] = frozenset()

    @property
    def here(self) -> bool:
        """True if the machine of the user builds it."""
        return HERE in self.needs


def stays_here(node: Node) -> bool:
    """Return True if only the machine of the user can build a node: it needs keys, secrets or other projects."""
    stage = node.settings
    assert isinstance(stage, Stage)
    return bool(
        stage.needed_variables()
        or any(True for _ in signing_keys(node))
        or stage.kind in _HERE_KINDS
        or stage.table in _HERE_TABLES
    )


def demand_of(node: Node, key: Key, arch: str) -> FarmDemand:
    """Return the demand of a node with this key. ``arch`` is the architecture of its programs."""
    one = node.demand
    needs = frozenset({HERE}) if stays_here(node) else frozenset(_needs(node, key, arch))
    return FarmDemand(one.cores, one.memory, one.exclusive, one.compiles, needs)


def _needs(node: Node, key: Key, arch: str) -> Iterator[str]:
    stage = node.settings
    assert isinstance(stage, Stage)
    yield f"arch:{arch}"
    yield f"code:{node.kind}:{key.data['code']}"
    yield from (f"program:{program}" for program in {*node.tools, *(tool.program for tool in stage.required_tools)})
    yield from (f"version:{program}:{version}" for program, version in key.data["tools"].items())
    if FETCH_NETWORK in stage.required_tools:
        yield "feature:tap"


def lacks(machine: Machine, demand: FarmDemand) -> list[str]:
    """Return what a machine lacks for a demand, in words; nothing if it can build it."""
    return sorted(text for need in demand.needs if (text := _lacks(machine, need)))


def _lacks(machine: Machine, need: str) -> str:
    what, _, rest = need.partition(":")
    name, _, value = rest.partition(":")
    match what:
        case "arch":
            return "" if machine.runs(name) else f"no {name} (it is {machine.arch}, without an emulator)"
        case "code":
            found = machine.code.get(name)
            return "" if found == value else f"another Stagewright ({machine.version}: other code of the kind {name})"
        case "program":
            return "" if name in machine.programs else f"no {name}"
        case "version":
            found = machine.programs.get(name)
            return "" if found in (value, None) else f"{name} {found} (the keys have {value})"
        case "feature":
            return "" if name in machine.features else f"no {name}"
    return f"{need}: only the machine of the user has it"


def resources_of(demand: FarmDemand, machine: Machine) -> dict[str, float]:
    """Return the amounts that a node takes of what a machine announces."""
    taken = {
        "cores": float(min(demand.cores, machine.cores)),
        "memory": float(min(demand.memory, machine.memory)),
    }
    for need in demand.needs:
        what, _, name = need.partition(":")
        if what in ("arch", "feature"):
            taken[name if what == "feature" else f"arch-{name}"] = 1.0
    if demand.exclusive and demand.exclusive in machine.exclusive:
        taken[f"exclusive-{demand.exclusive}"] = 1.0
    return taken


def architectures(graph: Graph, default: str) -> Mapping[str, str]:
    """Return the architecture of the programs of each node: that of the seed below its first input."""
    found: dict[str, str] = {}
    for name in graph.order():
        node = graph.nodes[name]
        first = next((source for source in node.inputs.values() if source in found), None)
        own = node.settings.arch if isinstance(node.settings, Seed) else None
        found[name] = own.value if own else found[first] if first else default
    return found
