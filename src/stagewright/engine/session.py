"""The Python interface of Stagewright: a session is an open project, and everything that can be done with it.

The command line is built on it, and other programs can be, too (docs/python-api.md). A session reads the project when
it is opened. It reads it again when a pin moved or a repository was fetched, because profiles and packages are checked
in the repositories.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.engine import pins
from stagewright.engine.build_options import BuildOptions
from stagewright.engine.clock import clock_warnings
from stagewright.engine.last_failures import LastFailure
from stagewright.engine.logs import failures_elsewhere, has_failed, last_built, last_failure, logs_of_target
from stagewright.engine.pins import PinChange, PinTarget
from stagewright.engine.plan import (
    Plan,
    State,
    check_before_build,
    check_targets,
    make_plan,
    missing_keys,
    one_target,
)
from stagewright.engine.workspace import StartWorker, Workspace, start_worker
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener, Listeners, NodeNotice, Published
from stagewright.graph.node import Graph, Node
from stagewright.kinds.registry import kinds
from stagewright.project.load import find, load
from stagewright.project.lock import Lock, Pin
from stagewright.project.model import Entry, Project
from stagewright.project.overrides import Overrides
from stagewright.repos.repository_cache import trees_folder
from stagewright.store.in_use import in_use
from stagewright.store.place import default_store
from stagewright.store.store import Store

if TYPE_CHECKING:
    from stagewright.engine.asked_pins import Ask
    from stagewright.engine.build import BuildResult, Outputs
    from stagewright.engine.doctor import Check
    from stagewright.engine.fetching import FetchResult
    from stagewright.engine.rebuild import Rebuilt
    from stagewright.engine.verify import Verification
    from stagewright.engine.versions import VersionChange
    from stagewright.store.collect import Garbage


class Session:
    """An open project with a store and listeners. See :meth:`open`.

    ``targets`` of its methods are names of entries; no targets means all stages, tests and releases. Methods
    raise :class:`~stagewright.errors.StagewrightError`; a name that the project does not have is ``UNKNOWN_NAME``.
    """

    def __init__(
        self,
        project: Project,
        store: Store | Path,
        listeners: Iterable[Listener] = (),
        launch: StartWorker = start_worker,
        ask: Ask | None = None,
        *,
        reads_only: bool = False,
        wanted: Sequence[str] = (),
    ) -> None:
        """Use a project that was loaded already. ``launch`` starts worker processes; ``ask`` asks for secrets."""
        folder = store.path if isinstance(store, Store) else store.absolute()
        self._workspace = Workspace(project, folder, Listeners(*listeners), launch, ask, reads_only, tuple(wanted))
        self._stale = False

    @classmethod
    def open(
        cls,
        folder: Path | str = ".",
        *,
        store: Path | str | None = None,
        listeners: Iterable[Listener] = (),
        ask: Ask | None = None,
        lock: Path | None = None,
        reads_only: bool = False,
        given: Overrides | None = None,
        wanted: Sequence[str] = (),
    ) -> Session:
        """Open the project in a folder, or in the nearest folder above it.

        ``store`` is the folder of the store; the default is that of the command line. ``listeners`` are called with
        every event (:mod:`stagewright.events`). ``ask`` gets a text for the user and returns the secret; without it, a
        PIN that is missing is an error. ``lock`` is another file of pins. With ``reads_only`` the store is not written
        to, and need not exist: for plans, results, logs and checks. ``given`` replaces variables and the version
        (:mod:`stagewright.project.overrides`). Of a large project, only ``wanted`` targets and what they need are read.

        Raises ``NO_PROJECT``, or :class:`ProblemsError` with everything that is wrong with the project.
        """
        path = Path(store or default_store()).absolute()
        project = load(find(Path(folder)), kinds(), trees_folder(path), lock, given=given, wanted=wanted)
        return cls(project, path, listeners, ask=ask, reads_only=reads_only, wanted=wanted)

    @property
    def project(self) -> Project:
        """The project as it was last read."""
        return self._workspace.project

    @property
    def store(self) -> Store:
        """The store, which is created on first use."""
        return self._workspace.store

    @property
    def graph(self) -> Graph:
        """All nodes of the project, and the nodes of each target."""
        return self._workspace.graph

    @property
    def listeners(self) -> Listeners:
        """The listeners; :meth:`Listeners.also` adds one for the length of a block."""
        return self._workspace.emit

    # looking

    def check(self, targets: Sequence[str] = (), *, locked: bool = False, keys: bool = True) -> tuple[str, ...]:
        """Return the targets, checked; with ``locked`` raise ``LOCK_STALE`` if a pin that they need is missing.

        With ``keys`` raise ``NO_KEYS`` if this computer lacks keys of signatures that a build needs.
        """
        chosen = check_targets(self._workspace, targets)
        check_before_build(self._workspace, targets, keys=keys)
        if locked:
            pins.require_pins(self._workspace, targets)
        return chosen

    def warnings(self) -> list[str]:
        """Return what is odd about the project on this computer, but is not an error."""
        keys = (f"{text}, which the build needs; {hint}" for text, hint in missing_keys(self._workspace).items())
        return [*clock_warnings(self.project.epoch), *keys, *self.project.notes()]

    def plan(self, targets: Sequence[str] = ()) -> Plan:
        """Return what a build would make, and why. Reads the files of the project; looks nothing up."""
        return make_plan(self._workspace, targets)

    def unpinned(self, targets: Sequence[str] = ()) -> list[PinTarget]:
        """Return what the targets need and the lock does not pin for its present settings."""
        return pins.unpinned(self._workspace, targets)

    def result(self, target: str) -> Path:
        """Return the folder in the store with what a target made. Raises ``NOT_BUILT``."""
        target = one_target(self._workspace, target)
        plan = self.plan([target])
        (step,) = (plan.steps[node] for node in plan.sinks)
        if not self.store.has(step.node.yields, step.key.digest):
            what = f"{target}: not built with the present settings of the project"
            hint = self.store.hint_if_missing(step.node.yields, f"stagewright build {target}")
            raise StagewrightError(Reason.NOT_BUILT, what, hint=hint)
        return self.store.tree(step.node.yields, step.key.digest)

    def logs(self, target: str) -> list[Path]:
        """Return the logs of the builds of a target or node, newest last. Raises ``NOT_BUILT`` if there is none."""
        return logs_of_target(self._workspace, target)

    def failures_elsewhere(self, target: str) -> dict[str, LastFailure]:
        """Return the nodes of a target whose last build failed on a machine of a farm."""
        return failures_elsewhere(self._workspace, target)

    def failed(self, entry: Entry) -> bool:
        """Return True if the last build of an entry failed."""
        return any(has_failed(self._workspace, node) for node in self.graph.targets[entry.name])

    def last(self, *, failed: bool) -> str | None:
        """Return the node that was built last, or with ``failed`` whose build failed last; None if there is none."""
        return (last_failure if failed else last_built)(self._workspace)

    def doctor(self) -> list[Check]:
        """Return every check of this machine for building the whole project."""
        from stagewright.engine.asked_pins import asked_pins
        from stagewright.engine.doctor import examine_nodes
        from stagewright.engine.doctor_keys import keyring_checks

        with asked_pins(self.graph, self._workspace.ask):
            checks = examine_nodes(self.store, self.graph, self.project.repos.values())
        return [*checks, *keyring_checks(self.project)]

    # pins

    def resolve_pins(self, targets: Sequence[str] = (), *, locked: bool = False) -> list[PinChange]:
        """Look up what the targets need and the lock does not pin, and write the lock.

        With ``locked``, raise ``LOCK_STALE`` instead if anything is missing.
        """
        changes = self._resolve_pins(targets, locked=locked)
        self._refresh()
        return changes

    def update(self, names: Sequence[str] = (), *, dry_run: bool = False) -> list[PinChange]:
        """Look up again what is pinned, and write the lock unless it is a ``dry_run``.

        Without names this is done for all that are pinned, and the time stamp of the lock moves too.
        """
        chosen = pins.chosen(self.project, names)
        if dry_run:
            for target in chosen:
                self._build_root_for(target)
            return list(pins.look_up(self._workspace, chosen))
        if not names:
            self._save(replace(self.project.lock, epoch=int(time.time())))
        changes = self._pin(chosen)
        self._refresh()
        return changes

    def version_changes(self, change: PinChange) -> list[VersionChange]:
        """Return the packages of built stages that have another version in the new state of a repository."""
        from stagewright.engine.versions import version_changes

        return version_changes(self._workspace, change) if change.target.is_repository else []

    def _resolve_pins(self, targets: Sequence[str], *, locked: bool) -> list[PinChange]:
        if locked:
            pins.require_pins(self._workspace, targets)
        missing, lock = self.unpinned(targets), self.project.lock
        for target in missing:
            if target.name in lock.pins(target.table):
                text = f"the lock pins {target} for other settings, so it is looked up again"
                self.listeners(NodeNotice(node=target.node, text=text))
        if not missing and not lock.file.exists():
            pins.save(lock)
        return self._pin(missing)

    def _pin(self, targets: Sequence[PinTarget]) -> list[PinChange]:
        """Look up pins, and write the lock after each, so that a failure or a stop loses none."""
        changes = []
        for part in pins.parts(targets):
            self._build_root_for(part[0])
            for change in pins.look_up(self._workspace, part):
                self._save(self.project.lock.with_pin(change.target.table, change.target.name, change.new))
                self._stale = self._stale or change.target.is_repository
                changes.append(change)
        return changes

    def _build_root_for(self, target: PinTarget) -> None:
        """Build the root in which a live package is looked up."""
        self._refresh()
        root = pins.live_root(self._workspace, target) if target.is_online else None
        if root:
            self._resolve_pins([root], locked=False)
            self._fetch_repositories(self.plan([root]).graph)
            self._refresh()
            self._build_parts([root])

    def _save(self, lock: Lock) -> None:
        pins.save(lock)
        self._workspace = self._workspace.with_lock(lock)

    # building

    def prepare(self, targets: Sequence[str] = (), *, locked: bool = False) -> Plan:
        """Do everything that a build does first, and return its plan.

        Pins that are missing are looked up, and repositories that the build uses are fetched.
        """
        self.check(targets)
        self._resolve_pins(targets, locked=locked)
        plan = self.plan(targets)
        self._fetch_repositories(step.node for step in plan.to_build)
        if not self._refresh():
            return plan
        self.check(targets)  # repositories that were fetched now can decide more
        return self.plan(targets)

    def build(
        self,
        targets: Sequence[str] = (),
        options: BuildOptions | None = None,
        publisher: Callable[[Plan], Outputs] | None = None,
    ) -> BuildResult:
        """Build targets, and publish what was built.

        Failures of nodes are in the result (:meth:`BuildResult.raise_failures`); anything that keeps the build from
        starting is raised. ``publisher`` replaces :meth:`publish`.
        """
        from stagewright.engine.outputs import FOLDER, check_folder
        from stagewright.engine.verify import PlanCheck

        options, started = options or BuildOptions(), time.monotonic()
        self.check(targets)
        for text in self.warnings():
            self.listeners(NodeNotice(node=self.project.info.name, text=text))
        self.store.sweep(self._report)
        plan = self.prepare(targets, locked=options.locked)
        if publisher is None:
            check_folder(plan, self.project.folder / FOLDER)
        check = PlanCheck(self.store, self.listeners, thorough=options.verify)
        while check.finds_damage(plan):
            plan = self.prepare(targets, locked=options.locked)
        result = self._build(plan, options, publisher)
        return replace(result, seconds=time.monotonic() - started)

    def build_plan(
        self, plan: Plan, options: BuildOptions | None = None, publisher: Callable[[Plan], Outputs] | None = None
    ) -> BuildResult:
        """Build what a plan of this session says, and publish it, as :meth:`build` does."""
        from stagewright.engine.verify import PlanCheck

        options = options or BuildOptions()
        check = PlanCheck(self.store, self.listeners, thorough=options.verify)
        while check.finds_damage(plan):
            plan = self.plan(plan.targets)
        return self._build(plan, options, publisher)

    def _build(self, plan: Plan, options: BuildOptions, publisher: Callable[[Plan], Outputs] | None) -> BuildResult:
        from stagewright.engine.build import BuildResult, build_nodes, failures
        from stagewright.engine.remotes import opened_remotes, push_names

        started = time.monotonic()
        with contextlib.ExitStack() as held:
            plan = self._held(plan, held)
            remotes = held.enter_context(opened_remotes(self.project, self.listeners))
            push_to = push_names(remotes, push=options.push)
            if options.pull and remotes.pull_for(plan, self.store):
                plan = self._held(self.plan(plan.targets), held)
            outcome = build_nodes(self._workspace, plan, options)
            outputs = (publisher or self.publish)(plan)
            remotes.push(plan, self.store, push_to)
        self.listeners(Published(outputs=dict(outputs)))
        errors = failures(plan, self.store, outcome)
        return BuildResult(plan, outcome.status, outcome.statuses, errors, outputs, time.monotonic() - started)

    def rebuild(self, name: str, options: BuildOptions | None = None, *, compare: bool = False) -> Rebuilt:
        """Build one target or node again, and replace its result; with ``compare`` only return the differences."""
        from stagewright.engine.rebuild import node_to_rebuild, rebuild

        node = node_to_rebuild(self._workspace, name)
        plan = self.plan([target for target, nodes in self.graph.targets.items() if node in self.graph.closure(nodes)])
        return rebuild(self._workspace, plan, node, options or BuildOptions(), compares=compare)

    def publish(self, plan: Plan, folder: Path | None = None) -> Outputs:
        """Link the artifacts of a plan's targets that are built into a folder: ``out/`` of the project by default."""
        from stagewright.engine.outputs import FOLDER, publish

        return publish(plan, self.store, folder or self.project.folder / FOLDER)

    def shell(self, target: str, command: Sequence[str] = (), *, before: bool = False) -> int:
        """Run a shell, or a command, in the root of a stage, and return its exit code.

        It is the kept root of a failed build, or else the result of the stage with a writable layer that is removed
        afterwards. ``before`` enters the root that a build starts from, which is also entered if nothing is built.
        """
        from stagewright.engine.enter import enter

        name = one_target(self._workspace, target)
        with contextlib.ExitStack() as held:
            return enter(self._workspace, self._held(self.plan([name]), held), command, before=before)

    def _held(self, plan: Plan, held: contextlib.ExitStack) -> Plan:
        """Keep the results of a plan from collection. Returns a new plan if one of them was removed meanwhile."""
        held.enter_context(in_use(self.store, plan.keys().values()))
        cached = [step for step in plan.steps.values() if step.state is State.CACHED]
        if all(self.store.has(step.node.yields, step.key.digest) for step in cached):
            return plan
        return self._held(self.plan(plan.targets), held)

    def _fetch_repositories(self, nodes: Iterable[Node]) -> None:
        from stagewright.engine.repositories import fetch_repositories, missing_repositories

        if names := missing_repositories(self._workspace, nodes):
            fetch_repositories(self._workspace, names)
            self._stale = True

    def _refresh(self) -> bool:
        """Read the project again if a repository moved or was fetched; return True if so."""
        if not self._stale:
            return False
        self._workspace = self._workspace.reloaded()
        self._stale = False
        return True

    # the store

    def fetch(
        self,
        targets: Sequence[str] = (),
        *,
        locked: bool = False,
        everything: bool = False,
        mirror: Path | None = None,
    ) -> FetchResult:
        """Bring everything that the targets need into the store, so that a build needs no network.

        These are missing pins, repositories, seeds, and the sources of stages that are not built; of all stages with
        ``everything`` or a ``mirror``. ``mirror`` is a folder that becomes a mirror of exactly these sources.
        """
        from stagewright.engine.fetching import FetchResult, fetch_sources
        from stagewright.portage.distfiles_mirror import check_mirror, write_mirror

        check_targets(self._workspace, targets)
        if mirror:
            check_mirror(mirror)
        self.store.sweep(self._report)
        self._resolve_pins(targets, locked=locked)
        self._fetch_repositories([step.node for step in self.plan(targets).steps.values()])
        self._refresh()
        self._build_seeds(targets)
        with contextlib.ExitStack() as held:
            plan = self._held(self.plan(targets), held)
            self.store.register(self.project.folder, plan.keys())
            sources = fetch_sources(self._workspace, plan, everything=everything or mirror is not None)
        found = {target.node: self._pin_of(target) for target in pins.needed(self._workspace, targets)}
        result = FetchResult(found, sources, self.store.cache("distfiles"))
        removed = write_mirror(mirror, result.paths, result.distfiles) if mirror else []
        return replace(result, removed=removed)

    def _pin_of(self, target: PinTarget) -> Pin:
        return dict(self.project.lock.pins(target.table)[target.name])

    def _build_seeds(self, targets: Sequence[str]) -> None:
        graph = self.graph
        chosen = check_targets(self._workspace, targets)
        nodes = graph.closure(node for target in chosen for node in graph.targets[target])
        seeds = [name for name in self.project.entries["seeds"] if nodes.intersection(graph.targets[name])]
        if seeds:
            self._build_parts(seeds)

    def _build_parts(self, names: Sequence[str]) -> None:
        """Build entries that other work of this session needs, and publish nothing."""
        from stagewright.engine.build import BuildResult, build_nodes, failures

        with contextlib.ExitStack() as held:
            plan = self._held(self.plan(names), held)
            if plan.to_build:
                outcome = build_nodes(self._workspace, plan, BuildOptions())
                BuildResult(plan, outcome.status, errors=failures(plan, self.store, outcome)).raise_failures()

    def _report(self, text: str) -> None:
        """Report something about the store to the listeners."""
        self.listeners(NodeNotice(node="store", text=text))

    def verify(self, targets: Sequence[str] = (), *, keep: bool = False) -> Verification:
        """Compare the results of targets, and of all that they are made from, with what was built.

        Damaged results, and those made from them, are set aside for the next build to replace; not with ``keep``.
        """
        from stagewright.engine.verify import verify
        from stagewright.store.integrity import with_layers

        keys = self.plan(targets).keys().values()
        return verify(self.store, with_layers(self.store, set(keys)), self.listeners, keep=keep)

    def collect(self, days: float = 30, *, dry_run: bool = False) -> tuple[list[Garbage], int]:
        """Remove what no project of the store needs, and caches that no build used for so many days.

        Returns what it removed, and the number of bytes that were freed. A ``dry_run`` removes nothing.
        """
        from stagewright.store.records import collect_all

        keys = self.plan().keys()
        if not dry_run:
            self.store.register(self.project.folder, keys)
        return collect_all(self.store, set(keys.values()), days, self._report, dry_run=dry_run)
