"""The lineage of a node: everything that it is made of, down to the seeds with their pins."""

from __future__ import annotations

from stagewright.engine.plan import Plan, Step
from stagewright.graph.node import Graph, Yields
from stagewright.kinds.common.context import SeedContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.lineage import LineageEntry
from stagewright.store.store import Store


def lineage(plan: Plan, store: Store, node_id: str) -> tuple[LineageEntry, ...]:
    """Return entries for all nodes below a node and the node itself, inputs first, in a fixed order."""
    needed = sorted(plan.graph.closure([node_id]))
    order = Graph({name: plan.graph.nodes[name] for name in needed}).order()
    return tuple(_entry(plan.steps[name], store) for name in order)


def _entry(step: Step, store: Store) -> LineageEntry:
    node, key = step.node, step.key
    built = node.yields is Yields.LAYER and store.has(node.yields, key.digest)
    facts = LayerFacts.of(store.meta(node.yields, key.digest)) if built else LayerFacts()
    return LineageEntry(
        id=node.id,
        kind=node.kind,
        key=key.digest,
        inputs=node.inputs,
        repositories=key.data["repos"],
        files={**key.data["files"], **key.data["binhost_keys"]},
        pin=node.context.pin if isinstance(node.context, SeedContext) else None,
        archive=facts.archive,
        binhosts=facts.binhosts,
    )
