"""Options that several commands have, apart from those that need a project."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from stagewright.catalyst.tokens import parse_settings
from stagewright.dropin.project import Specs
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.draw import Picture
from stagewright.ui.streams import document

Function = TypeVar("Function", bound=Callable[..., Any])


def picture_option(default: Picture) -> Callable[[Function], Function]:
    """``--as``: how to draw a graph."""
    return click.option(
        "--as", "picture", type=click.Choice([item.value for item in Picture]), default=default.value, show_default=True
    )


def show_picture(text: str, picture: str) -> None:
    """Print a drawn graph: text in the encoding of the terminal, everything else in UTF-8."""
    if picture == Picture.TEXT:
        print(text, end="")
    else:
        document(text)


def specs_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What says which specs become a project, and from which repositories; the command gets it as ``specs``."""

    @functools.wraps(function)
    def with_specs(
        *arguments: Any,
        specs: tuple[Path, ...],
        conf: tuple[Path, ...],
        given: tuple[str, ...],
        repos: tuple[str, ...],
        **others: Any,
    ) -> Any:
        found = Specs(specs, conf, parse_settings(given), repositories(repos))
        return function(*arguments, specs=found, **others)

    text = "An ebuild repository as a folder, instead of the storedir's snapshot. May be repeated."
    option = click.option("--repo", "repos", multiple=True, metavar="NAME=FOLDER", help=text)
    return release_options(option(with_specs))


def repositories(words: Iterable[str]) -> dict[str, Path]:
    """The folders that ``--repo`` gives. Raises :class:`StagewrightError` for anything else."""
    found: dict[str, Path] = {}
    for word in words:
        name, separator, folder = word.partition("=")
        if not separator or not name or not folder:
            hint = "write --repo NAME=FOLDER, for example --repo gentoo=/var/db/repos/gentoo"
            raise StagewrightError(Reason.USAGE, f"--repo {word}: this is no NAME=FOLDER", hint=hint)
        if not os.path.isdir(folder):  # noqa: PTH112  pathlib raises for names that are too long
            raise StagewrightError(Reason.MISSING_FILE, f"--repo {name}: there is no folder {folder}", hint="mend it")
        found[name] = Path(folder)
    return found


def release_options(function: Function) -> Function:
    """What says which of Catalyst's specs to read, and how."""
    path = click.Path(path_type=Path)
    for decorate in (
        click.option(
            "--set", "given", multiple=True, metavar="NAME=VALUE", help="What @NAME@ stands for, and $NAME in a --conf."
        ),
        click.option(
            "--conf",
            multiple=True,
            type=path,
            help="A catalyst.conf, or a configuration of catalyst-auto. May be repeated.",
        ),
        click.argument("specs", nargs=-1, metavar="[SPEC|FOLDER]...", type=path),
    ):
        function = decorate(function)
    return function
