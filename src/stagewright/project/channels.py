"""``[channels.NAME]``: what the releases of a channel may contain, and if others may have them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.project.fields import Matching, Section

LicenseToken = Annotated[
    str, Matching(r"\*|-\*|-?@?[A-Za-z0-9_][A-Za-z0-9+_.-]*", "a licence, a @GROUP, * or -*, or one with - in front")
]
"""A word of ACCEPT_LICENSE (make.conf(5)). A word overrides those before it."""

LicenseName = Annotated[str, Matching(r"[A-Za-z0-9_][A-Za-z0-9+_.-]*", "the name of a licence")]
"""The name of a licence, as in `licenses/` of a repository."""

StageName = Annotated[str, Matching(r"\*|[A-Za-z0-9][A-Za-z0-9._+-]*", "the name of a stage or seed, or *")]
"""The name of a stage or seed, of this project or of one that it has a root of; or ``*``."""

FREE = ("@FREE",)
"""The licences that a channel accepts by default, as in Gentoo's profiles."""


class Channel(Section):
    """``[channels.NAME]``: the licences that the packages in a release must have."""

    accept_license: list[LicenseToken] | None = None
    """Accepted licences and groups, as ACCEPT_LICENSE in make.conf(5). Default: `@FREE`; without `distributable`: all.
    Packages of Debian have the licences `debian-main`, `debian-contrib` and so on, by their part of the archive."""
    accept_restrict: list[Annotated[str, Matching("bindist|fetch|mirror", "bindist, fetch or mirror")]] = []
    """Accepted words of RESTRICT, as ACCEPT_RESTRICT in make.conf(5). The others refuse a package."""
    unowned_license: dict[StageName, LicenseName] = {}
    """Licences of files that belong to no package, by the stage or seed that made them; `*` for all others. Without an
    entry, a distributable channel refuses these files, unless programs generate them."""
    distributable: bool = True
    """False for releases that others must not get. Stagewright marks these releases and does not publish them."""
    description: Annotated[str, Field(max_length=200)] = ""
    """One line for people."""

    @model_validator(mode="after")
    def _restrictions_count(self) -> Channel:
        if self.accept_restrict and not self.distributable:
            facts = {"hint": "remove `accept_restrict`", "at": "accept_restrict"}
            raise PydanticCustomError("channel", "`accept_restrict` has no effect with `distributable = false`", facts)
        return self

    @property
    def accepted(self) -> tuple[str, ...]:
        """The words of ACCEPT_LICENSE."""
        if self.accept_license is not None:
            return tuple(self.accept_license)
        return FREE if self.distributable else ("*",)
