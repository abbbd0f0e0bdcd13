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
from stagewright.project.lock import LAST_EPOCH, Lock, request_digest
from stagewright.project.source import KeyPath, written

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


_WEB = Matching(r"https?://[^\s/@]+(/[^\s@]*)?", "http:// or https://, without a password")

Fingerprint = Annotated[
    str, Matching("[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}", "the fingerprint of a primary key, without spaces")
]

_GIT_NAME = Matching(r"[A-Za-z0-9_][A-Za-z0-9._+@/-]*", "its name, such as main")


class Repo(Section):
    """``[repos.NAME]``: an ebuild repository. The one with ``main = true``, else the first, is Portage's main one.

    Exactly one of ``path``, ``git``, ``squashfs`` and ``snapshot`` says where it comes from; what is not a folder of
    the project is pinned in the lock.
    """

    path: FolderPath | None = None
    """A folder of the project."""
    git: (
        Annotated[str, Matching(r"(https?|ssh|git|file)://[^\s:/@]*(@?[^\s@]*)", "https://, ssh:// or file://")] | None
    ) = None
    """A git repository; without `ref`, `tag` or `commit` the branch that its HEAD names."""
    ref: Annotated[str, _GIT_NAME] | None = None
    """The branch to follow."""
    tag: Annotated[str, _GIT_NAME] | None = None
    """The tag to take."""
    commit: Annotated[str, Matching("[0-9a-f]{40}|[0-9a-f]{64}", "the whole id of a commit, in lower case")] | None = (
        None
    )
    """The commit to take."""
    squashfs: Annotated[str, _WEB] | None = None
    """A folder of squashfs snapshots on a mirror, with their `sha512sum.txt`."""
    snapshot: Annotated[str, _WEB] | None = None
    """A folder of tarballs on a mirror, with their signatures."""
    date: Annotated[str, Matching(r"20\d{6}", "the day of a snapshot, such as 20261120")] | None = None
    """The day of the snapshot to take; default: the newest."""
    verify: bool | None = None
    """Check signatures by `keys`. Default: of snapshots yes, of commits no."""
    keys: list[Fingerprint] = []
    """Fingerprints of the primary keys whose signatures are good; default: Gentoo's own for repositories."""
    keyring: FilePath | None = None
    """A file with these keys, as `gpg --export` writes it; default: those that the system has of Gentoo."""
    manifests: bool = False
    """Check the tree against its own signed Manifests (GLEP 74) with gemato before it is used."""
    main: bool = False
    priority: int = 0
    eclass_overrides: list[RepoRef] = []
    """Repositories whose eclasses are taken instead of this one's own, the last one first (portage(5))."""

    @model_validator(mode="after")
    def _one_origin(self) -> Repo:
        given = [name for name in ORIGINS if getattr(self, name) is not None]
        if len(given) != 1:
            one_of = f"one of {', '.join(ORIGINS)}"
            facts = {"hint": "write exactly one of them: it says where the repository comes from"}
            if not given:
                raise PydanticCustomError("no_origin", f"a repository needs {one_of}", facts)
            what = f"a repository has only {one_of}, not {' and '.join(given)}"
            raise PydanticCustomError("origin", what, {**facts, "at": given[-1]})
        self._fitting(given[0])
        return self

    def _fitting(self, origin: str) -> None:
        """Raise for settings that mean nothing for where the repository comes from."""
        for name, origins in _FITTING.items():
            if getattr(self, name) not in (None, [], False) and origin not in origins:
                facts = {"hint": f"it goes with {' or '.join(origins)}; leave it out", "at": name}
                raise PydanticCustomError("origin", f"`{name}` means nothing beside `{origin}`", facts)
        which = [name for name in ("ref", "tag", "commit") if getattr(self, name) is not None]
        if len(which) > 1:
            facts = {"hint": "leave one of them out", "at": which[-1]}
            raise PydanticCustomError("origin", f"`{which[0]}` and `{which[-1]}` cannot both be", facts)
        for name in ("keys", "keyring"):
            if getattr(self, name) and not (self.verified or self.manifests):
                facts = {"hint": "write `verify = true`, or leave it out", "at": name}
                raise PydanticCustomError("origin", f"`{name}` is of no use where nothing is verified", facts)

    @property
    def origin(self) -> str:
        """The key that says where it comes from: one of ``ORIGINS``."""
        return next(name for name in ORIGINS if getattr(self, name) is not None)

    @property
    def moves(self) -> bool:
        """Whether it comes from elsewhere, and so is pinned in the lock."""
        return self.path is None

    @property
    def verified(self) -> bool:
        """Whether signatures are checked."""
        return self.git is None if self.verify is None else self.verify

    @property
    def request(self) -> dict[str, Any]:
        """What a pin answers: the settings that say which state of which repository it is, and who vouches for it."""
        return self.model_dump(mode="json", exclude={"path", "main", "priority", "eclass_overrides"})

    @property
    def layout(self) -> dict[str, Any]:
        """What Portage is told of it."""
        return self.model_dump(include={"main", "priority", "eclass_overrides"})


