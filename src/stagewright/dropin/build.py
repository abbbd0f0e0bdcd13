"""``catalyst -f SPEC``: build what one spec says, from what the specs before it left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stagewright.dropin.deliver import deliver
from stagewright.dropin.history import history
from stagewright.dropin.ledger import Record
from stagewright.dropin.project import Loaded, load_release
from stagewright.engine.carry_out import carry_out, raise_failures
from stagewright.engine.pins import save
from stagewright.engine.plan import Plan, make_plan
from stagewright.engine.scheduler import Resources
from stagewright.errors import ProblemsError
from stagewright.store.store import Store
from stagewright.ui.catalyst import CatalystLog


def build(spec: Path, conf: Sequence[Path], store: Store, log: CatalystLog, folder: Path) -> None:
    """Build a spec and put the result into the storedir. ``folder`` is for temporary files.

    Raises everything that is wrong with the spec, or that failed.
    """
    loaded, plan = _planned(spec, conf, store, log, folder)
    for notice in loaded.notices:
        if notice.place.file == spec:
            log.warning(str(notice))
    store.sweep()
    outcome = carry_out(plan, store, Resources.of_machine(), log, keep_going=False)
    if outcome:
        raise_failures(plan, store, outcome)
    placed = [(output, place) for output, place in loaded.placed(plan.project) if place.node in plan.targets]
    for paths in deliver(placed, plan, store, loaded.release.config).values():
        for path in paths:
            log.notice(f"{path} is there")


def _planned(spec: Path, conf: Sequence[Path], store: Store, log: CatalystLog, folder: Path) -> tuple[Loaded, Plan]:
    """The spec with those that its sources were made by, as long as these are in the store; else the spec alone."""
    before = history(spec, conf, folder)
    if before:
        loaded = load_release([spec, *before], conf, {}, {}, store)
        try:
            plan = _plan(loaded, spec, store)
        except ProblemsError:
            plan = None
        if plan and all(_is_there(record, plan, store) for record in before.values()):
            return loaded, plan
        log.notice("the sources are taken as the tarballs that they are: what made them has changed, or was removed")
    loaded = load_release([spec], conf, {}, {}, store)
    return loaded, _plan(loaded, spec, store)


def _plan(loaded: Loaded, spec: Path, store: Store) -> Plan:
    project = loaded.complete()
    if not project.lock.file.exists():
        project.lock.file.parent.mkdir(parents=True, exist_ok=True)
        save(project.lock)
    return make_plan(project, store, _targets(loaded, spec))


def _targets(loaded: Loaded, spec: Path) -> list[str]:
    """The entries that make what people get of a spec; of media without a file all that they would be made of."""
    wanted = [output.entry for output in loaded.converted.outputs if output.result.member.spec.file == spec]
    return wanted or [
        draft.name for draft in loaded.converted.drafts if draft.table == "stages" and draft.place.file == spec
    ]


def _is_there(record: Record, plan: Plan, store: Store) -> bool:
    """Whether the root of a record is one that the plan has, and in the store."""
    known = {step.key.digest: step.node.yields for step in plan.steps.values()}
    return record.key in known and store.has(known[record.key], record.key)
