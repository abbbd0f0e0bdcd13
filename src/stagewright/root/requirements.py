"""What is asked of a root and cannot be done there, collected so that a user learns all of it at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from stagewright.errors import ProblemsError, Reason, StagewrightError, nearest

LISTED = 40
"""How many known names a hint may list when none is close to the wrong one."""


class MissingRequirement(NamedTuple):
    """One such thing. ``name`` is the wrong word and ``known`` the right ones, for a hint; all of it can be pickled.

    ``certain`` is said of what no package that is still to come could mend.
    """

    message: str
    hint: str = ""
    name: str = ""
    known: tuple[str, ...] = ()
    certain: bool = False

    def error(self) -> StagewrightError:
        """The error that tells it."""
        near = nearest(self.name, self.known) if self.name else ""
        if near.startswith("known") and len(self.known) > LISTED:
            near = ""
        return StagewrightError(Reason.ENVIRONMENT_LACKS, self.message, hint="; ".join(filter(None, [near, self.hint])))


def raise_missing(lacks: Iterable[MissingRequirement]) -> None:
    """Raise :class:`ProblemsError` if anything is lacking."""
    errors = [lack.error() for lack in dict.fromkeys(lacks)]
    if errors:
        raise ProblemsError(errors)
