"""``stagewright``: the group of all commands. Errors become exit codes here."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from stagewright import __version__, ids
from stagewright.cli.commands import Commands, ReaderGone
from stagewright.cli.complete import complete_variables
from stagewright.errors import Exit, ProblemsError, Reason, StagewrightError
from stagewright.ids import switched_off
from stagewright.run import UMASK, restart_in_utf8_mode
from stagewright.ui.streams import flush_output, is_abandoned, note, prepare_streams
from stagewright.ui.style import error_lines, note_line
from stagewright.ui.text import error_text

COMMANDS = {
    "init": "stagewright.cli.init",
    "build": "stagewright.cli.build",
    "plan": "stagewright.cli.plan",
    "why": "stagewright.cli.why",
    "summary": "stagewright.cli.summary",
    "graph": "stagewright.cli.graph",
    "test": "stagewright.cli.test",
    "boot": "stagewright.cli.boot",
    "shell": "stagewright.cli.shell",
    "log": "stagewright.cli.log",
    "status": "stagewright.cli.status",
    "history": "stagewright.cli.history",
    "report": "stagewright.cli.report",
    "web": "stagewright.cli.web",
    "diff": "stagewright.cli.diff",
    "bisect": "stagewright.cli.bisect",
    "rebuild": "stagewright.cli.rebuild",
    "reproduce": "stagewright.cli.reproduce",
    "update": "stagewright.cli.update",
    "fetch": "stagewright.cli.fetch",
    "check": "stagewright.cli.check",
    "seeds": "stagewright.cli.seeds",
    "keys": "stagewright.cli.keys",
    "doctor": "stagewright.cli.doctor",
    "firmware": "stagewright.cli.firmware",
    "clean": "stagewright.cli.clean",
    "gc": "stagewright.cli.gc",
    "verify": "stagewright.cli.verify",
    "store": "stagewright.cli.remote",
    "publish": "stagewright.cli.publish",
    "farm": "stagewright.cli.farm",
    "worker": "stagewright.cli.worker",
    "schema": "stagewright.cli.schema",
    "kinds": "stagewright.cli.kinds",
    "media": "stagewright.cli.media",
    "netboot": "stagewright.cli.netboot",
    "catalyst": "stagewright.cli.catalyst",
    "completion": "stagewright.cli.completion",
    "help": "stagewright.cli.help",
    "version": "stagewright.cli.version",
}
"""The module of each command, in the order in which a new user needs them."""


@click.command(
    cls=Commands,
    modules=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.option(
    "-C",
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The project folder (default: the nearest folder with a stagewright.toml, here or above).",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False, readable=False),
    envvar="STAGEWRIGHT_STORE",
    help="The folder with results and caches (default: /var/cache/stagewright for root).",
)
@click.option(
    "--as-host-root",
    is_flag=True,
    help="Run builds without a user namespace, for kernels that lack it: build only what you trust.",
)
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="Replace a variable of the project, or its version. Can be repeated.",
    shell_complete=complete_variables,
)
@click.version_option(__version__, "-V", "--version", prog_name="stagewright")
@click.pass_context
def group(
    ctx: click.Context, directory: Path, store: Path | None, given: tuple[str, ...], *, as_host_root: bool
) -> None:
    """Build Gentoo-based operating systems: from a seed to an image that boots.

    A project is a folder with a stagewright.toml. There, stagewright alone lists
    what the project makes. -C, --store and --set can also stand after the name of
    a command. The first commands to learn:

    \b
      stagewright init          start a project from a template
      stagewright check         find errors in the project
      stagewright plan          show what a build would make, and why
      stagewright build         build everything, and run the tests
      stagewright boot STAGE    start a virtual machine with the result
      stagewright shell STAGE   enter a root, also that of a failed build

    Exit codes: 0 done, 1 a build or test failed, 2 an error in the project or the
    command line, 3 this machine lacks a program, a right or a feature, 4 the store
    cannot be used, 70 a defect of Stagewright, 130 interrupted.
    """
    ctx.obj = {"directory": directory, "store": store, "given": given}
    if as_host_root:
        ctx.with_resource(switched_off())
    if ids.as_host_root():
        note(ids.WARNING)
    if ctx.invoked_subcommand is None:
        from stagewright.cli.overview import show_project

        if not show_project(ctx):
            print(ctx.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with a code of the table in :class:`Exit`."""
    restart_in_utf8_mode()
    gc.set_threshold(200_000)  # a start makes many objects that stay; the search for garbage takes a tenth of its time
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # finding them reads the lists of all packages
    os.umask(UMASK)
    code = run(arguments)
    gc.freeze()  # Python would search all objects for garbage once more: a sixth of the time of a start
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code. User errors show no traceback, defects always do."""
    prepare_streams()
    code = _run(arguments)
    if problem := _output_error():
        show_error(problem)
        code = problem.reason.exit
    return code


def _output_error() -> StagewrightError | None:
    """Write the rest of the output. Return the error if it cannot be written; then the rest is discarded."""
    try:
        flush_output()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        what = f"standard output cannot be written ({error.strerror})"
        return StagewrightError(Reason.DISK_FULL, what, hint="write it to a disk with free space")
    return None


def _run(arguments: list[str] | None) -> int:
    try:
        result: Any = group.main(arguments, prog_name="stagewright", standalone_mode=False)
    except click.ClickException as error:
        _show_usage_error(error)
        return Exit.INVALID
    except (click.Abort, KeyboardInterrupt):
        note("stopped")
        return Exit.INTERRUPTED
    except StagewrightError as error:
        show_error(error)
        return exit_of(error)
    except ReaderGone:  # the work is done, only the output is lost
        return Exit.OK
    except SystemExit as error:  # click's answer to a reader of a help page that is gone
        return Exit.OK if is_abandoned(sys.stdout) else int(error.code or 0)
    except Exception as error:  # noqa: BLE001  shown in full
        return _failed(error, arguments)
    return int(result) if isinstance(result, int) else Exit.OK


def _show_usage_error(error: click.ClickException) -> None:
    """Write an error of the command line to standard error; for a group without a command, this is its help."""
    from stagewright.cli.usage import usage_error

    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        note(error.format_message())
    else:
        show_error(usage_error(error))


def _failed(error: Exception, arguments: list[str] | None) -> Exit:
    """Show an unexpected exception, and return its exit code: a full disk, a path of the user, or a defect."""
    if isinstance(error, OSError):
        from stagewright.cli.usage import path_error
        from stagewright.engine.worker import disk_error

        output = None if error.filename else _output_error()
        words = sys.argv[1:] if arguments is None else arguments
        if problem := output or disk_error(error) or path_error(error, words):
            show_error(problem)
            return problem.reason.exit
    note("".join(traceback.format_exception(error)))
    note("This is a defect of Stagewright: please report it with the lines above.")
    return Exit.BUG


def show_error(error: StagewrightError) -> None:
    """Write an error to standard error."""
    for line in error_lines(error_text(error)):
        note_line(line)


def exit_of(error: StagewrightError) -> Exit:
    """Return the exit code of an error; of several errors, that of the gravest."""
    problems = error.problems if isinstance(error, ProblemsError) else [error]
    order = [Exit.BUG, Exit.INTERRUPTED, Exit.STORE, Exit.HOST, Exit.INVALID, Exit.FAILED]
    return min((Reason(problem.reason).exit for problem in problems), key=order.index)
