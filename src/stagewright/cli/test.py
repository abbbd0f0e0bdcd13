"""``stagewright test``."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from stagewright.cli.common import locked_option, progress_listener, progress_option, session_of, store_folder
from stagewright.cli.complete import complete_tests
from stagewright.cli.junit import junit_option, write_junit
from stagewright.cli.main import exit_of
from stagewright.engine.build_options import BuildOptions
from stagewright.engine.session import Session
from stagewright.engine.test_runs import RanTest, missing_inputs, results_folder, run_test, runs_now, step_of, tests_of
from stagewright.errors import Exit, ProblemsError, Reason, StagewrightError
from stagewright.events import Listener
from stagewright.testing.results import Report
from stagewright.ui.streams import note
from stagewright.ui.text import duration, error_text


@click.command(name="test")
@click.argument("names", nargs=-1, metavar="[TEST]...", shell_complete=complete_tests)
@click.option("-i", "--interactive", is_flag=True, help="Keep the machines running at the end, with a Python prompt.")
@click.option("-l", "--list", "listing", is_flag=True, help="List the tests of the project instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON on standard output.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for a folder of results of each test (default: out/tests of the project).",
)
@junit_option
@locked_option
@progress_option
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    progress: str,
    output: Path | None,
    junit_file: Path | None,
    *,
    interactive: bool,
    listing: bool,
    as_json: bool,
    locked: bool,
) -> int:
    """Run tests now; all tests if none is named.

    What a test starts is taken from the store, and built first if it is missing there.
    If everything is built, any user can run tests, without root: the store is only
    read. Unlike a build, a test runs each time.

    \b
      stagewright test                      all tests
      stagewright test live --interactive   stop at the step that fails, with a
                                            Python prompt that has the machine
      stagewright test --json live          times of all steps
    """
    session = session_of(ctx, reads_only=True)
    chosen = tests_of(names, list(session.project.entries["tests"]))
    if not chosen:
        note(f"{session.project.info.name} has no tests: add [tests.NAME]; stagewright kinds lists their kinds")
    if listing:
        print("\n".join(f"{name}\t{session.project.entries['tests'][name].kind}" for name in chosen))
        return Exit.OK
    if interactive and not (len(chosen) == 1 and sys.stdin.isatty()):
        hint = "name one test, on a terminal"
        raise StagewrightError(Reason.USAGE, "--interactive: needs one test and a terminal", hint=hint)
    with progress_listener("plain" if interactive and progress == "auto" else progress) as listener:
        _build_inputs(ctx, session, chosen, listener, locked=locked)
        runs = [_run(ctx, name, output, listener, interactive=interactive) for name in chosen]
    if junit_file:
        write_junit(junit_file, session.project.info.name, [ran.performed() for ran in runs])
    if as_json:
        print(json.dumps({"tests": [{**run.report.to_dict(), "folder": str(run.folder)} for run in runs]}, indent=1))
    return _summary(runs)


def _build_inputs(ctx: click.Context, session: Session, names: list[str], listener: Listener, *, locked: bool) -> None:
    """Build what the tests start and is missing. Raises ``NOT_BUILT`` if the user cannot write to the store."""
    plans = [session.plan([name]) for name in names]
    missing = dict.fromkeys(
        target
        for plan in plans
        for target in (missing_inputs(plan, session.store) if runs_now(step_of(plan)) else _not_built(plan, session))
    )
    if not missing:
        return
    store = store_folder(ctx)
    existing = next(path for path in (store, *store.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        what = f"{', '.join(missing)}: not built, and you cannot write to the store {store}"
        raise StagewrightError(Reason.NOT_BUILT, what, hint=f"stagewright build {' '.join(missing)}, as its owner")
    session_of(ctx, listener).build(list(missing), BuildOptions(locked=locked)).raise_failures()


def _not_built(plan: Any, session: Session) -> list[str]:
    step = step_of(plan)
    return [] if session.store.has(step.node.yields, step.key.digest) else list(plan.targets)


def _run(ctx: click.Context, name: str, output: Path | None, listener: Listener, *, interactive: bool) -> RanTest:
    """Run a test, or return the result of its build for tests that need mounts of layers."""
    session = session_of(ctx, listener, reads_only=True)
    plan = session.plan([name])
    step = step_of(plan)
    if not runs_now(step):
        if interactive:
            what = f"{name}: only tests of virtual machines can stay open"
            raise StagewrightError(Reason.USAGE, what, hint=f"stagewright build {name}")
        return _built(name, session.result(name))
    begin = time.monotonic()
    run = run_test(plan, session.store, results_folder(plan, output), listener, stays_open=interactive)
    if run.error:
        note(error_text(run.error))
    else:
        note(f"{name}: passed in {duration(time.monotonic() - begin)} ({len(run.report.steps)} steps)")
    return run


def _built(name: str, folder: Path) -> RanTest:
    """Return the result of a test that was built."""
    file = folder / "result.json"
    data = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if {"steps", "machines"} <= data.keys():
        return RanTest(name, Report.from_dict({**data, "name": name}), folder)
    return RanTest(name, Report(name=name, passed=True, seconds=0.0, steps=(), machines=()), folder)


def _summary(runs: list[RanTest]) -> int:
    """Print one line for each test, and return the exit code: that of the most serious error."""
    for run in runs:
        print(f"{'failed' if run.error else 'passed'}\t{run.name}\t{run.folder}", file=sys.stderr)
    errors = [run.error for run in runs if run.error]
    return exit_of(ProblemsError(errors)) if errors else Exit.OK
