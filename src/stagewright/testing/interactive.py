"""A Python prompt with the machines of a test, which still run: at the step that failed, or at the end."""

from __future__ import annotations

import code
import contextlib
import sys
from collections.abc import Mapping
from typing import Any

from stagewright.errors import StagewrightError
from stagewright.testing.guest import Guest
from stagewright.testing.perform import ALL
from stagewright.testing.screen import Region


def prompt(guests: Mapping[str, Guest], error: StagewrightError | None) -> None:
    """Run Python statements of the user until Ctrl-D. The time limit of the test does not apply to them."""
    for guest in guests.values():
        guest.timeline.unlimited()
    names: dict[str, Any] = {**guests, ALL: guests, "Region": Region, "error": error}
    _complete(names)
    known = ", ".join(guests)
    lines = [
        f"\n{error}" if error else "",
        "The test failed at this step." if error else "The test is done.",
        f"The machines run ({known}). Try {next(iter(guests))}.succeed('uname -a'), or help({next(iter(guests))}).",
        "Ctrl-D stops them.",
    ]
    with contextlib.suppress(SystemExit):
        _Prompt(names).interact("\n".join(filter(None, lines)), exitmsg="")


class _Prompt(code.InteractiveConsole):
    """A prompt that shows errors of machines without a traceback."""

    def showtraceback(self) -> None:
        """Show the exception of a statement."""
        problem = sys.exception()
        if isinstance(problem, StagewrightError):
            self.write(f"{problem}\n")
        else:
            super().showtraceback()


def _complete(names: Mapping[str, Any]) -> None:
    """Complete names with the Tab key, where Python has readline."""
    with contextlib.suppress(ImportError):
        import readline  # not part of every Python
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(dict(names)).complete)
        readline.parse_and_bind("tab: complete")
