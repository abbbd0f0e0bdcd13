"""Requirements that a root does not meet. They are collected, so that all are reported at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from stagewright.errors import ProblemsError, Reason, StagewrightError, nearest

LISTED = 40
"""Maximum number of known names in a hint, if none is close to the wrong name."""


class MissingRequirement(NamedTuple):
    """One requirement that a root does not meet. ``name`` is the wrong word, and ``known`` the valid ones, for a hint.

    ``permanent`` is True if no package can meet it, so that it can be reported before packages are installed. All
    fields can be pickled.
    """

    message: str
    hint: str = ""
    name: str = ""
    known: tuple[str, ...] = ()
    permanent: bool = False

    def error(self) -> StagewrightError:
        """Return the error that reports it."""
        near = nearest(self.name, self.known) if self.name else ""
        if near.startswith("known") and len(self.known) > LISTED:
            near = ""
        return StagewrightError(Reason.ENVIRONMENT_LACKS, self.message, hint="; ".join(filter(None, [near, self.hint])))


def raise_if_missing(missing: Iterable[MissingRequirement]) -> None:
    """Raise :class:`ProblemsError` with these requirements, if there are any."""
    errors = [requirement.error() for requirement in dict.fromkeys(missing)]
    if errors:
        raise ProblemsError(errors)
