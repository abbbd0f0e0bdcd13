"""What specs make, put where Catalyst would have left it, and noted in the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stagewright.catalyst.config import Config
from stagewright.catalyst.convert.conversion import Output
from stagewright.catalyst.spec import write
from stagewright.engine.ledger import Record, remember
from stagewright.engine.plan import Plan
from stagewright.engine.storedir import DigestStyle, Layout, Placed, publish
from stagewright.store.store import Store

_LAYOUTS = {"binhost": Layout.PACKAGES, "netboot": Layout.FOLDER}
"""Kinds whose result is more than one artifact."""


def deliver(outputs: Iterable[Output], plan: Plan, store: Store, config: Config) -> dict[str, list[str]]:
    """Publish what was built of these outputs; returns the paths by entry of the project."""
    storedir = Path(config.storedir)
    style = DigestStyle.of(config.digests, config.digest_format)
    found: dict[str, list[str]] = {}
    for output in outputs:
        step = plan.steps.get(output.entry)
        if step is None:
            continue
        path = storedir / output.path
        if not publish([Placed(output.entry, path, _LAYOUTS.get(step.node.kind, Layout.FILE))], plan, store, style):
            continue
        found.setdefault(output.entry, []).append(str(path))
        if step.node.kind == "tarball":
            spec, root = output.made.member.spec, step.node.inputs["root"]
            record = Record(spec.file.absolute(), write(spec.values), root, plan.steps[root].key.digest)
            remember(storedir, output.made.identity, record, [path])
    return found
