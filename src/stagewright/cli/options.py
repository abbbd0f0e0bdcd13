"""Options of several commands that need no project."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from stagewright.errors import Reason, StagewrightError
from stagewright.ui.streams import document
from stagewright.units import parse_size, size_hint

Function = TypeVar("Function", bound=Callable[..., Any])


def mebibytes(least: int) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """Return the callback of an option for memory: MiB, or a number with a unit such as ``2G``. It returns MiB."""

    def amount(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
        if value is None:
            return None
        try:
            found = int(value) if value.isdecimal() else parse_size(value) >> 20
        except ValueError:
            write = size_hint(value) or "a number of MiB, or one with M or G: 2G"
            raise click.BadParameter(f"{value!r} is not an amount of memory; write {write}") from None
        if found < least:
            raise click.BadParameter(f"{value!r} is too little memory; write at least {least}M")
        return found

    return amount


def picture_option(function: Function) -> Function:
    """Add ``--as``, the format of a drawn graph. The default is the tree for people, on a terminal and in a pipe."""
    from stagewright.graph.draw import Picture

    return click.option(
        "--as",
        "picture",
        type=click.Choice([item.value for item in Picture]),
        default=Picture.TEXT.value,
        show_default=True,
        help="The format.",
    )(function)


def show_picture(text: str, picture: str) -> None:
    """Print a drawn graph: text in the encoding of the terminal, everything else in UTF-8."""
    from stagewright.graph.draw import Picture

    if picture == Picture.TEXT:
        print(text, end="")
    else:
        document(text)


def specs_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name specs and repositories; the command gets them as ``specs``."""

    @functools.wraps(function)
    def with_specs(
        *arguments: Any,
        specs: tuple[Path, ...],
        conf: tuple[Path, ...],
        given: tuple[str, ...],
        repos: tuple[str, ...],
        **others: Any,
    ) -> Any:
        from stagewright.catalyst.tokens import parse_settings
        from stagewright.dropin.project import Specs

        found = Specs(specs, conf, parse_settings(given), repositories(repos))
        return function(*arguments, specs=found, **others)

    text = "The folder of an ebuild repository, instead of the snapshot in the storedir. Can be repeated."
    option = click.option("--repo", "repos", multiple=True, metavar="NAME=FOLDER", help=text)
    return release_options(option(with_specs))


def repositories(words: Iterable[str]) -> dict[str, Path]:
    """Return the folders of ``--repo`` by name. Raises ``USAGE`` or ``MISSING_FILE``."""
    found: dict[str, Path] = {}
    for word in words:
        name, separator, folder = word.partition("=")
        if not separator or not name or not folder:
            hint = "write --repo NAME=FOLDER, for example --repo gentoo=/var/db/repos/gentoo"
            raise StagewrightError(Reason.USAGE, f"--repo {word}: not NAME=FOLDER", hint=hint)
        if not os.path.isdir(folder):  # noqa: PTH112  pathlib raises for names that are too long
            raise StagewrightError(
                Reason.MISSING_FILE, f"--repo {name}: folder not found ({folder})", hint="correct the path"
            )
        found[name] = Path(folder)
    return found


def release_options(function: Function) -> Function:
    """Add the options that name Catalyst's specs and configurations."""
    path = click.Path(path_type=Path)
    for decorate in (
        click.option(
            "--set",
            "given",
            multiple=True,
            metavar="NAME=VALUE",
            help="The value of @NAME@ in specs, and of $NAME in a --conf.",
        ),
        click.option(
            "--conf",
            multiple=True,
            type=path,
            help="A catalyst.conf, or a configuration of catalyst-auto. Can be repeated.",
        ),
        click.argument("specs", nargs=-1, metavar="[SPEC|FOLDER]...", type=path),
    ):
        function = decorate(function)
    return function
