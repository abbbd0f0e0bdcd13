"""``catalyst -f SPEC``: build one spec, starting from the results of earlier specs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from stagewright.dropin.deliver import deliver
from stagewright.dropin.history import history
from stagewright.dropin.ledger import LedgerEntry
from stagewright.dropin.project import Loaded, commands, load_release
from stagewright.engine.plan import Plan
from stagewright.engine.session import Session
from stagewright.errors import ProblemsError
from stagewright.store.store import Store
from stagewright.ui.catalyst import CatalystLog


def build(spec: Path, conf: Sequence[Path], store: Store, log: CatalystLog, folder: Path) -> None:
    """Build a spec and publish the result in the storedir. ``folder`` is for temporary files.

    Raises all errors of the spec, or of the build.
    """
    loaded, session, plan = planned(spec, conf, store, log, folder)
    for notice in loaded.notices:
        if notice.place.file == spec:
            log.warning(str(notice))
    store.sweep(log.warning)
    placed = [(output, place) for output, place in loaded.placed(plan.project) if place.node in plan.targets]

    def publisher(plan: Plan) -> Mapping[str, list[str]]:
        return deliver(placed, plan, store, loaded.release.config)

    result = session.build_plan(plan, publisher=publisher)
    result.raise_failures()
    for paths in result.outputs.values():
        for path in paths:
            log.notice(f"wrote {path}")


def planned(
    spec: Path,
    conf: Sequence[Path],
    store: Store,
    log: CatalystLog,
    folder: Path,
    given: Mapping[str, str] | None = None,
) -> tuple[Loaded, Session, Plan]:
    """Plan a spec together with the specs that made its sources, if these are in the store; else the spec alone."""
    before = history(spec, conf, folder)
    if before:
        loaded = load_release([spec, *before], conf, given or {}, {}, store)
        loaded.commands = commands([spec], conf, given or {}, {}, store.path)
        with contextlib.suppress(ProblemsError):
            session, plan = _plan(loaded, spec, store, log)
            if all(_is_there(record, plan, store) for record in before.values()):
                return loaded, session, plan
        log.notice("the sources are taken as plain tarballs: what made them has changed, or is not in the store")
    loaded = load_release([spec], conf, given or {}, {}, store)
    loaded.commands = commands([spec], conf, given or {}, {}, store.path)
    return loaded, *_plan(loaded, spec, store, log)


def _plan(loaded: Loaded, spec: Path, store: Store, log: CatalystLog) -> tuple[Session, Plan]:
    session = Session(loaded.complete(), store, [log])
    return session, session.prepare(_targets(loaded, spec))


def _targets(loaded: Loaded, spec: Path) -> list[str]:
    """Return the entries that make the published results of a spec; all its stages if it publishes nothing."""
    wanted = [output.entry for output in loaded.converted.outputs if output.result.member.spec.file == spec]
    return wanted or [
        draft.name for draft in loaded.converted.drafts if draft.table == "stages" and draft.place.file == spec
    ]


def _is_there(record: LedgerEntry, plan: Plan, store: Store) -> bool:
    """Return True if the root of a record is in the plan and in the store."""
    known = {step.key.digest: step.node.yields for step in plan.steps.values()}
    return record.key in known and store.has(known[record.key], record.key)
