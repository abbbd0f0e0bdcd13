"""One attempt at building a node, as the kind sees it in its worker process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Generic, TypeVar, cast

from stagewright.arch import Machine
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, NodeNotice, NodePhase, NodeProgress
from stagewright.graph.keys import Key
from stagewright.graph.node import Node, Yields
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.facts import F, Facts, LayerFacts
from stagewright.kinds.common.tools import emulator
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.installed import Package
from stagewright.root.devices import DeviceNode, missing_devices
from stagewright.root.emulation import find_emulator, machine_of, register, unserved
from stagewright.root.job_tokens import folder_of
from stagewright.store.store import Store

if TYPE_CHECKING:
    from stagewright.kinds.common.lineage import LineageEntry
    from stagewright.root.root import Root
    from stagewright.root.sandbox import Bind
    from stagewright.store.content import KnownDigest
    from stagewright.store.meta import Meta

C_co = TypeVar("C_co", bound=StageContext, covariant=True)


@dataclass(frozen=True)
class Built:
    """The result of a build: a tree to be moved into the store, the keys of the layers below it, and facts."""

    tree: Path
    facts: Facts
    below: tuple[str, ...] = ()
    binpkgs: Path | None = None  # a folder of the binary packages that were installed into the tree
    records: Path | None = None  # a file with records about packages (kinds/common/records.py)
    digested: tuple[KnownDigest, ...] = ()  # files of the tree that the build has digested


@dataclass(frozen=True)
class Input:
    """A finished input of a node: its key, and its tree in the store."""

    yields: Yields
    key: str
    tree: Path


@dataclass(frozen=True)
class Grant:
    """The part of the machine that a node may use: cores, and memory in MiB."""

    cores: int = 1
    memory: int = 512


@dataclass(frozen=True)
class Work(Generic[C_co]):
    """One attempt at building a node: the node, its finished inputs, its work folder, and its log and events.

    ``folder`` is on the file system of the store. ``lineage`` describes this node and all nodes below it.
    ``project_folder`` is the folder of the project.
    """

    node: Node
    key: Key
    inputs: Mapping[str, Input]
    grant: Grant
    lineage: Sequence[LineageEntry]
    folder: Path
    store: Store
    log: IO[str]
    emit: Callable[[Event], None]
    project_folder: Path | None = None

    @property
    def context(self) -> C_co:
        """Data that the project adds to the settings."""
        return cast("C_co", self.node.context)

    @property
    def files(self) -> Mapping[str, Path]:
        """Files and folders that settings name, by the path as the settings write it."""
        return {**self.node.files.settings, **self.node.files.sources}

    @property
    def cores(self) -> int:
        """Number of cores that the node may use."""
        return self.grant.cores

    @property
    def memory(self) -> int:
        """The memory that the node may use, in MiB."""
        return self.grant.memory

    @property
    def tokens(self) -> Path | None:
        """The folder with the tokens of the node's jobs (root/job_tokens.py); None if it has its cores for itself."""
        folder = folder_of(self.folder)
        return folder if folder.is_dir() else None

    @property
    def epoch(self) -> int:
        """The time stamp for all files that are made (SOURCE_DATE_EPOCH), in seconds since 1970."""
        return self.context.source_date_epoch

    @property
    def origins(self) -> tuple[str, ...]:
        """Marks of what this build adds to a cache. Only builds with one of the same marks get it.

        Code of the inputs ran as root, and could have forged it. The first mark stands for the project, the last one
        for exactly the same inputs. A build without a project folder has only the last one.
        """
        data = self.key.data
        stack = self.meta("root").stack if "root" in self.inputs else []
        hosts = [host.uri for host in getattr(self.context, "binhosts", ())]
        inputs = [stack, data.get("repos"), data.get("files"), data.get("binhost_keys"), hosts]
        known = [str(self.project_folder), inputs] if self.project_folder else [inputs]
        return tuple(hashlib.sha256(json.dumps(one, sort_keys=True).encode()).hexdigest()[:32] for one in known)

    # events

    def phase(self, phase: str) -> None:
        """Report the phase that begins."""
        self.emit(NodePhase(node=self.node.id, phase=phase))

    def waiter(self, what: str, phase: str) -> Callable[[bool], None]:
        """Return a function that reports that the node waits for something (True), or that a phase goes on (False)."""

        def report(waits: bool) -> None:
            text = f"wait for {what}" if waits else phase
            self.log.write(f"{text}\n")
            self.log.flush()
            self.emit(NodePhase(node=self.node.id, phase=text, waits=waits))

        return report

    def progress(self, done: int, total: int, name: str) -> None:
        """Report the progress of the phase."""
        self.emit(NodeProgress(node=self.node.id, done=done, total=total, name=name))

    def notice(self, text: str) -> None:
        """Report something that is not an error but that users should know."""
        self.emit(NodeNotice(node=self.node.id, text=text))

    # inputs

    def artifact(self, role: str) -> Path:
        """Return the tree of an input in the store: the files of an artifact, or the files of one layer."""
        return self.inputs[role].tree

    def meta(self, role: str) -> Meta:
        """Return the metadata of an input in the store."""
        return self.store.meta(self.inputs[role].yields, self.inputs[role].key)

    def facts(self, role: str, model: type[F]) -> F:
        """Return the facts of an input."""
        return model.of(self.meta(role))

    def layers(self, role: str) -> list[Meta]:
        """Return the metadata of the layers of a root, topmost first."""
        return [self.store.meta(Yields.LAYER, key) for key in self.meta(role).stack]

    def remembered(self, role: str) -> list[Sequence[Package]]:
        """Return the package list in the facts of each layer of a root, topmost layer first.

        A list is empty unless its layer removes Portage's records.
        """
        return [LayerFacts.of(layer).remembered for layer in self.layers(role)]

    def devices(self, role: str, root: Path) -> list[DeviceNode]:
        """Return the device nodes that an archive of a root must get back. ``root`` is where it is mounted."""
        return missing_devices(root, [LayerFacts.of(layer).devices or () for layer in self.layers(role)])

    # roots

    def mount(self, role: str, binds: Sequence[Bind] = ()) -> Root:
        """Mount the root of an input, with a writable layer on top."""
        from stagewright.root.root import Root

        key = self.inputs[role].key
        keys = self.store.meta(Yields.LAYER, key).stack
        return self.runnable(Root.mount(self.folder, self.store.stack(key), keys=keys, binds=binds, log=self.log))

    def runnable(self, root: Root) -> Root:
        """Return the root. If the kernel cannot run its programs, register an emulator first."""
        machine = machine_of(root.path)
        if machine and machine.is_foreign:
            self.emulate(machine, root.path)
        return root

    def emulate(self, machine: Machine, root: Path | None = None) -> None:
        """Register an emulator for the programs of a machine with the kernel, if none serves them yet.

        With ``root``, an emulator that serves only this root is enough. Raises: MISSING_TOOL if no emulator is
        installed; HOST_FEATURE if the kernel rejects it.
        """
        found = {one: find_emulator(one) for one in unserved(machine.relatives, root)}
        if machine in found and not found[machine]:
            tool = emulator(machine)
            what = f"{tool.program}: not installed, and nothing else on this computer runs programs for {machine.arch}"
            raise StagewrightError(Reason.MISSING_TOOL, what, hint=tool.remedy)
        new = {one: program for one, program in found.items() if program}
        for one, program in new.items():
            register(one, program)
        if new:
            self.notice(f"registered with the kernel: {', '.join(program.name for program in new.values())}")

    def new_folder(self, name: str) -> Path:
        """Make a new folder below the work folder."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder
