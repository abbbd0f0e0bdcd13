"""``stagewright check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stagewright.cli.common import locked_option, session_of
from stagewright.cli.main import exit_of
from stagewright.errors import StagewrightError
from stagewright.ui.streams import document, note

if TYPE_CHECKING:
    from stagewright.engine.session import Session
    from stagewright.ui.problem_formats import Finding

FORMATS = ("text", "json", "github", "sarif")


@click.command(name="check")
@locked_option
@click.option("--json", "as_object", is_flag=True, help="Print errors and warnings as one JSON object.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="Print them as text, JSON, annotations of GitHub's workflows, or SARIF 2.1.0.",
)
@click.pass_context
def command(ctx: click.Context, locked: bool, as_object: bool, form: str) -> int | None:
    """Find all errors in the project.

    Each error is a line "FILE:LINE:COLUMN: MESSAGE", followed by a hint. Profiles and
    packages are checked in the repositories that are in the store; run stagewright
    fetch first to check all of them. Nothing is built, fetched or written.

    \b
      stagewright check
      stagewright check --format github    in a workflow: marks the lines of a change
      stagewright check --format sarif     for code hosts and editors
    """
    from stagewright.ui.problem_formats import findings_of, warning

    if as_object:
        form = "json"
    if form == "text":
        session = _checked(ctx, locked)
        for text in session.warnings():
            note(f"warning: {text}")
        print(_summary(session))
        return None
    try:
        findings, code = [warning(text) for text in _checked(ctx, locked).warnings()], None
    except StagewrightError as error:
        findings, code = findings_of(error), exit_of(error)
    _print(form, findings)
    return code


def _checked(ctx: click.Context, locked: bool) -> Session:
    session = session_of(ctx, reads_only=True)
    session.check(locked=locked, keys=False)
    return session


def _summary(session: Session) -> str:
    project = session.project
    counts = [f"{len(entries)} {_noun(table, len(entries))}" for table, entries in project.entries.items() if entries]
    nodes = f"{len(session.graph.nodes)} {_noun('nodes', len(session.graph.nodes))}"
    return f"{project.info.name} {project.info.version}: {', '.join([*counts, nodes])}; nothing wrong"


def _noun(table: str, count: int) -> str:
    return table.removesuffix("s") if count == 1 else table


def _print(form: str, findings: list[Finding]) -> None:
    from stagewright.ui.problem_formats import as_github, as_json, as_sarif

    if form == "github":
        for line in as_github(findings):
            print(line)
    else:
        document((as_json(findings) if form == "json" else as_sarif(findings)) + "\n")
