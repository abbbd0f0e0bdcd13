"""``stagewright bisect``."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stagewright.cli.build import CORES
from stagewright.cli.common import progress_listener, progress_option, store_of
from stagewright.cli.complete import complete_targets
from stagewright.engine.bisect import Bisection, Ends, lines
from stagewright.engine.bisect_question import Measure, Question
from stagewright.engine.build_options import BuildOptions
from stagewright.errors import Exit, Reason, StagewrightError
from stagewright.project.load import find
from stagewright.ui.text import printable

_LOCK = click.Path(path_type=Path, dir_okay=False)


def search_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a search; the command gets them as ``question`` and ``ends``."""

    @functools.wraps(function)
    def with_search(
        *arguments: Any, target: str, good: Path, bad: Path, size: str, slow: str, limit: str, **others: Any
    ) -> Any:
        return function(*arguments, question=_question(target, size, slow, limit), ends=(good, bad), **others)

    decorated: Callable[..., Any] = with_search
    larger = "Search for the commit that makes this larger than --limit."
    for decorate in (
        click.option("--limit", metavar="AMOUNT", default="", help="The largest good size (700M) or time (90s, 10m)."),
        click.option("--time", "slow", metavar="TEST|STAGE", default="", help="The same for a time (test or build)."),
        click.option("--size", metavar="STAGE", default="", help=larger),
        click.option("--bad", type=_LOCK, required=True, metavar="LOCK", help="A lock file with which it is bad."),
        click.option("--good", type=_LOCK, required=True, metavar="LOCK", help="A lock file with which it was good."),
        click.argument("target", metavar="[TEST|STAGE]", default="", shell_complete=complete_targets),
    ):
        decorated = decorate(decorated)
    return decorated


@click.command(name="bisect")
@search_options
@click.option("--skip", multiple=True, metavar="COMMIT", help="Do not test this commit. Can be repeated.")
@click.option("--restart", is_flag=True, help="Forget the answers of former runs of this command.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-j", "--cores", type=click.IntRange(min=1), help=CORES)
@progress_option
@click.pass_context
def command(
    ctx: click.Context,
    question: Question,
    ends: tuple[Path, Path],
    progress: str,
    cores: int | None,
    skip: tuple[str, ...],
    *,
    restart: bool,
    as_json: bool,
) -> int:
    """Find the commit of a repository that broke a test.

    TEST passes with the lock --good and fails with the lock --bad. Stagewright tests states
    between the two locks, by halves: first it finds the repository or seed whose change
    matters, then the commit, if it is a git repository. Each state is built in the store,
    so only what differs is built. The locks can have everything else in common or not.

    With a stage in place of a test, bad means that its build fails. With --size or --time,
    bad means more than --limit. A commit that cannot be built is skipped.

    Answers are kept in the store: after Ctrl-C, a crash or an error of the network the
    same command continues. The files of the project and its lock do not change.
    The exit code is 1 if only several suspects remain.

    \b
      git show v1.0:stagewright.lock > good.lock
      stagewright bisect iso-boots --good good.lock --bad stagewright.lock
      stagewright bisect --size iso --limit 700M --good good.lock --bad stagewright.lock
    """
    wrong = [word for word in skip if not re.fullmatch("[0-9a-f]{7,64}", word)]
    if wrong:
        hint = "write at least 7 digits of its id"
        raise StagewrightError(Reason.USAGE, f"--skip {wrong[0]}: not the id of a commit", hint=hint)
    progress = "plain" if progress == "json" and as_json else progress
    project, store = find(ctx.obj["directory"]), store_of(ctx)
    with progress_listener(progress) as listener:
        search = Bisection(project, store, Ends.read(*ends), question, BuildOptions(cores), [listener], skip)
        if restart:
            search.forget()
        found = search.run()
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        print(printable("\n".join(lines(found))))
    return Exit.OK if found.is_certain else Exit.FAILED


def _question(target: str, size: str, slow: str, limit: str) -> Question:
    if sum(map(bool, (target, size, slow))) != 1:
        hint = "as in: stagewright bisect TEST --good LOCK --bad LOCK"
        raise StagewrightError(Reason.USAGE, "bisect: name one of TEST, --size STAGE and --time TEST", hint=hint)
    if not target:
        pattern = "[1-9][0-9]{0,6}[MGT]" if size else "[1-9][0-9]{0,6}[smhd]"
        if not re.fullmatch(pattern, limit):
            example = "--limit 700M" if size else "--limit 90s"
            raise StagewrightError(Reason.USAGE, f"--limit: not an amount (found {limit!r})", hint=f"write {example}")
    elif limit:
        raise StagewrightError(Reason.USAGE, "--limit is for --size and --time", hint="leave it out")
    measure = Measure.SIZE if size else Measure.TIME if slow else Measure.SUCCESS
    return Question(target or size or slow, measure, limit)
