"""Models of a project: the tables that belong to no kind, an entry, and the project as a whole."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.arch import Arch, host_machine
from stagewright.errors import PROJECT_FILE, Place, StagewrightError
from stagewright.graph.node import Yields
from stagewright.lazy_dataclass import dataclass
from stagewright.project.fields import WEB, FilePath, FolderPath, Matching, RepoRef, Section
from stagewright.project.limits import NodeLimits
from stagewright.project.lock import LAST_EPOCH, Lock, request_digest
from stagewright.project.names import NAME
from stagewright.project.native import native_notes
from stagewright.project.overrides import Override
from stagewright.project.source import KeyPath, nearest_place
from stagewright.project.wording import nearest_word

if TYPE_CHECKING:
    from stagewright.project.binhost import Binhost
    from stagewright.project.channels import Channel
    from stagewright.project.remotes import Remote
    from stagewright.project.unreproducible import Unreproducible

FORMAT = 1
"""Format of the project files that this version reads (docs/format-changelog.md)."""

FILE_NAME = PROJECT_FILE


def _check_epoch(value: Any) -> Any:
    if isinstance(value, str):
        day = value if re.fullmatch(r"\d{4}-\d\d-\d\d", value) else "2026-11-20"
        facts = {"value": f'the text "{value}"', "hint": f"write it without quotes: {day}"}
        raise PydanticCustomError("epoch", "must be a date (found {value})", facts)
    fits = isinstance(value, (int, datetime.date)) and not isinstance(value, bool)
    if fits and 0 <= epoch_of(value) <= LAST_EPOCH:
        return value
    facts = {"hint": "write a date like 2026-11-20, or seconds since 1970"}
    raise PydanticCustomError("epoch", "the date must be between 1970 and 9999", facts)


def _check_arch(value: str) -> str:
    if value in list(Arch):
        return value
    facts = {"value": f'"{value}"', "hint": nearest_word(value, list(Arch))}
    raise PydanticCustomError("arch", "unknown architecture {value}", facts)


_VERSION = Matching(r"[^\x00-\x20\x7f\"'\\$`/]{1,64}", "at most 64 characters without spaces, quotes and \\ $ /")
"""Versions are part of file names and of titles in boot menus."""


class ProjectInfo(Section):
    """``[project]``: name, version and architecture of the project, shared by all stages."""

    name: Annotated[str, Field(pattern=NAME)]
    """The name of the project, a part of file names."""
    version: Annotated[str, _VERSION] = "{date}"
    """The version of the results, a part of file names; default: the date of the time stamp."""
    arch: Annotated[str, AfterValidator(_check_arch), Field(default_factory=lambda: host_machine().arch.value)]
    """Gentoo's keyword of the architecture, for file names. Default: this computer's. A seed's `arch` overrides it."""
    source_date_epoch: Annotated[int | datetime.date | datetime.datetime | None, BeforeValidator(_check_epoch)] = None
    """The time stamp of all results. Default: the time when ``stagewright.lock`` was first written."""


_SERVICE = Matching(
    r"(\d{1,3}(\.\d{1,3}){3}|\[[0-9A-Fa-f:]+\]):([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2})",
    "an IP address and a port, like 127.0.0.1:8080",
)


def _service(text: str) -> str:
    """Refuse addresses that a fetch step cannot use: it has IPv4, and the loopback address of IPv6."""
    try:
        address = ipaddress.ip_address(text.rpartition(":")[0].strip("[]"))
    except ValueError:
        facts = {"hint": "each number of an IPv4 address is at most 255"}
        raise PydanticCustomError("service", "not an IP address", facts) from None
    if address.is_unspecified:
        facts = {"hint": "name the address that programs connect to"}
        raise PydanticCustomError("service", "not the address of a service", facts)
    if address.version == 6 and not address.is_loopback:
        facts = {"hint": "use an IPv4 address of the service, or [::1]"}
        raise PydanticCustomError("service", "fetch steps do not reach this address: they have no IPv6", facts)
    return text


Fingerprint = Annotated[
    str, Matching("[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}", "the fingerprint of a primary key, without spaces")
]

_GIT_NAME = Matching(r"[A-Za-z0-9_][A-Za-z0-9._+@/-]*", "its name, like main")


