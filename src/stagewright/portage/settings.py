"""The settings of Portage that every stage which installs packages shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stagewright.project.fields import BinhostRef, FolderPath, RepoRef, Section

MakeVariable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


COMPILERS_FLAGS = ("CFLAGS", "CXXFLAGS", "FCFLAGS", "FFLAGS")
"""What COMMON_FLAGS are for, as in Gentoo's own make.conf."""


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
    chost: str | None = None
    """CHOST: the system that is built for, such as x86_64-pc-linux-gnu."""
    common_flags: str | None = None
    """COMMON_FLAGS, which become CFLAGS, CXXFLAGS, FCFLAGS and FFLAGS."""
    make_conf: dict[MakeVariable, str] = {}
    """Variables of make.conf(5); they come last and win. FEATURES are added to those that a build needs."""
    binpkgs: bool = True
    """Take binary packages from the cache that all stages share, and leave new ones there."""
    binhosts: list[BinhostRef] | None = None
    """The hosts whose binary packages are taken where they fit; all of the project when not given."""
    ccache: bool = False
    """Compile through ccache(1), which the root must have; what it keeps is shared by all stages and never shipped."""

    @property
    def lists(self) -> dict[str, list[str]]:
        """Variables of make.conf(5) that are lists of words, without those that are empty."""
        lists = {
            "USE": self.use,
            "ACCEPT_KEYWORDS": self.accept_keywords,
            "ACCEPT_LICENSE": self.accept_license,
            "INSTALL_MASK": self.install_mask,
        }
        return {name: words for name, words in lists.items() if words}

    @property
    def flags(self) -> dict[str, str]:
        """Variables of make.conf(5) that say what is built for, and how compilers are called."""
        flags = {"CHOST": self.chost} if self.chost else {}
        if self.common_flags is not None:
            flags["COMMON_FLAGS"] = self.common_flags
            flags.update(dict.fromkeys(COMPILERS_FLAGS, "${COMMON_FLAGS}"))
        return flags
