"""``stagewright fetch``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from stagewright.cli.common import face, locked_option, progress_option, project_of, store_of, targets_argument
from stagewright.engine.carry_out import carry_out, raise_failures
from stagewright.engine.fetching import Sources, fetch_sources, names_of
from stagewright.engine.pins import needed, settle
from stagewright.engine.plan import check_targets, make_plan
from stagewright.engine.repositories import bring, missing
from stagewright.engine.scheduler import Resources
from stagewright.events import Listener
from stagewright.kinds.registry import graph_of, kinds
from stagewright.portage.distfiles_mirror import check_mirror, write_mirror
from stagewright.project.load import load
from stagewright.project.model import Project
from stagewright.store.store import Store
from stagewright.ui.text import size


@click.command(name="fetch")
@targets_argument
@locked_option
@click.option("--all", "everything", is_flag=True, help="Sources of stages that are built already, too.")
@click.option(
    "--mirror-out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Make DIR a mirror of exactly the sources that are needed (with --all implied).",
)
@click.option("--json", "as_json", is_flag=True, help="Print what is there now as JSON.")
@progress_option
@click.pass_context
def command(
    ctx: click.Context,
    targets: tuple[str, ...],
    locked: bool,
    everything: bool,
    mirror_out: Path | None,
    as_json: bool,
    progress: str,
) -> None:
    """Bring everything that stages need from elsewhere into the store; then builds need no network.

    That is: pins for what has none, repositories, seeds (they are unpacked or
    bootstrapped at once), and the sources of all packages of the stages that are
    not built yet. What packages a stage needs is asked of Portage, in the stage's own
    root if that is built, else in the nearest one below it.

    \b
      stagewright fetch --locked            by the pins as they are
      stagewright fetch --mirror-out DIR    and a folder for GENTOO_MIRRORS
    """
    project, store = project_of(ctx), store_of(ctx)
    check_targets(graph_of(project), project, targets)
    if mirror_out:
        check_mirror(mirror_out)
    store.sweep()
    with face(progress) as listener:
        project = settle(project, store, targets, [listener], locked=locked)
        project = _repositories(project, store, targets, listener)
        _seeds(project, store, targets, listener)
        plan = make_plan(project, store, targets)
        store.register(project.folder, plan.keys())
        found = fetch_sources(plan, store, [listener], everything=everything or mirror_out is not None)
    shared, names = store.cache("distfiles"), names_of(found)
    removed = write_mirror(mirror_out, names, shared) if mirror_out else []
    if as_json:
        _print_json(project, store, targets, found, mirror_out)
        return
    total = sum((shared / name).stat().st_size for name in names)
    print(f"{project.info.name}: {len(names)} distfiles, {size(total)}, in {mirror_out or shared}")
    for path in removed:
        print(f"no longer needed, removed: {path}")
    for one in found:
        if one.untold:
            print(
                f"not fetched: what {one.node} needs can only be told once the root below it is built", file=sys.stderr
            )


def _repositories(project: Project, store: Store, targets: Sequence[str], listener: Listener) -> Project:
    """Fetch the repositories of all targets; the project, checked with what is in them."""
    names = missing(project, store, [step.node for step in make_plan(project, store, targets).steps.values()])
    if not names:
        return project
    bring(project, store, names, [listener])
    return load(project.folder, kinds(), project.trees)


def _seeds(project: Project, store: Store, targets: Sequence[str], listener: Listener) -> None:
    """Make the seeds of all targets, which takes what they are made of."""
    graph = graph_of(project)
    nodes = graph.closure(node for target in check_targets(graph, project, targets) for node in graph.targets[target])
    seeds = [name for name in project.entries["seeds"] if nodes.intersection(graph.targets[name])]
    if seeds:
        plan = make_plan(project, store, seeds)
        outcome = carry_out(plan, store, Resources.of_machine(), listener, keep_going=False)
        if outcome:
            raise_failures(plan, store, outcome)


def _print_json(
    project: Project, store: Store, targets: Sequence[str], found: Sequence[Sources], mirror: Path | None
) -> None:
    pins = {subject.node: dict(project.lock.pins(subject.table)[subject.name]) for subject in needed(project, targets)}
    told = {
        "project": project.info.name,
        "pins": pins,
        "distfiles": str(store.cache("distfiles")),
        "mirror": str(mirror) if mirror else None,
        "stages": {one.node: one.to_dict() for one in found},
    }
    print(json.dumps(told, indent=2))