class Repo(Section):
    """``[repos.NAME]``: an ebuild repository.

    Portage's main repository is the one with ``main = true``, or the first one. Exactly one of ``path``, ``git``,
    ``squashfs`` and ``snapshot`` is the origin. Every origin except ``path`` is pinned in the lock.
    """

    path: FolderPath | None = None
    """A folder of the project."""
    git: (
        Annotated[str, Matching(r"(https?|ssh|git|file)://[^\s:/@]*(@?[^\s@]*)", "https://, ssh:// or file://")] | None
    ) = None
    """A git repository. Default branch: the one that its HEAD names."""
    ref: Annotated[str, _GIT_NAME] | None = None
    """The branch to follow."""
    tag: Annotated[str, _GIT_NAME] | None = None
    """The tag to use."""
    commit: Annotated[str, Matching("[0-9a-f]{40}|[0-9a-f]{64}", "the full commit id in lower case")] | None = None
    """The commit to use."""
    squashfs: Annotated[str, WEB] | None = None
    """Address of a mirror's folder with squashfs snapshots and their `sha512sum.txt`."""
    snapshot: Annotated[str, WEB] | None = None
    """Address of a mirror's folder with tarballs and their signatures."""
    date: Annotated[str, Matching(r"20\d{6}", "the day of a snapshot, like 20261120")] | None = None
    """The day of the snapshot to use. Default: the newest."""
    verify: bool | None = None
    """Check signatures by `keys`. Default: yes for snapshots, no for commits."""
    keys: list[Fingerprint] = []
    """Fingerprints of the accepted primary keys. Default: Gentoo's keys for repositories."""
    keyring: FilePath | None = None
    """A file with these keys in the format of `gpg --export`. Default: Gentoo's keys that the system has installed."""
    manifests: bool = False
    """Check the tree against its own signed Manifests (GLEP 74) with gemato before it is used."""
    main: bool = False
    """Make this repository Portage's main repository; default: the first one."""
    priority: int = 0
    """The priority of the repository, as in repos.conf of portage(5)."""
    eclass_overrides: list[RepoRef] = []
    """Repositories whose eclasses replace those of this one. The last one has priority (portage(5))."""

    @model_validator(mode="after")
    def _one_origin(self) -> Repo:
        given = [name for name in ORIGINS if getattr(self, name) is not None]
        if len(given) != 1:
            one_of = f"one of {', '.join(ORIGINS)}"
            facts = {"hint": f"write exactly one of {', '.join(ORIGINS)}"}
            if not given:
                raise PydanticCustomError("no_origin", f"a repository needs {one_of}", facts)
            what = f"a repository must have only {one_of} (found {' and '.join(given)})"
            raise PydanticCustomError("origin", what, {**facts, "at": given[-1]})
        self._check_options(given[0])
        return self

    def _check_options(self, origin: str) -> None:
        """Raise PydanticCustomError for settings that do not apply to the origin."""
        for name, origins in _ORIGINS_OF_OPTION.items():
            if getattr(self, name) not in (None, [], False) and origin not in origins:
                facts = {"hint": f"remove it; it applies to {', '.join(origins)}", "at": name}
                raise PydanticCustomError("origin", f"`{name}` does not apply to a repository with `{origin}`", facts)
        which = [name for name in ("ref", "tag", "commit") if getattr(self, name) is not None]
        if len(which) > 1:
            facts = {"hint": "remove one of them", "at": which[-1]}
            raise PydanticCustomError("origin", f"`{which[0]}` and `{which[-1]}` exclude each other", facts)
        for name in ("keys", "keyring"):
            if getattr(self, name) and not (self.verified or self.manifests):
                facts = {"hint": f"write `verify = true`, or remove `{name}`", "at": name}
                raise PydanticCustomError("origin", f"`{name}` has no effect: signatures are not verified", facts)

    @property
    def origin(self) -> str:
        """Name of the key that gives the origin: one of ``ORIGINS``."""
        return next(name for name in ORIGINS if getattr(self, name) is not None)

    @property
    def moves(self) -> bool:
        """True if the repository is outside of the project and so pinned in the lock."""
        return self.path is None

    @property
    def verified(self) -> bool:
        """True if signatures are checked."""
        return self.git is None if self.verify is None else self.verify

    @property
    def request(self) -> dict[str, Any]:
        """Settings that a pin is resolved from: origin, state and accepted signatures."""
        return self.model_dump(mode="json", exclude={"path", "main", "priority", "eclass_overrides"})


