"""Notes, and the errors of specs that are left out, as the commands for specs print them."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from stagewright.catalyst.auto import Notice
from stagewright.dropin.project import Loaded
from stagewright.errors import ProblemsError
from stagewright.ui.streams import note
from stagewright.ui.text import error_text, plural

strict_option = click.option(
    "--strict", is_flag=True, help="Stop if a spec has an error, instead of leaving that spec out."
)

_ALIKE = 3
"""Number of equal notes from which on only the first place is printed."""


def print_notices(notices: Iterable[Notice]) -> None:
    """Print notes, sorted by place. Of many equal notes the first is printed, with the number of other places."""
    places: dict[str, list[Notice]] = {}
    for notice in sorted(notices, key=lambda notice: notice.place):
        places.setdefault(notice.text, []).append(notice)
    for found in places.values():
        for notice in found[:1] if len(found) >= _ALIKE else found:
            more = f" (and {plural(len(found) - 1, 'other place')})" if len(found) >= _ALIKE else ""
            note(f"note: {notice}{more}")


def print_left_out(loaded: Loaded) -> None:
    """Print the errors of the specs that are left out, after the result."""
    files = {error.place.file for error in loaded.left_out if error.place}
    if files:
        sys.stdout.flush()
        note(f"\nleft out, with {plural(len(loaded.left_out), 'error')}: {plural(len(files), 'file')}")
        note(error_text(ProblemsError(loaded.left_out)))
