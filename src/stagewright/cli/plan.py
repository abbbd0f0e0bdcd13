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
    from stagewright.engine.plan import Plan
    from stagewright.portage.hit_rate import HitRate


@click.command(name="plan")
@targets_argument
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--keys", is_flag=True, help="Print everything that goes into each key, as JSON.")
@click.option("--binhosts", is_flag=True, help="Count the packages that binary package hosts have.")
@locked_option
@click.pass_context
def command(
    ctx: click.Context, targets: tuple[str, ...], as_json: bool, keys: bool, binhosts: bool, locked: bool
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

    \b
      stagewright plan                      everything
      stagewright plan iso --json           one stage and what it needs
    """
    from stagewright.ui.plain import Plain
    from stagewright.ui.plans import plan_data, plan_rows, rate_lines

    session = session_of(ctx, Plain(sys.stderr), reads_only=True)
    session.check(targets, locked=locked, keys=False)
    for text in session.warnings():
        note(f"warning: {text}")
    plan = session.plan(targets)
    rates = _hit_rates(plan) if binhosts else {}
    if as_json:
        counted = {"binhosts": {name: rate.to_dict() for name, rate in rates.items()}} if binhosts else {}
        print(json.dumps({**plan_data(plan), **counted}, indent=2))
    elif keys:
        print(json.dumps({name: step.key.data for name, step in plan.steps.items()}, indent=2, sort_keys=True))
    else:
        for target in session.unpinned(targets):
            print(f"{target} is not pinned: the first build looks up what it stands for")
        for line in plan_rows(plan):
            write_line(line)
        if binhosts:
            print("\n".join(rate_lines(rates)))


def _hit_rates(plan: Plan) -> Mapping[str, HitRate]:
    from stagewright.engine.hit_rates import hit_rates

    return hit_rates(plan)
