"""``stagewright`` without a command: what the project makes, and what can be done with it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from stagewright.cli.common import session_or_none
from stagewright.engine.plan import Plan, State
from stagewright.engine.session import Session
from stagewright.project.model import Entry
from stagewright.ui.actions import action
from stagewright.ui.style import Line, Style, Styled, write_line
from stagewright.ui.text import plural

_WORDS = {State.BUILD: ("to build", Style.YELLOW), State.CACHED: ("ready", Style.GREEN), State.SKIP: ("-", Style.DIM)}


def show_project(ctx: click.Context) -> bool:
    """Print the targets of the project, each with its state and a command. Return False if there is no project."""
    session = session_or_none(ctx, reads_only=True)
    if session is None:
        return False
    for line in _lines(session, session.plan()):
        write_line(line)
    return True


def _lines(session: Session, plan: Plan) -> Iterator[Line]:
    project = session.project
    yield Styled(f"{project.info.name} {project.info.version}", Style.BOLD), f"  {project.folder}"
    entries = list(project.all_entries())
    widths = [max((len(getattr(entry, field)) for entry in entries), default=0) for field in ("name", "kind")]
    for table, found in project.entries.items():
        if found:
            yield [""]
            yield [Styled(table, Style.BOLD)]
            yield from (_row(session, plan, entry, *widths) for entry in found.values())
    yield [""]
    yield [f"stagewright build    makes what is missing: {plural(len(plan.to_build), 'node')}"]
    yield ["stagewright plan     says what is built, and why"]
    yield ["stagewright help     lists all commands"]


def _row(session: Session, plan: Plan, entry: Entry, names: int, kinds: int) -> Line:
    word, style, line = _state(session, plan, entry)
    return f"  {entry.name:<{names}}  {entry.kind:<{kinds}}  ", Styled(f"{word:<9}", style), f"  {line}".rstrip()


def _state(session: Session, plan: Plan, entry: Entry) -> tuple[str, Style, str]:
    """Return the state of an entry in a word, its style, and a command for it."""
    steps = [plan.steps[node] for node in plan.graph.targets[entry.name] if node in plan.steps]
    if session.failed(entry) or any(step.failure and step.failure.message for step in steps):
        return "failed", Style.RED, f"stagewright log {entry.name}"
    if not steps:
        return "unused", Style.DIM, ""
    state = State.BUILD if any(step.state is State.BUILD for step in steps) else steps[-1].state
    word, style = _WORDS[state]
    if state is State.BUILD:
        return word, style, f"stagewright build {entry.name}"
    if state is State.SKIP:
        return word, style, ""
    return ("passed" if entry.table == "tests" else word), style, action(entry) or "in out/"