ORIGINS = ("path", "git", "squashfs", "snapshot")
"""Keys that give the origin of a repository."""

_ORIGINS_OF_OPTION = {
    "ref": ("git",),
    "tag": ("git",),
    "commit": ("git",),
    "date": ("squashfs", "snapshot"),
    "verify": ("git", "squashfs", "snapshot"),
    "keys": ("git", "squashfs", "snapshot"),
    "keyring": ("git", "squashfs", "snapshot"),
    "manifests": ("git", "squashfs", "snapshot"),
}
"""Origins that each setting applies to."""


class DistfilesTable(Section):
    """``[distfiles]``: places to look for package sources first. These settings change neither results nor keys."""

    mirrors: list[Annotated[str, WEB]] = []
    """Mirrors to ask before upstream, in this order (GENTOO_MIRRORS of make.conf(5))."""
    folder: Annotated[str, Matching(r"\S(.*\S)?", "a folder")] | None = None
    """A folder of source files: relative to the project, absolute, or below `~`."""


class FetchTable(Section):
    """``[fetch]``: what the fetch steps of builds can reach. These settings change neither results nor keys."""

    allow: list[Annotated[str, _SERVICE, AfterValidator(_service)]] = []
    """Services of this machine that fetch steps need, such as a mirror: IP address and port, like `127.0.0.1:8080`."""


_PREFIXES = {"seeds": "seed:", "tests": "test:", "releases": "release:"}
"""Prefixes of node ids by table. The node id of a stage is its name."""


def node_id(table: str, name: str) -> str:
    """Return the id of the node that makes an entry."""
    return _PREFIXES.get(table, "") + name


@dataclass(frozen=True)
class Entry:
    """A validated entry of ``[seeds]``, ``[stages]``, ``[tests]`` or ``[releases]`` with the places of its values."""

    name: str
    table: str
    kind: str
    model: Section
    places: Mapping[KeyPath, Place] = field(default_factory=dict)
    doubtful: frozenset[str] = frozenset()
    """Names of settings that are left out because they are wrong. The project then has errors."""

    @property
    def node_id(self) -> str:
        """Id of the node that makes this entry."""
        return node_id(self.table, self.name)

    def is_named(self, word: str) -> bool:
        """Return True if a word is the name or the node id of this entry."""
        return word in (self.name, self.node_id)

    @property
    def model_yields(self) -> Yields | None:
        """The result of the entry: a root or files; None if its kind does not say it."""
        return getattr(self.model, "yields", None)

    def place(self, path: KeyPath = ()) -> Place:
        """Return the place of a value of this entry, or of the nearest enclosing table."""
        return nearest_place(path, self.places) or Place(Path())


@runtime_checkable
class Checked(Protocol):
    """Model of an entry with checks that need the whole project."""

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Yield each error with the path of the value that causes it."""


@runtime_checkable
class Noted(Protocol):
    """Model of an entry that can be odd without an error."""

    def oddities(self, project: Project) -> Iterator[str]:
        """Yield what users should know before a build, as one sentence each."""


@dataclass(frozen=True)
class FileLocations:
    """Locations of a project's files: below its folder, except those in ``elsewhere`` (project path to real path)."""

    folder: Path
    elsewhere: Mapping[str, Path] = field(default_factory=dict)

    def path(self, relative: str) -> Path:
        """Return the real path of a file that the project names."""
        return self.elsewhere.get(relative) or self.folder / relative


