"""``stagewright plan``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from stagewright.cli.common import locked_option, session_of, targets_argument
from stagewright.ui.streams import note
from stagewright.ui.style import write_line

if TYPE_CHECKING:
    from stagewright.engine.makespan import Makespan
    from stagewright.engine.plan import Plan
    from stagewright.engine.session import Session
    from stagewright.portage.hit_rate import HitRate


@click.command(name="plan")
@targets_argument
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--keys", is_flag=True, help="Print everything that goes into each key, as JSON.")
@click.option("--binhosts", is_flag=True, help="Count the packages that binary package hosts have.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Estimate the time on N machines.")
@locked_option
@click.pass_context
def command(
    ctx: click.Context,
    targets: tuple[str, ...],
    as_json: bool,
    keys: bool,
    binhosts: bool,
    workers: int | None,
    locked: bool,
) -> None:
    """Show what a build would make, and why; changes nothing.

    Each node is "cached" (in the store), "build" (a build would make it), or "not
    needed". The reasons why a node is built are what differs from its last build: a
    setting, a file, an input, the version of a tool, or the code of Stagewright.
    `stagewright why` follows them to their beginning.

    With --binhosts, Stagewright downloads the indexes of the binary package hosts. For
    each stage that a build would make, it counts the packages that the stage names and
    that these need at run time, and how many of them the hosts have in the version of
    the repositories. USE flags are not compared.

    With --workers, the order of a build is played with the times of the last builds,
    on N machines that build one node at a time. Times to move results between them
    are not counted.

    \b
      stagewright plan                      everything
      stagewright plan iso --json           one stage and what it needs
    """
    from stagewright.ui.plain import Plain
    from stagewright.ui.plans import estimate_lines, plan_data, plan_rows, rate_lines

    session = session_of(ctx, Plain(sys.stderr), reads_only=True, wanted=targets)
    session.check(targets, locked=locked, keys=False)
    for text in session.warnings():
        note(f"warning: {text}")
    plan = session.plan(targets)
    if keys and not as_json:
        print(json.dumps({name: step.key.data for name, step in plan.steps.items()}, indent=2, sort_keys=True))
        return
    rates = _hit_rates(plan) if binhosts else {}
    estimate = _estimate(session, plan, workers) if workers else None
    if as_json:
        counted = {"binhosts": {name: rate.to_dict() for name, rate in rates.items()}} if binhosts else {}
        estimated = {"estimate": estimate.to_dict()} if estimate else {}
        print(json.dumps({**plan_data(plan), **counted, **estimated}, indent=2))
    else:
        for target in session.unpinned(targets):
            print(f"{target} is not pinned: the first build looks up what it stands for")
        for line in plan_rows(plan):
            write_line(line)
        if binhosts:
            print("\n".join(rate_lines(rates)))
        if estimate:
            print("\n".join(estimate_lines(estimate)))


def _estimate(session: Session, plan: Plan, workers: int) -> Makespan:
    from stagewright.engine.makespan import makespan

    nodes = [step.node for step in plan.to_build]
    seconds = session.store.seconds_of(plan.project.records, [node.id for node in nodes])
    return makespan(nodes, seconds, workers)


def _hit_rates(plan: Plan) -> Mapping[str, HitRate]:
    from stagewright.engine.hit_rates import hit_rates

    return hit_rates(plan)
