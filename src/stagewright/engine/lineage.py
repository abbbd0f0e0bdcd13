"""The lineage of a node: everything that it is made of, down to the seeds with their pins."""

from __future__ import annotations

from collections.abc import Callable

from stagewright.engine.plan import Plan, Step
from stagewright.graph.node import Graph, Yields
from stagewright.kinds.common.context import SeedContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.lineage import LineageEntry
from stagewright.store.meta import Meta
from stagewright.store.store import Store


def lineage(plan: Plan, meta_of: Callable[[Step], Meta | None], node_id: str) -> tuple[LineageEntry, ...]:
    """Return entries for all nodes below a node and the node itself, inputs first, in a fixed order.

    ``meta_of`` returns the metadata of a result that is built; None for others.
    """
    needed = sorted(plan.graph.closure([node_id]))
    order = Graph({name: plan.graph.nodes[name] for name in needed}).order()
    return tuple(_entry(plan.steps[name], meta_of) for name in order)


def metas_in(store: Store) -> Callable[[Step], Meta | None]:
    """Return the function that reads the metadata of results in a store."""

    def meta(step: Step) -> Meta | None:
        yields, key = step.node.yields, step.key.digest
        return store.meta(yields, key) if store.has(yields, key) else None

    return meta


def _entry(step: Step, meta_of: Callable[[Step], Meta | None]) -> LineageEntry:
    node, key = step.node, step.key
    meta = meta_of(step) if node.yields is Yields.LAYER else None
    facts = LayerFacts.of(meta) if meta else LayerFacts()
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
