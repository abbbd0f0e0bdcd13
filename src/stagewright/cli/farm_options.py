"""Options of commands that connect to a farm."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from stagewright.engine.build_options import BuildOptions


def certs_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option for the folder of certificates; the command gets it as ``certs``."""
    return click.option(
        "--certs",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="STAGEWRIGHT_FARM_CERTS",
        help="The folder of stagewright farm certs (default: ~/.config/stagewright/farm).",
    )(function)


def farm_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a build on a farm; they become part of its ``options``."""

    @functools.wraps(function)
    def with_farm(
        *arguments: Any,
        options: BuildOptions,
        farm: str | None,
        farm_certs: Path | None,
        farm_remote: str | None,
        farm_wait: float,
        **others: Any,
    ) -> Any:
        from stagewright.engine.farm.options import FarmOptions

        used = FarmOptions(farm, farm_certs, farm_remote, farm_wait) if farm else None
        return function(*arguments, options=replace(options, farm=used), **others)

    decorated: Callable[..., Any] = with_farm
    for decorate in (
        click.option(
            "--farm-wait",
            type=click.FloatRange(min=0),
            default=60.0,
            metavar="SECONDS",
            show_default=True,
            help="How long to wait for a machine that can build what is left.",
        ),
        click.option("--farm-remote", metavar="NAME|URL", help="The store that its machines share."),
        click.option(
            "--farm-certs",
            type=click.Path(path_type=Path, file_okay=False),
            envvar="STAGEWRIGHT_FARM_CERTS",
            help="The certificates of the farm (default: ~/.config/stagewright/farm).",
        ),
        click.option(
            "--farm",
            metavar="URL",
            envvar="STAGEWRIGHT_FARM",
            help="Build on the machines of a farm, such as tls://HOST:8786.",
        ),
    ):
        decorated = decorate(decorated)
    return decorated
