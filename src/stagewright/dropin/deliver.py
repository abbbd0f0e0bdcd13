"""Publishing the results of specs: into the storedir under Catalyst's names, with a record in the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stagewright.catalyst.catalyst_conf import CatalystConfig
from stagewright.catalyst.convert.conversion import SpecOutput
from stagewright.catalyst.spec import write
from stagewright.dropin.ledger import LedgerEntry, remember
from stagewright.dropin.storedir import DigestStyle, Placed, publish
from stagewright.engine.plan import Plan
from stagewright.kinds.common.artifact import FileArtifactKind
from stagewright.store.store import Store


def deliver(
    placed: Iterable[tuple[SpecOutput, Placed]], plan: Plan, store: Store, config: CatalystConfig
) -> dict[str, list[str]]:
    """Publish those of these outputs that are built, and return their paths by entry of the project."""
    style = DigestStyle.of(config.digests, config.digest_format)
    found: dict[str, list[str]] = {}
    for output, place in placed:
        step = plan.steps.get(place.node)
        if step is None or not publish([place], plan, store, style):
            continue
        found.setdefault(place.node, []).append(str(place.path))
        if isinstance(step.node.settings, FileArtifactKind) and step.node.settings.packed_root:
            spec, root = output.result.member.spec, step.node.inputs[step.node.settings.packed_root]
            record = LedgerEntry(spec.file.absolute(), write(spec.values), plan.steps[root].key.digest)
            remember(Path(config.storedir), output.result.identity, record, [place.path])
    return found
