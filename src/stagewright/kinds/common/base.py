"""What all kinds share: the model's base class, the scope in which a stage becomes nodes, and the work of building one.

A kind is a class below :class:`Stage` in a file of its own. It declares its settings as fields; which of them name
inputs and files is said by their types (see ``project.fields``). ``build`` does the work, in a worker process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar

from pydantic import Field

from stagewright.arch import Arch, Machine
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, NodeNotice, NodePhase, NodeProgress
from stagewright.graph.node import Node, Yields
from stagewright.kinds.common.tools import Tool, emulator
from stagewright.project.fields import ByValue, ProjectFile, Ref, Section, marked
from stagewright.project.lock import Pin
from stagewright.project.model import Entry, Project
from stagewright.root.emulation import find_emulator, machine_of, register, unserved
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
from stagewright.store.store import Store


@dataclass(frozen=True)
class Built:
    """What a build made: a tree to be moved into the store, the layers it lies on, and facts for people."""

    tree: Path
    below: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    binpkgs: Path | None = None  # a folder of the binary packages that the tree's own packages come from


@dataclass(frozen=True)
class Input:
    """A finished node that another takes: its key, and its tree in the store."""

    yields: Yields
    key: str
    tree: Path


@dataclass(frozen=True)
class Work:
    """One attempt at building a node: where it works, what it takes, and how it tells about itself."""

    node: str
    folder: Path  # of its own, on the file system of the store
    store: Store
    inputs: Mapping[str, Input]
    files: Mapping[str, Path]
    context: Mapping[str, Any]
    key: str
    cores: int
    memory: int  # MiB
    log: IO[str]
    emit: Callable[[Event], None]
    lineage: Sequence[Mapping[str, Any]] = ()  # every node below and this one, for manifests (engine/lineage.py)
    hints: Mapping[str, Any] = field(default_factory=dict)  # what has no say in the result, such as mirrors
    digests: Mapping[str, str] = field(default_factory=dict)  # what stands for the files in the key

    @property
    def epoch(self) -> int:
        """The time stamp for everything made (SOURCE_DATE_EPOCH), in seconds since 1970."""
        return int(self.context["source_date_epoch"])

    def phase(self, phase: str) -> None:
        """Say what is done now."""
        self.emit(NodePhase(node=self.node, phase=phase))

    def progress(self, done: int, total: int, name: str) -> None:
        """Say how far the phase is."""
        self.emit(NodeProgress(node=self.node, done=done, total=total, name=name))

    def notice(self, text: str) -> None:
        """Say something that is no failure but should be known."""
        self.emit(NodeNotice(node=self.node, text=text))

    def artifact(self, role: str) -> Path:
        """The folder of files that an input left."""
        return self.inputs[role].tree

    def mount(self, role: str, binds: Sequence[Bind] = ()) -> Root:
        """The root that an input left, mounted with a writable layer on top."""
        key = self.inputs[role].key
        keys = self.store.meta(Yields.LAYER, key).stack
        return self.runnable(Root.mount(self.folder, self.store.stack(key), keys=keys, binds=binds, log=self.log))

    def runnable(self, root: Root) -> Root:
        """The same root, whose programs run here whatever architecture they are for."""
        machine = machine_of(root.path)
        if machine and machine.is_foreign:
            self.emulate(machine, root.path)
        return root

    def emulate(self, machine: Machine, root: Path | None = None) -> None:
        """See to it that the kernel has an emulator for a machine's programs, in any root or in this one.

        Raises ``MISSING_TOOL`` or ``HOST_FEATURE`` where that cannot be.
        """
        found = {one: find_emulator(one) for one in unserved(machine.relatives, root)}
        if machine in found and not found[machine]:
            tool = emulator(machine)
            what = f"{tool.program} is not installed, and nothing else here runs programs for {machine.arch}"
            raise StagewrightError(Reason.MISSING_TOOL, what, hint=tool.remedy)
        new = {one: program for one, program in found.items() if program}
        for one, program in new.items():
            register(one, program)
        if new:
            self.notice(f"registered with the kernel: {', '.join(program.name for program in new.values())}")

    def new_folder(self, name: str) -> Path:
        """A fresh folder below the work folder."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder


@dataclass
class Scope:
    """A project on its way to a graph: names become node ids, and nodes are collected."""

    project: Project
    nodes: dict[str, Node] = field(default_factory=dict)
    targets: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def node_id(self, name: str) -> str:
        """The id of the node that makes a stage or seed."""
        return f"seed:{name}" if name in self.project.entries["seeds"] else name

    def add(self, node: Node) -> str:
        """Take a node into the graph and return its id."""
        known = self.nodes.setdefault(node.id, node)
        assert known == node, f"two different nodes are called {node.id}"
        return node.id

    def context(self) -> dict[str, Any]:
        """What every node knows of its project."""
        return {"source_date_epoch": self.project.epoch}

    def entry(self, name: str) -> Entry:
        """The stage or seed of this name."""
        entry = self.project.entry(name)
        assert entry, "the project was checked"
        return entry

    def arch(self, name: str) -> str:
        """The architecture of a stage or seed, for names of files: that of its seed if it says so, else the project's.

        A stage that is made of several goes by the first.
        """
        model = self.entry(name).model
        if isinstance(model, Seed) and model.arch:
            return model.arch
        below = [value for _, mark, value in marked(model, Ref) if "repos" not in mark.tables]
        return self.arch(below[0]) if below else self.project.info.arch


