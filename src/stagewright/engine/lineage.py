"""The lineage of a node: everything that it is made of, all the way down to the seeds with their exact pins (R109)."""

from __future__ import annotations

from typing import Any

from stagewright.engine.plan import Plan, Step
from stagewright.engine.repositories import REPO
from stagewright.graph.node import Graph
from stagewright.store.store import Store


def lineage(plan: Plan, store: Store, node_id: str) -> list[dict[str, Any]]:
    """The nodes below a node and the node itself, inputs first, in an order that is the same each time."""
    needed = sorted(plan.graph.closure([node_id]))
    order = Graph({name: plan.graph.nodes[name] for name in needed}).order()
    return [_entry(plan.steps[name], store) for name in order]


def _entry(step: Step, store: Store) -> dict[str, Any]:
    node, key, files = step.node, step.key, step.key.data["files"]
    entry: dict[str, Any] = {"id": node.id, "kind": node.kind, "key": key.digest, "inputs": dict(node.inputs)}
    repositories = {name.removeprefix(REPO): digest for name, digest in files.items() if name.startswith(REPO)}
    others = {name: digest for name, digest in files.items() if not name.startswith(REPO)}
    facts = store.meta(node.yields, key.digest).facts if store.has(node.yields, key.digest) else {}
    more = {
        "repositories": repositories,
        "files": others,
        "pin": node.context.get("pin"),
        "archive": facts.get("archive"),
        "binhosts": facts.get("binhosts"),
    }
    return {**entry, **{name: value for name, value in more.items() if value}}
