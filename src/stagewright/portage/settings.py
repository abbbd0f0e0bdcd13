"""The settings of Portage that every stage which installs packages shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stagewright.project.fields import BinhostRef, FolderPath, RepoRef, Section

MakeVariable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class PortageSettings(Section):
    """What a stage says about how its packages are built."""

    profile: str | None = None
    """The profile: a path below `profiles/` of the main repository, or `repository:path`."""
    repos: list[RepoRef] | None = None
    """The repositories that the stage sees; all of the project when not given."""
    confdir: list[FolderPath] = []
    """Folders merged in this order onto /etc/portage (`portage_confdir` of Catalyst)."""
    use: list[str] = []
    """USE flags, over those of the profile and the confdirs."""
    accept_keywords: list[str] = []
    """ACCEPT_KEYWORDS."""
    accept_license: list[str] = []
    """ACCEPT_LICENSE."""
    install_mask: list[str] = []
    """INSTALL_MASK of make.conf(5): patterns of files that packages shall not install, such as /usr/share/doc."""
    make_conf: dict[MakeVariable, str] = {}
    """Variables of make.conf(5); they come last and win."""
    binpkgs: bool = True
    """Take binary packages from the cache that all stages share, and leave new ones there."""
    binhosts: list[BinhostRef] | None = None
    """The hosts whose binary packages are taken where they fit; all of the project when not given."""
