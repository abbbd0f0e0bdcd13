"""``stagewright store verify``."""

from __future__ import annotations

import json

import click

from stagewright.cli.common import progress_option
from stagewright.cli.remote.common import remote_argument, remote_of
from stagewright.errors import ProblemsError
from stagewright.remote.keep import check
from stagewright.ui.text import size


@click.command(name="verify")
@remote_argument
@click.option("--remove", is_flag=True, help="Remove damaged results and files, so that they can be pushed again.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@progress_option
@click.pass_context
def command(ctx: click.Context, remote: str, progress: str, *, remove: bool, as_json: bool) -> None:
    """Read a whole remote store, and compare every blob with its digest.

    That covers results and the files of caches. Signatures of results are verified if the
    remote has `signers`. The exit code is not 0 if anything is damaged.
    """
    with remote_of(ctx, remote, progress) as (opened, _):
        found = check(opened, remove=remove)
    if as_json:
        problems = [
            {"key": statement.key if statement else None, **error.to_dict()} for statement, error in found.problems
        ]
        print(
            json.dumps(
                {"results": found.results, "files": found.files, "size": found.size, "problems": problems}, indent=2
            )
        )
    else:
        files = f"{found.files} files of caches, " if found.files else ""
        print(f"{found.results} results, {files}{size(found.size)} read, {len(found.problems)} damaged")
    if found.problems:
        raise ProblemsError([error for _, error in found.problems])
