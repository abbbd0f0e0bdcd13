"""``catalyst -f SPEC``: build what one spec says, from what the specs before it left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stagewright.catalyst.spec import read_spec
from stagewright.cli.build import carry_out, raise_failures
from stagewright.cli.catalyst_project import Loaded, load_release
from stagewright.cli.common import default_store
from stagewright.engine.deliver import deliver
from stagewright.engine.history import history
from stagewright.engine.ledger import Record
from stagewright.engine.pins import save
from stagewright.engine.plan import Plan, make_plan
from stagewright.engine.scheduler import Resources
from stagewright.engine.snapshot import Snapshots
from stagewright.errors import ProblemsError, StagewrightError
from stagewright.store.store import Store
from stagewright.ui.catalyst import CatalystLog


def build(
    spec: Path, conf: Sequence[Path], snapshots: Snapshots, store: Path | None, log: CatalystLog, folder: Path
) -> None:
    """Build a spec and put the result into the storedir. ``folder`` is for temporary files."""
    treeish = read_spec(spec).text("snapshot_treeish")
    repos = {snapshots.repo: snapshots.unpacked(treeish)} if treeish else {}
    place = Store(store or default_store())
    loaded, plan = _planned(spec, conf, repos, place, log, folder)
    for notice in loaded.release.notices + loaded.converted.notices:
        if notice.place.file == spec:
            log.warning(str(notice))
    place.sweep()
    outcome = carry_out(plan, place, Resources.of_machine(), log, keep_going=False)
    if outcome:
        raise_failures(plan, place, outcome)
    mine = [output for output in loaded.converted.outputs if output.entry in plan.targets]
    for paths in deliver(mine, plan, place, loaded.release.config).values():
        for path in paths:
            log.notice(f"{path}: done")


def _planned(
    spec: Path, conf: Sequence[Path], repos: Mapping[str, Path], store: Store, log: CatalystLog, folder: Path
) -> tuple[Loaded, Plan]:
    """The spec with those that its sources were made by, as long as these are in the store; else the spec alone."""
    before = history(spec, conf, folder)
    if before:
        loaded = load_release([spec, *before], conf, {}, repos)
        if not _problems(loaded):
            plan = _plan(loaded, spec, store)
            if all(_is_there(record, plan, store) for record in before.values()):
                return loaded, plan
        log.notice("what the ledger knows of the sources is not in the store: they are taken as tarballs")
    loaded = load_release([spec], conf, {}, repos)
    if problems := _problems(loaded):
        raise ProblemsError(problems)
    return loaded, _plan(loaded, spec, store)


def _problems(loaded: Loaded) -> list[StagewrightError]:
    return [*loaded.release.problems, *loaded.converted.refused]


def _plan(loaded: Loaded, spec: Path, store: Store) -> Plan:
    project = loaded.project()
    if not project.lock.file.exists():
        project.lock.file.parent.mkdir(parents=True, exist_ok=True)
        save(project.lock)
    targets = [output.entry for output in loaded.converted.outputs if output.made.member.spec.file == spec]
    return make_plan(project, store, targets or [loaded.graph.made[0].name])


def _is_there(record: Record, plan: Plan, store: Store) -> bool:
    """Whether the stage of a record is the one that the plan has, and in the store."""
    step = plan.steps.get(record.entry)
    return step is not None and step.key.digest == record.key and store.has(step.node.yields, record.key)
