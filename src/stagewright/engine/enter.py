"""Entering roots: the kept root of a failed build, the result of a stage, or the root that its build starts from."""

from __future__ import annotations

from collections.abc import Sequence

from stagewright.engine.doctor import require_programs
from stagewright.engine.job import FILE_NAME, Job
from stagewright.engine.last_failures import LastFailure
from stagewright.engine.plan import Plan, State, Step
from stagewright.engine.worker import shell_command
from stagewright.engine.workspace import Workspace
from stagewright.errors import NEXT_HINT, Reason, StagewrightError
from stagewright.events import Listener, NodeNotice
from stagewright.graph.node import Yields
from stagewright.ids import mark
from stagewright.kinds.common.base import Stage
from stagewright.kinds.common.work import Grant
from stagewright.store.store import Store
from stagewright.terminal import run_on_new_terminal
from stagewright.trees import remove_tree

FARM = "farm"
"""The name of the records that a worker of a farm keeps, for nodes of all projects."""


def enter(workspace: Workspace, plan: Plan, words: Sequence[str], *, before: bool = False) -> int:
    """Run a shell, or the command ``words``, in the root of the plan's only target, and return its exit code.

    This is the kept root of a failed build, or else the result, or else the root that a build starts from. ``before``
    always takes that. Raises: NOT_BUILT if an input is not built, USAGE if the target has no root.
    """
    (node_id,) = plan.sinks
    step, store = plan.steps[node_id], workspace.store
    kept = store.failed(workspace.project.records, node_id) / FILE_NAME
    require_programs()
    if not before and kept.exists():
        return _enter_kept(store, workspace.project.records, node_id, words, workspace.emit)
    made = not before and store.has(step.node.yields, step.key.digest)
    if not before and not made and step.failure and step.failure.machine:
        raise _is_elsewhere(step.failure, node_id)
    if made and step.node.yields is Yields.LAYER:
        text = "this is what was built; changes to it are discarded"
        return _enter_fresh(workspace, plan, words, text, result=True)
    _check_has_root(plan, step, made=made)
    _check_inputs(workspace, plan, step)
    text = "this is the root that its build starts from; changes to it are discarded"
    return _enter_fresh(workspace, plan, words, text if before else f"not built yet: {text}", result=False)


def _is_elsewhere(failure: LastFailure, node: str) -> StagewrightError:
    """Return the error for a root that only a machine of a farm has."""
    what = f"{node}: its last build failed on {failure.machine}, a machine of a farm, so its root is not here"
    before = f"stagewright shell --before {node.rpartition(':')[2]} enters the root that its build starts from"
    return StagewrightError(Reason.NOT_BUILT, what, hint=NEXT_HINT.join([failure.look(node), before]))


def enter_on_worker(store: Store, node: str, words: Sequence[str], emit: Listener) -> int:
    """Run a shell, or a command, in the root that a failed build for a farm left in the store of this machine.

    Raises: NOT_BUILT if there is none.
    """
    if not (store.failed(FARM, node) / FILE_NAME).exists():
        found = sorted(Job.read(path.parent).node.id for path in store.failed(FARM, node).parent.glob(f"*/{FILE_NAME}"))
        what = f"{node}: the store {store.path} keeps no root of a failed build for a farm"
        raise StagewrightError(Reason.NOT_BUILT, what, hint=f"it has {', '.join(found)}" if found else "")
    require_programs()
    return _enter_kept(store, FARM, node, words, emit)


def _check_has_root(plan: Plan, step: Step, *, made: bool) -> None:
    """Raise ``USAGE`` for a node whose result is files, unless its build starts in a root and is not done."""
    assert isinstance(step.node.settings, Stage)
    builds_in_root = type(step.node.settings).shell_root is not Stage.shell_root
    if builds_in_root and not made:
        return
    name = step.node.id.rpartition(":")[2]
    roots = [one for one, other in plan.steps.items() if other.node.yields is Yields.LAYER]
    hint = f"stagewright shell --before {name} enters the root that its build starts from"
    if not builds_in_root:
        hint = f"roots that it is made of: {', '.join(one.rpartition(':')[2] for one in reversed(roots))}"
    raise StagewrightError(Reason.USAGE, f"{step.node.id}: its result is files, not a root", hint=hint)


def _check_inputs(workspace: Workspace, plan: Plan, step: Step) -> None:
    missing = [source for source in step.node.inputs.values() if plan.steps[source].state is not State.CACHED]
    if missing:
        what = f"{step.node.id}: the root that its build starts from is not built ({', '.join(missing)})"
        hint = workspace.project.hint("build", " ".join(name.rpartition(":")[2] for name in missing))
        raise StagewrightError(Reason.NOT_BUILT, what, hint=hint)


def _enter_fresh(workspace: Workspace, plan: Plan, words: Sequence[str], text: str, *, result: bool) -> int:
    """Run in a root with a new writable layer, which is removed at the end."""
    (node_id,) = plan.sinks
    step, store = plan.steps[node_id], workspace.store
    log = store.log_folder(workspace.project.records, node_id) / "shell.txt"  # not *.log, which `log` shows
    log.parent.mkdir(parents=True, exist_ok=True)
    workspace.emit(NodeNotice(node=node_id, text=text))
    with store.scratch("shell") as folder:
        Job(
            project=workspace.project.info.name,
            project_folder=workspace.project.folder.resolve(),
            node=step.node,
            key=step.key,
            inputs=plan.inputs_of(step.node),
            grant=Grant(1, step.node.demand.memory),
            store=store.path,
            log=log,
        ).write(folder)
        return run_on_new_terminal(shell_command(folder, *words, result=result))


def _enter_kept(store: Store, project: str, node: str, words: Sequence[str], emit: Listener) -> int:
    """Run in the kept root of a failed build, and hold its lock, so that no build removes it meanwhile."""
    check_ids(node, Job.read(store.failed(project, node)))
    with store.lock_failed(project, node) as free:
        if not free:
            what = f"{node}: another shell is open in the root of the failed build"
            raise StagewrightError(Reason.STORE_BUSY, what, hint="leave that shell first")
        emit(NodeNotice(node=node, text="this is the root as the failed build left it"))
        builds = store.former(project, node)
        code = run_on_new_terminal(shell_command(store.failed(project, node), *words))
        if store.former(project, node) != builds:
            emit(NodeNotice(node=node, text="removed the root of the failed build: a later build succeeded"))
            remove_tree(store.failed(project, node))
        return code


def check_ids(node: str, job: Job) -> None:
    """Raise ``NOT_BUILT`` if other ids own the files of a kept root.

    In this root, the owners of files and the files that the build removed would be wrong.
    """
    if job.ids == mark():
        return
    found = f"found {job.ids or 'no ids'}, builds have {mark() or 'none'}"
    what = f"{node}: the root of the failed build belongs to other ids ({found})"
    raise StagewrightError(Reason.NOT_BUILT, what, hint=f"stagewright build {node.rpartition(':')[2]}")
