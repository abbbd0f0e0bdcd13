"""The top of a project file: the tables that belong to no kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stagewright.project.binhost import Binhost
from stagewright.project.channels import Channel
from stagewright.project.fields import Section
from stagewright.project.limits import NodeLimits
from stagewright.project.model import FORMAT, DistfilesTable, FetchTable, ProjectInfo, Repo
from stagewright.project.remotes import Remote
from stagewright.project.unreproducible import Unreproducible


class TopLevelTables(Section):
    """The tables that belong to no kind, as one model for the JSON schema."""

    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)]
    """The format of the file: 1."""
    project: ProjectInfo
    """Name, version and architecture of the project."""
    include: list[str] = []
    """More files of the project, as patterns such as `stages/*.toml`. They can hold tables of named entries."""
    variables: dict[str, str] = {}
    """Variables: `{name}` in a text stands for the value of `name`."""
    repos: dict[str, Repo] = {}
    """Ebuild repositories, by name."""
    binhosts: dict[str, Binhost] = {}
    """Hosts of binary packages, by name."""
    channels: dict[str, Channel] = {}
    """Channels of releases, by name: what a release may contain."""
    unreproducible: dict[str, Unreproducible] = {}
    """Known differences between builds, by name."""
    remotes: dict[str, Remote] = {}
    """Remote stores, by name: where results come from, and where they go."""
    distfiles: DistfilesTable = DistfilesTable()
    """Where package sources come from first."""
    fetch: FetchTable = FetchTable()
    """Services of this computer that fetch steps of builds can reach."""
    limits: NodeLimits = NodeLimits()
    """Limits of time, memory, processes and disk for each node."""
