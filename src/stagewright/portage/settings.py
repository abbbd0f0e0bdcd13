"""The Portage settings of every stage that installs packages."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stagewright.project.fields import BinhostRef, FolderPath, Matching, RepoRef, Section

MakeVariable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

_USE = r"-?[A-Za-z0-9][A-Za-z0-9+_@-]*\*?|-\*"

UseWord = Annotated[
    str, Matching(_USE, "each flag as one text: flag, -flag or -*", lambda text: text[1:] if text[:1] == "+" else "")
]
"""A word of USE (PMS 3.1.4, portage(5)): Portage ignores a sign + with a warning."""

KeywordWord = Annotated[
    str,
    Matching(r"[-~]?[A-Za-z0-9_][A-Za-z0-9_-]*|[-~]?\*|\*\*", "each keyword as one text: amd64, ~amd64 or **"),
]
"""A word of ACCEPT_KEYWORDS (PMS 3.1.7, portage(5))."""

LicenseWord = Annotated[
    str, Matching(r"-?@?[A-Za-z0-9_][A-Za-z0-9+_.-]*|-?\*", "each license as one text: MIT, @FREE, -@EULA or *")
]
"""A word of ACCEPT_LICENSE (PMS 3.1.8, make.conf(5))."""

COMPILER_FLAGS = ("CFLAGS", "CXXFLAGS", "FCFLAGS", "FFLAGS")
"""The variables that take their value from COMMON_FLAGS, as in Gentoo's make.conf."""


class PortageSettings(Section):
    """Settings for building the packages of a stage."""

    profile: str | None = None
    """The profile: a path below `profiles/` of the main repository, or `repository:path`."""
    repos: list[RepoRef] | None = None
    """The repositories that the stage sees (default: all of the project)."""
    confdir: list[FolderPath] = []
    """Folders that are merged in this order into /etc/portage (`portage_confdir` of Catalyst)."""
    use: list[UseWord] = []
    """USE flags. They override those of the profile and the confdirs."""
    accept_keywords: list[KeywordWord] = []
    """ACCEPT_KEYWORDS."""
    accept_license: list[LicenseWord] = []
    """ACCEPT_LICENSE."""
    install_mask: list[str] = []
    """INSTALL_MASK of make.conf(5): patterns of files that packages must not install, for example /usr/share/doc."""
    chost: str | None = None
    """CHOST: the target system, for example x86_64-pc-linux-gnu."""
    common_flags: str | None = None
    """COMMON_FLAGS: the value of CFLAGS, CXXFLAGS, FCFLAGS and FFLAGS."""
    make_conf: dict[MakeVariable, str] = {}
    """Variables of make.conf(5). They override all other settings; FEATURES are added to those that a build needs."""
    binpkgs: bool = True
    """Use the cache of binary packages that stages share, and add new packages to it."""
    binhosts: list[BinhostRef] | None = None
    """The hosts whose binary packages are used where they match (default: all of the project)."""
    ccache: bool = False
    """Compile with ccache(1), which the root must have. All stages of a project share its cache, never shipped."""

    @property
    def lists(self) -> dict[str, list[str]]:
        """The variables of make.conf(5) that are non-empty lists of words."""
        lists = {
            "USE": self.use,
            "ACCEPT_KEYWORDS": self.accept_keywords,
            "ACCEPT_LICENSE": self.accept_license,
            "INSTALL_MASK": self.install_mask,
        }
        return {name: words for name, words in lists.items() if words}

    @property
    def flags(self) -> dict[str, str]:
        """The variables of make.conf(5) for the target system and the compilers."""
        flags = {"CHOST": self.chost} if self.chost else {}
        if self.common_flags is not None:
            flags["COMMON_FLAGS"] = self.common_flags
            flags.update(dict.fromkeys(COMPILER_FLAGS, "${COMMON_FLAGS}"))
        return flags
