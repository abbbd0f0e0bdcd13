"""The option ``--junit`` of commands that run tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stagewright.errors import Reason, StagewrightError

if TYPE_CHECKING:
    from stagewright.testing.junit import Performed

Function = TypeVar("Function", bound=Callable[..., Any])


def junit_option(function: Function) -> Function:
    """Add ``--junit``; the command gets the path as ``junit_file``."""
    return click.option(
        "--junit",
        "junit_file",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=_check,
        help="Also write the results of the tests as JUnit XML, after success and failure.",
    )(function)


def _check(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Refuse a file that cannot be written later: a build may take hours."""
    if value and not value.absolute().parent.is_dir():
        message = f"--junit {value}: folder not found ({value.absolute().parent})"
        raise StagewrightError(Reason.MISSING_FILE, message, hint=f"mkdir -p {value.parent}")
    return value


def write_junit(file: Path, project: str, tests: Sequence[Performed]) -> None:
    """Write the results of tests into a file."""
    from stagewright.store.durable import write_atomically
    from stagewright.testing.junit import junit

    try:
        write_atomically(file, junit(project, tests))
    except OSError as error:
        message = f"--junit {file}: cannot be written ({error.strerror})"
        raise StagewrightError(Reason.MISSING_FILE, message) from error
