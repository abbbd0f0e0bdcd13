"""What commands share: the project, the store, and the options that choose a face."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from stagewright.events import Listener
from stagewright.kinds.registry import kinds
from stagewright.project.load import find, load
from stagewright.project.model import Project
from stagewright.repos.repository_cache import trees_folder
from stagewright.store.store import Store, default_store

Function = TypeVar("Function", bound=Callable[..., Any])

PROGRESS = ("auto", "live", "plain", "json", "quiet")


def project_of(ctx: click.Context) -> Project:
    """The project that the command is about."""
    return load(find(ctx.obj["directory"]), kinds(), trees_folder(store_path(ctx)))


def store_of(ctx: click.Context) -> Store:
    """The store that the command uses."""
    return Store(store_path(ctx))


def store_path(ctx: click.Context) -> Path:
    """Where the store lies that the command uses."""
    path: Path = ctx.obj["store"] or default_store()
    return path.absolute()


def targets_argument(function: Function) -> Function:
    """The argument for stages and tests, completed from the project."""
    return click.argument("targets", nargs=-1, metavar="[STAGE|TEST]...", shell_complete=_complete)(function)


def stage_argument(function: Function) -> Function:
    """The argument for one stage, seed or test."""
    return click.argument("target", metavar="STAGE", shell_complete=_complete)(function)


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    with contextlib.suppress(Exception):  # completion never disturbs the user
        root = ctx.find_root()
        root.obj = root.obj or {"directory": root.params.get("directory") or Path(), "store": None}
        return [entry.name for entry in project_of(root).all_entries() if entry.name.startswith(incomplete)]
    return []


def locked_option(function: Function) -> Function:
    """``--locked``: never move or add a pin."""
    return click.option("--locked", is_flag=True, help="Fail where stagewright.lock would have to be written.")(
        function
    )


def progress_option(function: Function) -> Function:
    """``--progress``: how to show what happens."""
    return click.option(
        "--progress",
        type=click.Choice(PROGRESS),
        default="auto",
        help="live on a terminal, plain lines, json lines on standard output, or quiet.",
    )(function)


@contextlib.contextmanager
def face(choice: str) -> Iterator[Listener]:
    """The listener for a choice of ``--progress``."""
    if choice == "auto":
        choice = "live" if sys.stderr.isatty() else "plain"
    if choice == "json":
        from stagewright.ui.jsonlines import JsonLines  # noqa: PLC0415

        yield JsonLines(sys.stdout)
    elif choice == "quiet":
        yield lambda _: None
    elif choice == "live":
        from rich.console import Console  # noqa: PLC0415

        from stagewright.ui.live import LiveTerminal  # noqa: PLC0415

        with LiveTerminal(Console(stderr=True, highlight=False)) as live:
            yield live
    else:
        from stagewright.ui.plain import Plain  # noqa: PLC0415

        yield Plain(sys.stderr)