@dataclass(frozen=True, eq=False)
class Project:
    """A project that was read and is valid."""

    files: FileLocations
    info: ProjectInfo
    epoch: int
    variables: Mapping[str, str]
    repos: Mapping[str, Repo]
    binhosts: Mapping[str, Binhost]
    entries: Mapping[str, Mapping[str, Entry]]  # table -> name -> entry
    lock: Lock
    distfiles: DistfilesTable = field(default_factory=DistfilesTable)
    trees: Path | None = None  # folder of the fetched repository trees
    repo_places: Mapping[str, Place] = field(default_factory=dict)
    missing: tuple[StagewrightError, ...] = ()  # missing files, where the caller accepted them
    fetch: FetchTable = field(default_factory=FetchTable)
    limits: NodeLimits = field(default_factory=NodeLimits)
    channels: Mapping[str, Channel] = field(default_factory=dict)
    unreproducible: Mapping[str, Unreproducible] = field(default_factory=dict)
    remotes: Mapping[str, Remote] = field(default_factory=dict)
    given: Mapping[str, Override] = field(default_factory=dict)
    """Values of variables and of the version that do not come from the project's own files."""
    commands: str = "stagewright {command} {name}"
    """The form of command lines in hints, which work where this project was read."""

    @property
    def has_file(self) -> bool:
        """True if the project was read from its file, so that commands in its folder know its names."""
        return self.commands == Project.commands

    def hint(self, command: str, name: str) -> str:
        """Return the line of a command for a stage or test."""
        known = name if self.has_file or command != "build" else ""  # specs are built without names
        return self.commands.replace("{command}", command).replace(" {name}", f" {known}" if known else "")

    @property
    def folder(self) -> Path:
        """Folder of the project."""
        return self.files.folder

    @property
    def records(self) -> str:
        """The name of the project's logs, history and failed roots in a store: its name, and a digest of its folder.

        Two folders can have projects of the same name.
        """
        return f"{self.info.name}-{folder_digest(self.folder)}"

    def path(self, relative: str) -> Path:
        """Return the real path of a file that the project names."""
        return self.files.path(relative)

    def pinned_tree(self, name: str) -> str | None:
        """Return the tree id that a repository is pinned to, or None without a matching pin.

        Keys contain this id instead of a digest of the files.
        """
        pin = self.lock.repos.get(name)
        fits = pin is not None and pin.get("request") == request_digest(self.repos[name].request)
        return str(pin["tree"]) if fits and pin is not None else None

    def repo_path(self, name: str) -> Path:
        """Return the folder of a repository. A pinned tree may not be fetched yet."""
        repo = self.repos[name]
        if repo.path is not None:
            return self.path(repo.path)
        return (self.trees or Path("/nonexistent")) / tree_name(self.pinned_tree(name) or f"unpinned:{name}")

    def known_trees(self) -> dict[Path, str]:
        """Return the tree ids of fetched repositories by folder. Keys use them instead of the folder's digest."""
        return {
            self.repo_path(name): self.pinned_tree(name) or f"unpinned:{name}"
            for name, repo in self.repos.items()
            if repo.moves
        }

    def entry(self, name: str) -> Entry | None:
        """Return the stage or seed of this name, or None."""
        return self.entries.get("stages", {}).get(name) or self.entries.get("seeds", {}).get(name)

    def entry_of(self, node: str) -> Entry | None:
        """Return the entry of a node id, or None for a node that a kind adds, such as a squashfs."""
        table = next((table for table, prefix in _PREFIXES.items() if node.startswith(prefix)), "stages")
        return self.entries.get(table, {}).get(node.removeprefix(_PREFIXES.get(table, "")))

    def notes(self) -> list[str]:
        """Return the notes of all entries, each once."""
        entries = (entry.model for entry in self.all_entries() if isinstance(entry.model, Noted))
        found = [note for model in entries for note in model.oddities(self)]
        return list(dict.fromkeys([*found, *native_notes(self.entries.get("stages", {}).values())]))

    def all_entries(self) -> Iterator[Entry]:
        """Yield all seeds, stages, tests and releases."""
        for table in self.entries.values():
            yield from table.values()


def folder_digest(folder: Path) -> str:
    """Return the beginning of a digest of the path of a folder, which ends :attr:`Project.records`."""
    return hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:8]


def tree_name(tree: str) -> str:
    """Return the name of the folder for a tree id."""
    kind, _, rest = tree.partition(":")
    return f"{kind}-{rest[:64]}"


def epoch_of(value: int | datetime.date | datetime.datetime) -> int:
    """Return a time stamp as seconds since 1970 in UTC."""
    if isinstance(value, int):
        return value
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
    return int((value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp())
