"""The base classes of all kinds, and the scope in which a stage becomes nodes.

A kind is a subclass of :class:`Stage` in its own file. Its fields are its settings. The types of the fields say
which of them name inputs and which name files (see ``project.fields``). ``build`` does the work in a worker process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.given import NotInKey, not_in_key
from stagewright.graph.node import Demand, Node, NodeFiles, Yields
from stagewright.kinds.common.context import ProjectVersion, StageContext
from stagewright.kinds.common.facts import Facts, LayerFacts
from stagewright.kinds.common.tools import Tool
from stagewright.kinds.common.work import Built, Work
from stagewright.lazy_dataclass import dataclass
from stagewright.project.fields import ByValue, NodeRef, ProjectFile, Section, marked
from stagewright.project.limits import NodeLimits
from stagewright.project.lock import Pin
from stagewright.project.model import Entry, Project, node_id
from stagewright.project.source import KeyPath

if TYPE_CHECKING:
    from stagewright.root.root import Root

INTERNAL = ""
"""The table of internal kinds. Other kinds add their nodes to the graph; project files cannot have them."""


@dataclass
class Scope:
    """A project, and the part of its graph that is made so far.

    ``nodes`` are the nodes by id. ``targets`` are the ids of the nodes that users can build, by the name of the target.
    """

    project: Project
    nodes: dict[str, Node] = field(default_factory=dict)
    targets: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def node_id(self, name: str) -> str:
        """Return the id of the node that makes a stage or seed, or that runs a test."""
        tables = (table for table in ("seeds", "tests") if name in self.project.entries.get(table, {}))
        return node_id(next(tables, "stages"), name)

    def add(self, node: Node) -> str:
        """Add a node to the graph and return its id."""
        known = self.nodes.setdefault(node.id, node)
        assert known == node, f"two different nodes are called {node.id}"
        return node.id

    def entry(self, name: str) -> Entry:
        """Return the stage or seed of this name."""
        entry = self.project.entry(name)
        assert entry, "the project was checked"
        return entry

    def arch(self, name: str) -> str:
        """Return the architecture of a stage or seed, for names of files.

        A seed has the one of :meth:`Seed.known_arch`, or else the one of the project. A stage has that of its first
        input.
        """
        return arch_of(self.project, name)

    def private_channel(self, model: Section) -> str:
        """Return the name of a channel that is not distributable and releases the artifact of this model, or ""."""
        project = self.project
        names = {name for name, entry in project.entries["stages"].items() if entry.model is model}
        for entry in project.entries.get("releases", {}).values():
            name = getattr(entry.model, "channel", None) or ""
            channel = project.channels.get(name)
            if channel and not channel.distributable and names & set(getattr(entry.model, "artifacts", ())):
                return name
        return ""

    @property
    def version(self) -> ProjectVersion:
        """Name and version of the project, for manifests."""
        return ProjectVersion(name=self.project.info.name, version=self.project.info.version)


def arch_of(project: Project, name: str) -> str:
    """Return the architecture of a stage or seed: that of the seed that it is built on, or else of the project.

    The architecture of the project is also returned for names that do not exist, and for stages in a cycle.
    """
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        entry = project.entries["seeds"].get(name) or project.entries["stages"].get(name)
        if entry is None:
            break
        if isinstance(entry.model, Seed) and (arch := entry.model.known_arch(project.lock.seeds.get(name, {}))):
            return arch
        name = next((value for _, _, value in marked(entry.model, NodeRef)), name)
    return project.info.arch


class Stage(Section):
    """Base of all kinds.

    ``required_tools`` are programs of the host that every build of the kind needs. ``optional_tools`` are programs
    that only some settings need; the node names those that it needs. ``key_tools`` are the programs whose version
    changes the result, and so is part of the key.
    """

    kind: ClassVar[str]
    table: ClassVar[str] = "stages"
    yields: ClassVar[Yields] = Yields.LAYER
    facts_model: ClassVar[type[Facts]] = LayerFacts
    context_model: ClassVar[type[StageContext]] = StageContext
    required_tools: ClassVar[tuple[Tool, ...]] = ()
    optional_tools: ClassVar[tuple[Tool, ...]] = ()
    key_tools: ClassVar[tuple[str, ...]] = ()
    demand: ClassVar[Demand] = Demand()
    contained: ClassVar[bool] = False
    """True if its builds start a container. The worker's keeper removes the container's control group at the end."""
    own_network: ClassVar[bool] = False
    """True if its builds run in a network namespace without a connection to other networks."""
    private_ids: ClassVar[bool] = True
    """True if its builds run in a user namespace. False for tests that start machines from finished images."""
    build_modules: ClassVar[tuple[str, ...]] = ("stagewright.root.root",)
    """Modules that its methods import for a build. The server of workers imports them once for all workers."""
    moves: ClassVar[bool] = False
    """True if its content changes with time, so that it is pinned in the lock."""

    registry: ClassVar[dict[str, dict[str, type[Stage]]]] = {}

    limits: Annotated[NodeLimits, NotInKey()] = NodeLimits()
    """Limits for a build of this node: `timeout`, `memory`, `processes`, `disk`."""

    def __init_subclass__(cls, kind: str | None = None, table: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if table is not None:
            cls.table = table
        if kind is not None:
            cls.kind = kind
            _register(cls)

    def expand(self, name: str, scope: Scope) -> None:
        """Add the nodes of an entry with this name to the graph. Most kinds add one node; others override this."""
        scope.targets[name] = (scope.add(self.node(node_id(self.table, name), scope)),)

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node that makes this stage."""
        entry = scope.project.entry_of(node_id)
        return Node(
            id=node_id,
            kind=self.kind,
            yields=self.yields,
            settings=self,
            context=self.node_context(node_id, scope),
            inputs=self.node_inputs(scope),
            files=self.node_files(scope),
            tools=self.key_tools,
            demand=self.demand,
            place=entry.place() if entry else None,
        )

    def node_context(self, node_id: str, scope: Scope) -> StageContext:
        """Return what the project adds to the settings: an instance of ``context_model``."""
        return StageContext(source_date_epoch=scope.project.epoch)

    def node_inputs(self, scope: Scope) -> dict[str, str]:
        """Return the ids of the input nodes, by role. A role is a path of settings: ``root``, or ``roots.000``."""
        return {_role(path): scope.node_id(name) for path, _, name in marked(self, NodeRef)}

    def node_files(self, scope: Scope) -> NodeFiles:
        """Return the files that the settings name."""
        outside = not_in_key(type(self))
        found = [(path[0] in outside, name, scope.project.path(name)) for path, _, name in marked(self, ProjectFile)]
        return NodeFiles(
            settings={name: path for is_source, name, path in found if not is_source},
            sources={name: path for is_source, name, path in found if is_source},
        )

    def before_build(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Yield errors that keep this entry from being built, but do not concern other entries and commands.

        Stagewright calls it before it builds anything, and for ``stagewright check``.
        """
        yield from ()

    def missing(self) -> Iterator[StagewrightError]:
        """Yield an error for each requirement that this computer does not meet, apart from programs.

        Stagewright calls it before it builds anything.
        """
        yield from ()

    def needed_variables(self) -> Sequence[str]:
        """Return the names of variables in the caller's environment that a build needs. Workers get only these."""
        return ()

    def build(self, work: Work[Any]) -> Built:
        """Build the node, in a worker process with its own mounts. Raises :class:`StagewrightError` if it fails."""
        raise NotImplementedError

    def shell_root(self, work: Work[Any]) -> Root:
        """Return the root as the build sees it, for ``stagewright shell``. Raises: USAGE if there is none."""
        raise StagewrightError(
            Reason.USAGE, f"{work.node.id}: it has no root to enter", hint="enter one of the stages that it is made of"
        )

    def is_pinned(self) -> bool:
        """Return True if something is looked up for this entry and pinned in the lock."""
        return self.moves

    def pinned_settings(self, project: Project | None) -> dict[str, Any]:
        """Return what a pin of this entry is for: another one is looked up if it changes."""
        data = self.model_dump(mode="json")
        limits = {name: value for name, value in data.pop("limits").items() if name not in NodeLimits.model_fields}
        return {**data, "limits": limits} if limits else data

    def pin(self, work: Work[Any]) -> Pin | None:
        """Look up the newest content of this seed, and return the pin of it; None if its content never changes."""
        return None


class Seed(Stage, table="seeds"):
    """Base of all seeds."""

    arch: Annotated[Arch, ByValue()] | None = Field(default=None, exclude_if=lambda arch: arch is None)
    """The architecture by Gentoo's name, such as `arm64`. Default: the one of `[project]`; for a stage3 of a mirror
    that of the variant. A tarball or folder with programs of another architecture is refused."""

    def known_arch(self, pin: Mapping[str, Any]) -> Arch | None:
        """Return the architecture by the settings, or else by the seed's pin; None for that of this computer."""
        pinned = pin.get("arch")
        return self.arch or (Arch(pinned) if pinned in list(Arch) else None)

    def shell_root(self, work: Work[Any]) -> Root:
        """Return the seed with a writable layer on top. After a failed build, it has the files made so far."""
        from stagewright.root.root import Root

        tree = work.folder / "tree"
        layers = [tree] if tree.is_dir() else work.store.stack(work.key.digest)
        return work.runnable(Root.mount(work.folder, layers, log=work.log))


def _register(model: type[Stage]) -> None:
    """Add a kind to the registry. Raises TypeError if there is a kind of this name in any table."""
    for others in Stage.registry.values():
        other = others.get(model.kind, model)
        if (other.__module__, other.__qualname__) != (model.__module__, model.__qualname__):
            raise TypeError(f"kind {model.kind!r} exists already (in {other.__module__})")
    Stage.registry.setdefault(model.table, {})[model.kind] = model


def _role(path: tuple[str | int, ...]) -> str:
    return ".".join(f"{step:03}" if isinstance(step, int) else step for step in path)
