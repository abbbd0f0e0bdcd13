"""Parts of several commands: the session, the store, and common options."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stagewright.cli.complete import complete_targets
from stagewright.errors import Reason, StagewrightError
from stagewright.ui.style import is_plain

if TYPE_CHECKING:
    from stagewright.engine.asked_pins import Ask
    from stagewright.engine.session import Session
    from stagewright.events import Listener
    from stagewright.store.store import Store

Function = TypeVar("Function", bound=Callable[..., Any])

PROGRESS = ("auto", "live", "plain", "json", "quiet")


def session_of(
    ctx: click.Context, *listeners: Listener, reads_only: bool = False, wanted: Sequence[str] = ()
) -> Session:
    """Open the project that the command line names. With ``reads_only`` the store need not be writable.

    ``wanted`` are the targets, if the command looks at nothing else.
    """
    from stagewright.engine.session import Session
    from stagewright.project.overrides import of_environment, parse_set

    ask = asker(listeners) if sys.stdin.isatty() and sys.stderr.isatty() else None
    folder = store_folder(ctx)
    given = {**of_environment(), **parse_set(ctx.obj.get("given") or ())}
    place = ctx.obj["directory"]
    return Session.open(
        place, store=folder, listeners=listeners, ask=ask, reads_only=reads_only, given=given, wanted=wanted
    )


def asker(listeners: Sequence[Listener]) -> Ask:
    """Return the function that asks for a secret on the terminal, without a display of progress meanwhile."""

    def ask(text: str) -> str:
        with contextlib.ExitStack() as paused:
            for listener in listeners:
                if hasattr(listener, "paused"):
                    paused.enter_context(listener.paused())
            return str(click.prompt(text, prompt_suffix="", hide_input=True, default="", show_default=False, err=True))

    return ask


def session_or_none(ctx: click.Context, *, reads_only: bool = False) -> Session | None:
    """Open the project that the command line names; return None if there is no project."""
    try:
        return session_of(ctx, reads_only=reads_only)
    except StagewrightError as error:
        if error.reason is Reason.NO_PROJECT:
            return None
        raise


def store_of(ctx: click.Context) -> Store:
    """Open the store that the command line names."""
    from stagewright.store.store import Store

    return Store(store_folder(ctx))


def store_folder(ctx: click.Context) -> Path:
    """Return the folder of the store, which may not exist yet."""
    from stagewright.store.place import default_store

    path: Path = ctx.obj["store"] or default_store()
    return path.absolute()


def targets_argument(function: Function) -> Function:
    """Add the argument for stages and tests, which is completed from the project."""
    return click.argument("targets", nargs=-1, metavar="[STAGE|TEST]...", shell_complete=complete_targets)(function)


def stage_argument(function: Function) -> Function:
    """Add the argument for one stage, seed or test."""
    return click.argument("target", metavar="STAGE", shell_complete=complete_targets)(function)


def optional_stage_argument(function: Function) -> Function:
    """Add the argument for one stage, seed or test, or for none."""
    return click.argument("target", metavar="[STAGE]", required=False, shell_complete=complete_targets)(function)


def locked_option(function: Function) -> Function:
    """Add ``--locked``."""
    return click.option(
        "--locked", is_flag=True, help="Fail if a pin is missing in stagewright.lock, instead of looking it up."
    )(function)


def progress_option(function: Function) -> Function:
    """Add ``--progress``."""
    return click.option(
        "--progress",
        type=click.Choice(PROGRESS),
        default="auto",
        help="Show progress live on a terminal, as plain lines, as JSON lines on standard output, or not at all.",
    )(function)


@contextlib.contextmanager
def progress_listener(choice: str) -> Iterator[Listener]:
    """Open the listener for a choice of ``--progress``."""
    if choice == "auto":
        choice = "plain" if is_plain(sys.stderr) else "live"
    if choice == "json":
        from stagewright.ui.jsonlines import JsonLines

        yield JsonLines(sys.stdout)
    elif choice == "quiet":
        yield lambda _: None
    elif choice == "live":
        from stagewright.ui.live import LiveConsole, LiveTerminal

        with LiveTerminal(LiveConsole()) as live:
            yield live
    else:
        from stagewright.ui.plain import Plain

        yield Plain(sys.stderr)