ORIGINS = ("path", "git", "squashfs", "snapshot")
"""Where a repository can come from."""

_FITTING = {
    "ref": ("git",),
    "tag": ("git",),
    "commit": ("git",),
    "date": ("squashfs", "snapshot"),
    "verify": ("git", "squashfs", "snapshot"),
    "keys": ("git", "squashfs", "snapshot"),
    "keyring": ("git", "squashfs", "snapshot"),
    "manifests": ("git", "squashfs", "snapshot"),
}
"""Which settings go with which origins."""


class Binhost(Section):
    """``[binhosts.NAME]``: a host of binary packages, and whose signatures are good for what it serves."""

    uri: Annotated[str, _WEB]
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


class Distfiles(Section):
    """``[distfiles]``: where sources of packages come from first. None of it changes what is built, nor a key."""

    mirrors: list[Annotated[str, _WEB]] = []
    """Mirrors that are asked before upstream, in this order (GENTOO_MIRRORS of make.conf(5))."""
    folder: Annotated[str, Matching(r"\S(.*\S)?", "a folder")] | None = None
    """A folder of such files, such as a mirror of one's own: relative to the project, absolute, or below `~`."""


class Defaults(Section):
    """The tables that need no kind to be understood, as one model for the JSON schema."""

    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)]
    project: ProjectInfo
    include: list[str] = []
    variables: dict[str, str] = {}
    repos: dict[str, Repo] = {}
    binhosts: dict[str, Binhost] = {}
    distfiles: Distfiles = Distfiles()


@dataclass(frozen=True)
class Entry:
    """One entry of ``[seeds]``, ``[stages]`` or ``[tests]``, validated, with the places of its values."""

    name: str
    table: str
    kind: str
    model: Section
    places: Mapping[KeyPath, Place] = field(default_factory=dict)

    def place(self, path: KeyPath = ()) -> Place:
        """Where a value of this entry is written, or the nearest thing around it."""
        return written(path, self.places) or Place(Path())


@runtime_checkable
class Checked(Protocol):
    """An entry's model that can tell more of what is wrong in a project than types can."""

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """What is wrong, and with which value of the entry."""


@dataclass(frozen=True)
class Files:
    """Where the files of a project lie: below its folder, but for those that are ``elsewhere``, by the whole path."""

    folder: Path
    elsewhere: Mapping[str, Path] = field(default_factory=dict)

    def path(self, relative: str) -> Path:
        """A file of the project, by the path that the project calls it."""
        return self.elsewhere.get(relative) or self.folder / relative


@dataclass(frozen=True, eq=False)
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
    distfiles: Distfiles = field(default_factory=Distfiles)
    trees: Path | None = None  # where the trees of repositories that come from elsewhere are kept
    repo_places: Mapping[str, Place] = field(default_factory=dict)
    missing: tuple[StagewrightError, ...] = ()  # files that are not there, of a project that is only looked at

    @property
    def folder(self) -> Path:
        """The folder of the project."""
        return self.files.folder

    def path(self, relative: str) -> Path:
        """A file of the project."""
        return self.files.path(relative)

    def pinned_tree(self, name: str) -> str | None:
        """The id of the tree that a repository from elsewhere is pinned to; None without a pin that fits.

        It is the same wherever the pin is used, and stands for the repository in keys.
        """
        pin = self.lock.repos.get(name)
        fits = pin is not None and pin.get("request") == request_digest(self.repos[name].request)
        return str(pin["tree"]) if fits and pin is not None else None

    def repo_path(self, name: str) -> Path:
        """The folder of a repository: of the project, or of its pinned tree, which may not be there yet."""
        repo = self.repos[name]
        if repo.path is not None:
            return self.path(repo.path)
        return (self.trees or Path("/nonexistent")) / tree_name(self.pinned_tree(name) or f"unpinned:{name}")

    def known_trees(self) -> dict[Path, str]:
        """What stands in keys for the folders of repositories that come from elsewhere, known without reading them."""
        return {
            self.repo_path(name): self.pinned_tree(name) or f"unpinned:{name}"
            for name, repo in self.repos.items()
            if repo.moves
        }

    def entry(self, name: str) -> Entry | None:
        """The stage or seed of this name."""
        return self.entries.get("stages", {}).get(name) or self.entries.get("seeds", {}).get(name)

    def all_entries(self) -> Iterator[Entry]:
        """Seeds, stages and tests."""
        for table in self.entries.values():
            yield from table.values()


def tree_name(tree: str) -> str:
    """A tree id as the name of a folder."""
    kind, _, rest = tree.partition(":")
    return f"{kind}-{rest[:64]}"


def epoch_of(value: int | datetime.date | datetime.datetime) -> int:
    """A time stamp as seconds since 1970 in UTC."""
    if isinstance(value, int):
        return value
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
    return int((value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp())
