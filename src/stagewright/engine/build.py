"""Building a plan on this machine: the requirements are checked first, then the scheduler runs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.engine.asked_pins import asked_pins
from stagewright.engine.build_options import BuildOptions
from stagewright.engine.console_verdict import ConsoleJudge
from stagewright.engine.doctor import require
from stagewright.engine.event_log import Record
from stagewright.engine.executor import Executor
from stagewright.engine.farm.extra import required
from stagewright.engine.farm.needs import stays_here
from stagewright.engine.folders_of_tests import files_in
from stagewright.engine.local import LocalExecutor, StartBuild
from stagewright.engine.plan import Plan
from stagewright.engine.scheduler import Outcome, Scheduler
from stagewright.engine.worker_process import Worker, is_forked
from stagewright.engine.worker_server import WorkerServer
from stagewright.engine.workspace import Workspace, start_worker
from stagewright.errors import NEXT_HINT, ProblemsError, Reason, StagewrightError
from stagewright.events import NodeNotice, Status
from stagewright.graph.node import Node
from stagewright.kinds.common.guest import TEST_ARTIFACTS
from stagewright.kinds.registry import by_kind
from stagewright.project.model import Project
from stagewright.store.store import Store
from stagewright.testing.setup import SCREEN

Outputs = Mapping[str, list[str]]
"""Paths of published files and folders, by target."""


@dataclass(frozen=True)
class BuildResult:
    """How a build ended: what was planned, the status of each built node, and what was published.

    ``errors`` has the errors of failed nodes by node id, each with its place in the project and a hint.
    """

    plan: Plan
    status: Status
    statuses: Mapping[str, Status] = field(default_factory=dict)
    errors: Mapping[str, StagewrightError] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=dict)
    seconds: float = 0.0

    def raise_failures(self) -> None:
        """Raise ``INTERRUPTED`` if the build was stopped, or the errors of all failed nodes, if there are any."""
        if self.status is Status.INTERRUPTED:
            hint = "run the same command again: it continues with what is finished"
            raise StagewrightError(Reason.INTERRUPTED, "stopped", hint=hint)
        if self.errors:
            raise ProblemsError(self.errors.values())


def build_nodes(workspace: Workspace, plan: Plan, options: BuildOptions) -> Outcome:
    """Build what a plan says. Raises everything that this machine is missing, before anything is built."""
    store = workspace.store
    store.register(plan.project.folder, plan.keys())
    judge = ConsoleJudge(store)
    refused = _judge_cached(workspace, plan, judge)
    if not plan.to_build:
        return Outcome(dict.fromkeys(refused, Status.FAILED), refused)
    nodes = [step.node for step in plan.to_build]
    with asked_pins(nodes, workspace.ask):
        require(store, [node for node in nodes if not options.farm or stays_here(node)])
        return _run(workspace, plan, options, judge, refused)


def _judge_cached(workspace: Workspace, plan: Plan, judge: ConsoleJudge) -> dict[str, StagewrightError]:
    """Report the remarks about tests in the store that the build uses. Return the errors of those that fail."""
    found = judge.of_cached(plan)
    for name, (remarks, _) in found.items():
        for remark in remarks:
            workspace.emit(NodeNotice(node=name, text=remark))
    return {name: error for name, (_, error) in found.items() if error}


def _run(
    workspace: Workspace,
    plan: Plan,
    options: BuildOptions,
    judge: ConsoleJudge,
    refused: Mapping[str, StagewrightError],
) -> Outcome:
    with _executor(workspace, plan, options) as executor:
        scheduler = Scheduler(
            plan,
            workspace.store,
            executor,
            [workspace.emit],
            keep_going=options.keep_going,
            limits=options.limits,
            judge=judge.judge,
            refused=refused,
        )
        with Record(workspace.store, scheduler.run_id) as record, workspace.emit.also(record):
            return scheduler.run()


@contextlib.contextmanager
def _executor(workspace: Workspace, plan: Plan, options: BuildOptions) -> Iterator[Executor]:
    """Yield what builds the nodes of a plan: this machine, or the machines of a farm."""
    with _launcher(workspace, plan) as launch:
        local = LocalExecutor(workspace.store, options.resources, launch)
        if not options.farm:
            yield local
            return
        required("distributed")
        from stagewright.engine.farm.opening import opened_farm

        with opened_farm(workspace, plan, options.farm, local) as farm:
            yield farm


@contextlib.contextmanager
def _launcher(workspace: Workspace, plan: Plan) -> Iterator[StartBuild]:
    """Yield what starts the workers of a plan: a server for the length of the block, where kinds permit it."""
    forks = any(is_forked(by_kind()[step.node.kind]) for step in plan.to_build)
    modules = sorted(
        {by_kind()[step.node.kind].__module__ for step in plan.steps.values()}
    )  # workers read their inputs
    if workspace.launch is not start_worker or not forks:
        yield workspace.launch
        return
    with WorkerServer(modules) as server:
        yield functools.partial(Worker.start, server=server)


_WITH_ROOT = (
    Reason.PACKAGE_FAILED,
    Reason.COMMAND_FAILED,
    Reason.BUILD_FAILED,
    Reason.DEPENDENCIES,
    Reason.LIMIT,
)
"""Reasons of failures that a look at the root can explain."""


def failures(plan: Plan, store: Store, outcome: Outcome) -> dict[str, StagewrightError]:
    """Return the errors of failed nodes, each with its place in the project and how to see more."""
    found = {}
    for name, error in outcome.errors.items():
        step = plan.steps[name]
        root = store.failed(plan.project.records, name)
        files = root / TEST_ARTIFACTS
        if error.reason is Reason.CONSOLE_ERRORS:
            files = store.tree(step.node.yields, step.key.digest)
        found[name] = _with_hint(plan.project, step.node, error, root, files)
    return found


def _with_hint(project: Project, node: Node, error: StagewrightError, root: Path, files: Path) -> StagewrightError:
    """Return an error with its place, and with where to look.

    ``root`` is where the root of a failed build is kept, and ``files`` has the files of a test. A build on another
    machine of a farm has neither of them here.
    """
    name = node.id.rpartition(":")[2]
    more = f"{project.hint('log', name)} shows the whole log"
    if error.reason in _WITH_ROOT and root.exists():
        more += f", {project.hint('shell', name)} enters the root as the build left it"
    if error.reason in (Reason.BOOT_FAILED, Reason.CONSOLE_ERRORS) and files.exists():
        more = _files_of(project, files, name)
    return StagewrightError(
        error.reason,
        f"{node.id}: {error.message}",
        place=error.place or node.place,
        detail=error.detail,
        hint=NEXT_HINT.join(filter(None, [error.hint, more])),
    )


def _files_of(project: Project, folder: Path, name: str) -> str:
    """Return a hint that names the files of a test."""
    pictures = [f"the picture of the screen is {path}" for path in files_in(folder, SCREEN)]
    console = f"{project.hint('log --times', name)} shows the console"
    return NEXT_HINT.join([*pictures, console, f"console, chart and report are in {folder}"])
