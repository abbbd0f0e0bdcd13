"""The settings of Portage that every stage which installs packages shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stagewright.project.fields import FolderPath, RepoRef, Section

MakeVariable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class PortageSettings(Section):
    """What a stage says about how its packages are built.

    ``profile`` is a path below the profiles of the main repository, or ``repo:path``. ``confdir`` are folders merged
    in order onto /etc/portage, as ``portage_confdir`` of Catalyst. ``make_conf`` sets variables and comes last.
    """

    profile: str | None = None
    repos: list[RepoRef] | None = None  # default: all of the project, in the order in which they are written
    confdir: list[FolderPath] = []
    use: list[str] = []
    accept_keywords: list[str] = []
    accept_license: list[str] = []
    make_conf: dict[MakeVariable, str] = {}
    binpkgs: bool = True  # take binary packages from the shared cache, and leave new ones there
