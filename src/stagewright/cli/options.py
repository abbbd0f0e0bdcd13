"""Options that several commands have, apart from those that need a project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from stagewright.graph.draw import Picture

Function = TypeVar("Function", bound=Callable[..., Any])


def picture_option(default: Picture) -> Callable[[Function], Function]:
    """``--as``: how to draw a graph."""
    return click.option(
        "--as", "picture", type=click.Choice([item.value for item in Picture]), default=default.value, show_default=True
    )


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
