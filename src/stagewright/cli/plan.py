"""``stagewright plan``."""

from __future__ import annotations

import json
from typing import Any

import click

from stagewright.cli.common import locked_option, project_of, store_of, targets_argument
from stagewright.engine.pins import require_pins, unpinned
from stagewright.engine.plan import Plan, State, make_plan


@click.command(name="plan")
@targets_argument
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--keys", is_flag=True, help="Print everything that goes into each key.")
@locked_option
@click.pass_context
def command(ctx: click.Context, targets: tuple[str, ...], as_json: bool, keys: bool, locked: bool) -> None:
    """Show what a build would make, and why; changes nothing.

    Each node is in the store already (cached), would be built, or is not needed.
    A node that would be built names the entries of its key that differ from its
    last build: a setting, the digest of a file, an input, a tool, our own code.
    """
    project, store = project_of(ctx), store_of(ctx)
    if locked:
        require_pins(project, targets)
    plan = make_plan(project, store, targets)
    if as_json:
        print(json.dumps(as_data(plan), indent=2))
        return
    if keys:
        print(json.dumps({name: step.key.data for name, step in plan.steps.items()}, indent=2, sort_keys=True))
        return
    for subject in unpinned(project, targets):
        print(f"{subject} is not pinned yet: the first build looks up what it stands for")
    show(plan)


def as_data(plan: Plan) -> dict[str, Any]:
    """A plan as JSON-able data."""
    nodes = [step.to_dict() for step in plan.steps.values()]
    return {"project": plan.project.info.name, "targets": plan.targets, "nodes": nodes}


def show(plan: Plan) -> None:
    """Print a plan for people."""
    width = max(map(len, plan.steps), default=0)
    for name, step in plan.steps.items():
        lines = [str(difference) for difference in step.why] or [step.reason]
        print(f"{name:<{width}}  {step.state.value:<10}  {lines[0]}".rstrip())
        for line in lines[1:]:
            print(f"{'':<{width}}  {'':<10}  {line}")
    count = len(plan.to_build)
    cached = sum(step.state is State.CACHED for step in plan.steps.values())
    print(f"{count} to build, {cached} cached")
