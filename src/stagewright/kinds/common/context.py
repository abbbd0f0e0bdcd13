"""Models of the context of a stage: what the project adds to its settings. Each family of kinds has one.

A field marked with ``NotInKey`` does not change the result: the node is not built again when it changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from stagewright.arch import Arch
from stagewright.graph.given import Given, NotInKey
from stagewright.portage.repositories import Repository
from stagewright.project.model import Repo


class StageContext(Given):
    """Context of every node."""

    source_date_epoch: int
    """Time stamp for all files that are made, in seconds since 1970."""


class RepoDescription(Given):
    """An ebuild repository as the project describes it."""

    name: str
    main: bool
    priority: int
    eclass_overrides: tuple[str, ...]

    @classmethod
    def of(cls, name: str, repo: Repo) -> RepoDescription:
        """Return the description of a repository of a project."""
        overrides = tuple(repo.eclass_overrides)
        return cls(name=name, main=repo.main, priority=repo.priority, eclass_overrides=overrides)

    def at(self, path: Path) -> Repository:
        """Return the repository in a folder."""
        return Repository(self.name, path, self.main, self.priority, self.eclass_overrides)


class BinhostDescription(Given):
    """A binary package host as the project describes it."""

    name: str
    uri: str
    priority: int
    signed: bool = True
    """True if packages are verified."""


class PackageContext(StageContext):
    """Context of a node that installs packages."""

    repos: tuple[RepoDescription, ...] = ()
    binhosts: tuple[BinhostDescription, ...] = ()
    mirrors: Annotated[tuple[str, ...], NotInKey()] = ()
    """Mirrors of distfiles, tried in this order before the upstream addresses."""
    distfolder: Annotated[Path | None, NotInKey()] = None
    """A folder with distfiles, searched before the mirrors."""
    services: Annotated[tuple[str, ...], NotInKey()] = ()
    """Services of this machine that the fetch step can reach: addresses with ports."""
    private_channel: Annotated[str, NotInKey()] = ""
    """The channel that keeps the artifact from others, or "". The name of the output folder then says so."""
    online: dict[str, dict[str, str]] = Field(default={}, exclude_if=lambda value: not value)
    """The pinned commits of live packages: by atom, and by the name that git-r3.eclass gives their clones."""


class SeedContext(StageContext):
    """Context of a seed that is pinned in the lock."""

    pin: dict[str, Any] | None = None
    """The entries of the pin that identify the content of the seed; None if the lock has no pin for it."""
    services: Annotated[tuple[str, ...], NotInKey()] = ()
    """Services of this machine that a bootstrap can reach: addresses with ports."""


class ProjectVersion(Given):
    """Name and version of the project, for manifests."""

    name: str
    version: str


class ReleasedContext(StageContext):
    """Context of a node whose files have manifests."""

    project: ProjectVersion
    private_channel: str = Field(default="", exclude_if=lambda name: not name)
    """The channel that keeps the files from others, or "". Their names, manifests and os-release then say so."""


class ArtifactContext(ReleasedContext):
    """Context of a node that makes one file for users."""

    file_name: str


class MachineContext(StageContext):
    """Context of a test that starts a virtual machine."""

    arch: Arch
