"""``stagewright why``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import click

from stagewright.cli.common import session_of, stage_argument
from stagewright.engine.plan import Plan, State, Step
from stagewright.ui.plain import Plain
from stagewright.ui.plans import COLOURS, reasons
from stagewright.ui.style import Line, Styled, write_line


@click.command(name="why")
@stage_argument
@click.option("--keys", is_flag=True, help="Show the entries of keys that differ, with digests.")
@click.option("--json", "as_json", is_flag=True, help="Print the nodes and their reasons as JSON.")
@click.pass_context
def command(ctx: click.Context, target: str, *, keys: bool, as_json: bool) -> None:
    """Explain why a build would make a stage.

    The reasons of a node are what differs from its last build. A reason that is another
    node is followed by the reasons of that node, down to the setting, file, repository
    or tool that changed.

    \b
      stagewright why iso
      stagewright why iso --keys            with the digests
    """
    session = session_of(ctx, Plain(sys.stderr), reads_only=True)
    plan = session.plan(session.check([target], keys=False))
    if as_json:
        rows = [{"node": name, "reasons": reasons(step, plan, keys=keys)} for name, step in _built(plan)]
        print(json.dumps({"target": plan.targets[0], "nodes": rows}, indent=2))
        return
    for line in _tree(plan, plan.sinks[0], keys=keys):
        write_line(line)


def _built(plan: Plan) -> list[tuple[str, Step]]:
    return [(name, step) for name, step in plan.steps.items() if step.state is State.BUILD]


def _tree(plan: Plan, root: str, *, keys: bool) -> Iterator[Line]:
    """Yield the lines of the reasons of a node, and indented those of the nodes that it depends on."""
    step = plan.steps[root]
    if step.state is not State.BUILD:
        yield f"{root}: ", Styled("in the store", COLOURS[State.CACHED]), ", made from what the project says now"
        return
    told: set[str] = set()
    waiting = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        pad = "  " * depth
        if node in told:
            yield [f"{pad}{node}: see above"]
            continue
        told.add(node)
        step = plan.steps[node]
        yield pad, Styled(node, COLOURS[State.BUILD]), f" ({step.node.kind}) is built:"
        yield from ([f"{pad}  - {reason}"] for reason in reasons(step, plan, keys=keys))
        sources = [one for one in dict.fromkeys(step.node.inputs.values()) if plan.steps[one].state is State.BUILD]
        waiting += [(source, depth + 1) for source in reversed(sources)]
