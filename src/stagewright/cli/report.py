"""``stagewright report``."""

from __future__ import annotations

from pathlib import Path

import click

from stagewright.cli.common import session_or_none, store_folder
from stagewright.engine.recorded_runs import RecordedRun, find_run, recorded_runs
from stagewright.errors import Reason, StagewrightError
from stagewright.store.durable import write_atomically
from stagewright.store.reading import ReadOnlyStore
from stagewright.ui.streams import document


@click.command(name="report")
@click.argument("run", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="The file to write; - is standard output (default: report-PROJECT-RUN.html in this folder).",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="A short text in Markdown, for summaries of CI.")
@click.pass_context
def command(ctx: click.Context, run: str | None, output: Path | None, *, as_markdown: bool) -> None:
    """Write a report of a run: one HTML file with everything.

    It has the failures, the timeline with its critical path, the graph, packages and
    sizes with their changes, the screens and boot charts of tests, and the logs with a
    search. It loads nothing from a network, so it can be mailed or kept by CI.

    RUN is the id of a run, as `stagewright history` lists them; the default is the last
    run of this project. The run need not have ended or succeeded.

    \b
      stagewright report
      stagewright report --markdown >> "$GITHUB_STEP_SUMMARY"
      stagewright report 20261130-021857-bb1d -o nightly.html
    """
    from stagewright.ui.report.details import details_of
    from stagewright.ui.report.markdown import markdown
    from stagewright.ui.report.page import page

    store = ReadOnlyStore(store_folder(ctx))
    found = find_run(store.path, run) if run else _last(ctx, store.path)
    if as_markdown:
        text = markdown(found)
        output = output or Path("-")
    else:
        text = page(found, details_of(found, store))
    if output == Path("-"):
        document(text)
        return
    file = output or Path(f"report-{found.project}-{found.run}.html")
    write_atomically(file, text)
    print(file)


def _last(ctx: click.Context, store: Path) -> RecordedRun:
    """Return the last run of the project in the folder; without a project the last one of all."""
    session = session_or_none(ctx, reads_only=True)
    folder = str(session.project.folder) if session else None
    for run in recorded_runs(store):
        if folder in (None, run.folder):
            return run
    what = f"no run of {folder or 'any project'} is recorded in the store {store}"
    raise StagewrightError(Reason.NOT_BUILT, what, hint="stagewright build, or stagewright report RUN")
