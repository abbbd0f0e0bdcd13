"""What a project file says, apart from the kinds of stages: the tables at the top and the project as a whole."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import host_machine
from stagewright.errors import Place, StagewrightError
from stagewright.project.fields import FilePath, FolderPath, Matching, RepoRef, Section
from stagewright.project.lock import LAST_EPOCH, Lock
from stagewright.project.source import Path_, written

FORMAT = 1
"""The format of project files that this version reads (docs/format-changelog.md)."""

FILE_NAME = "stagewright.toml"

NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
"""What stages, seeds, tests, repositories and the like may be called: a file name that no shell trips over."""


def _check_epoch(value: Any) -> Any:
    fits = isinstance(value, (int, datetime.date)) and not isinstance(value, bool)
    if fits and 0 <= epoch_of(value) <= LAST_EPOCH:
        return value
    raise PydanticCustomError("epoch", "no date from 1970 to 9999: write one such as 2026-11-20, or seconds since 1970")


class ProjectInfo(Section):
    """``[project]``: what is built, and the facts that every stage shares."""

    name: Annotated[str, Field(pattern=NAME)]
    version: str = "{date}"  # part of file names
    arch: Annotated[str, Field(pattern=r"^[a-z0-9_]+$", default_factory=lambda: host_machine().arch.value)]
    """Gentoo's keyword, for names of files; seeds that say their own come first. Default: this computer's."""
    source_date_epoch: Annotated[int | datetime.date | datetime.datetime | None, BeforeValidator(_check_epoch)] = None
    """The time stamp on everything that is made; without it the moment when ``stagewright.lock`` was first written."""


class Repo(Section):
    """``[repos.NAME]``: an ebuild repository. The one with ``main = true``, else the first, is Portage's main one."""

    path: FolderPath
    main: bool = False
    priority: int = 0
    eclass_overrides: list[RepoRef] = []
    """Repositories whose eclasses are taken instead of this one's own, the last one first (portage(5))."""


class Binhost(Section):
    """``[binhosts.NAME]``: a host of binary packages, and whose signatures are good for what it serves."""

    uri: Annotated[str, Matching(r"https?://[^\s/@]+(/[^\s@]*)?", "http:// or https://, without a password")]
    """Where its index `Packages` lies; part of keys and manifests, so it has no password in it."""
    keys: FilePath | None = None
    """The OpenPGP public keys that its packages must be signed with, as `gpg --export` writes them."""
    verify: bool = True
    """Refuse what is not signed with one of the keys; `false` takes whatever the host serves."""
    priority: int = 0
    """Of two hosts with the same package, the one with the higher priority is taken."""

    @model_validator(mode="after")
    def _keys_or_none(self) -> Binhost:
        if self.verify and self.keys is None:
            facts = {"hint": "name the file of its public keys, or write `verify = false` to trust whatever it serves"}
            raise PydanticCustomError("keys", "there are no `keys` to verify the packages with", facts)
        if self.keys is not None and not self.verify:
            facts = {"hint": "leave out one of the two"}
            raise PydanticCustomError("keys", "`verify = false` leaves the `keys` unused", facts)
        return self


class Defaults(Section):
    """The tables that need no kind to be understood, as one model for the JSON schema."""

    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)]
    project: ProjectInfo
    include: list[str] = []
    variables: dict[str, str] = {}
    repos: dict[str, Repo] = {}
    binhosts: dict[str, Binhost] = {}


@dataclass(frozen=True)
class Entry:
    """One entry of ``[seeds]``, ``[stages]`` or ``[tests]``, validated, with the places of its values."""

    name: str
    table: str
    kind: str
    model: Section
    places: Mapping[Path_, Place] = field(default_factory=dict)

    def place(self, path: Path_ = ()) -> Place:
        """Where a value of this entry is written, or the nearest thing around it."""
        return written(path, self.places) or Place(Path())


@runtime_checkable
class Checked(Protocol):
    """An entry's model that can tell more of what is wrong in a project than types can."""

    def check(self, project: Project) -> Iterator[tuple[Path_, StagewrightError]]:
        """What is wrong, and with which value of the entry."""


@dataclass(frozen=True)
class Files:
    """Where the files of a project lie: below its folder, but for those that are ``elsewhere``, by the whole path."""

    folder: Path
    elsewhere: Mapping[str, Path] = field(default_factory=dict)

    def path(self, relative: str) -> Path:
        """A file of the project, by the path that the project calls it."""
        return self.elsewhere.get(relative) or self.folder / relative


@dataclass(frozen=True)
class Project:
    """A project that has been read and found right."""

    files: Files
    info: ProjectInfo
    epoch: int
    variables: Mapping[str, str]
    repos: Mapping[str, Repo]
    binhosts: Mapping[str, Binhost]
    entries: Mapping[str, Mapping[str, Entry]]  # table -> name -> entry
    lock: Lock
    missing: tuple[StagewrightError, ...] = ()  # files that are not there, of a project that is only looked at

    @property
    def folder(self) -> Path:
        """The folder of the project."""
        return self.files.folder

    def path(self, relative: str) -> Path:
        """A file of the project."""
        return self.files.path(relative)

    def entry(self, name: str) -> Entry | None:
        """The stage or seed of this name."""
        return self.entries.get("stages", {}).get(name) or self.entries.get("seeds", {}).get(name)

    def all_entries(self) -> Iterator[Entry]:
        """Seeds, stages and tests."""
        for table in self.entries.values():
            yield from table.values()


def epoch_of(value: int | datetime.date | datetime.datetime) -> int:
    """A time stamp as seconds since 1970 in UTC."""
    if isinstance(value, int):
        return value
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
    return int((value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp())