class Stage(Section):
    """Base of all kinds.

    ``needs`` are the host's programs that building takes; ``traces`` are those among them whose version changes what
    comes out, and so is part of the key; ``uses`` are programs that only some settings take, and name in their node.
    ``wants_cores`` and ``wants_memory`` (MiB) are what it asks of the machine. ``sources`` are the fields that say
    where something comes from; what it is says the pin, and so they are no part of the key.
    """

    kind: ClassVar[str]
    table: ClassVar[str] = "stages"
    yields: ClassVar[Yields] = Yields.LAYER
    required_tools: ClassVar[tuple[Tool, ...]] = ()
    optional_tools: ClassVar[tuple[Tool, ...]] = ()
    key_tools: ClassVar[tuple[str, ...]] = ()
    sources: ClassVar[frozenset[str]] = frozenset()
    wants_cores: ClassVar[int] = 1
    wants_memory: ClassVar[int] = 512
    exclusive: ClassVar[str] = ""
    contained: ClassVar[bool] = False  # starts a container, whose control group must be gone in the end
    own_network: ClassVar[bool] = False  # works in a network namespace of its own, which leads nowhere
    publishes: ClassVar[bool] = False  # its files are linked into the project's output folder
    moves: ClassVar[bool] = False  # what it stands for changes with time, and is pinned in the lock

    registry: ClassVar[dict[str, dict[str, type[Stage]]]] = {}

    def __init_subclass__(cls, kind: str | None = None, table: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if table is not None:
            cls.table = table
        if kind is not None:
            cls.kind = kind
            Stage.registry.setdefault(cls.table, {})[kind] = cls

    def expand(self, name: str, scope: Scope) -> None:
        """Add this stage's nodes to the graph. Most stages are one node; others override this."""
        node_id = scope.add(self.node(self.node_name(name), scope))
        scope.targets[name] = (node_id,)

    def node_name(self, name: str) -> str:
        """The id of the node of an entry with this name."""
        return name

    def node(self, node_id: str, scope: Scope, **context: Any) -> Node:
        """The node that makes this stage; ``context`` is added to what is known of the project."""
        paths = [(path[0] in self.sources, value) for path, _, value in marked(self, ProjectFile)]
        files, asides = ({value: scope.project.path(value) for one, value in paths if one is a} for a in (False, True))
        refs = {_role(path): value for path, mark, value in marked(self, Ref) if "stages" in mark.tables}
        entry = scope.project.entries.get(self.table, {}).get(node_id.rpartition(":")[2])
        return Node(
            id=node_id,
            kind=self.kind,
            yields=self.yields,
            options=self.model_dump(mode="json", exclude={role.partition(".")[0] for role in refs} | self.sources),
            asides=self.model_dump(mode="json", include=set(self.sources)),
            context={**scope.context(), **context},
            refs=refs,
            inputs={role: scope.node_id(name) for role, name in refs.items()},
            files=files,
            aside_files=asides,
            tools=self.key_tools,
            cores=self.wants_cores,
            memory=self.wants_memory,
            exclusive=self.exclusive,
            place=entry.place() if entry else None,
        )

    @classmethod
    def restored(cls, refs: Mapping[str, str], options: Mapping[str, Any]) -> Stage:
        """The stage of a node, from what :meth:`node` made of it."""
        values = dict(options)
        for role, name in sorted(refs.items()):
            field_name, _, number = role.partition(".")
            values[field_name] = [*values.get(field_name, []), name] if number else name
        return cls.model_validate(values)

    def missing(self) -> Iterator[StagewrightError]:
        """What it needs of this machine, besides programs, and is not there: asked before anything is built."""
        yield from ()

    def build(self, work: Work) -> Built:
        """Make it. Runs in a worker process with its own mounts; raises :class:`StagewrightError`."""
        raise NotImplementedError

    def open(self, work: Work) -> Root:
        """The root as its build sees it, for ``stagewright shell``."""
        raise StagewrightError(
            Reason.USAGE, f"{work.node} has no root to enter", hint="enter one of the stages that it is made of"
        )

    def pin(self, work: Work) -> Pin | None:
        """Look up what this seed stands for at this moment, or None when there is nothing that moves."""
        return None


class Seed(Stage, table="seeds"):
    """Base of all seeds."""

    arch: Annotated[Arch, ByValue()] | None = Field(default=None, exclude_if=lambda arch: arch is None)
    """Its architecture by Gentoo's name, such as `arm64`; default: this computer's, or that of a file's programs."""

    def node_name(self, name: str) -> str:
        """Seeds carry their table in their node's name."""
        return f"seed:{name}"

    def open(self, work: Work) -> Root:
        """The seed with a layer on top that is thrown away; one that failed as far as it got."""
        tree = work.folder / "tree"
        layers = [tree] if tree.is_dir() else work.store.stack(work.key)
        return work.runnable(Root.mount(work.folder, layers, log=work.log))


def _role(path: tuple[str | int, ...]) -> str:
    """What an input is to a stage: the name of its field, and its number in a list."""
    return ".".join(f"{step:03}" if isinstance(step, int) else step for step in path)
