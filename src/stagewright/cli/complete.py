"""Completion of the arguments of commands from the project. Shells call it by the scripts of ``completion``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from stagewright.project.model import Project


Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
"""Returns the words that a shell offers for the beginning of one."""


def _completer(words: Callable[[Project], Iterable[str]], *, files: bool = False) -> Complete:
    """Return a function that completes from words of the project; also from files, if the command takes them."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(incomplete, type="file")] if files else []
        with contextlib.suppress(Exception):  # completion shows no errors
            found += [CompletionItem(word) for word in words(_project(ctx)) if word.startswith(incomplete)]
        return found

    return complete


def _project(ctx: click.Context) -> Project:
    from stagewright.kinds.registry import kinds
    from stagewright.project.load import find, load

    root = ctx.find_root()
    directory = (root.obj or {}).get("directory") or root.params.get("directory") or Path()
    return load(find(directory), kinds())


def _of_tables(*tables: str) -> Callable[[Project], list[str]]:
    return lambda project: [name for table in tables for name in project.entries.get(table, ())]


def _sides(project: Project) -> list[str]:
    names = _of_tables("stages", "seeds", "tests")(project)
    return [*names, *(f"{name}@previous" for name in names)]


def _sets(project: Project) -> Sequence[str]:
    from stagewright.ui.actions import SETS

    return [name for name, entry in project.entries["stages"].items() if entry.kind in SETS]


def _images(project: Project) -> Sequence[str]:
    from stagewright.ui.actions import bootable

    return bootable(project)


complete_targets = _completer(_of_tables("seeds", "stages", "tests", "releases"))
complete_tests = _completer(_of_tables("tests"))
complete_releases = _completer(_of_tables("releases"))
complete_pinned = _completer(lambda project: [*project.repos, *_of_tables("seeds", "releases")(project)])
complete_images = _completer(_images, files=True)
complete_sets = _completer(_sets, files=True)
complete_sides = _completer(_sides, files=True)
complete_variables = _completer(lambda project: [f"{name}=" for name in ("version", *project.variables)])


def complete_kinds(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the kinds that begin with a text."""
    from stagewright.kinds.registry import by_kind

    return [CompletionItem(kind) for kind, model in by_kind().items() if model.table and kind.startswith(incomplete)]
