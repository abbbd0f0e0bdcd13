"""Entering roots: the kept root of a failed build, or a fresh root that is removed afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from stagewright.engine.job import FILE_NAME, Job
from stagewright.engine.plan import Plan, State
from stagewright.engine.worker import shell_command
from stagewright.engine.workspace import Workspace
from stagewright.errors import Reason, StagewrightError
from stagewright.events import NodeNotice
from stagewright.ids import mark
from stagewright.kinds.common.work import Grant
from stagewright.terminal import run_on_new_terminal
from stagewright.trees import remove_tree


def enter(workspace: Workspace, plan: Plan, words: Sequence[str]) -> int:
    """Run a shell, or the command ``words``, in the root of the plan's only target, and return its exit code.

    Raises ``NOT_BUILT`` if there is no kept root of a failed build and an input of the target is not built.
    """
    (node_id,) = plan.sinks
    project, store = workspace.project.info.name, workspace.store
    kept = store.failed(project, node_id)
    if (kept / FILE_NAME).exists():
        return _enter_kept(workspace, node_id, words)
    step = plan.steps[node_id]
    missing = [source for source in step.node.inputs.values() if plan.steps[source].state is not State.CACHED]
    if missing:
        what = f"{node_id}: its input is not built ({', '.join(missing)})"
        hint = workspace.project.hint("build", " ".join(name.rpartition(":")[2] for name in missing))
        raise StagewrightError(Reason.NOT_BUILT, what, hint=hint)
    log = store.log_folder(project, node_id) / "shell.txt"  # not *.log, which `stagewright log` shows
    log.parent.mkdir(parents=True, exist_ok=True)
    workspace.emit(NodeNotice(node=node_id, text="this is a fresh root; changes to it are discarded"))
    with store.scratch("shell") as folder:
        Job(
            project=project,
            project_folder=workspace.project.folder.resolve(),
            node=step.node,
            key=step.key,
            inputs=plan.inputs_of(step.node),
            grant=Grant(1, step.node.demand.memory),
            store=store.path,
            log=log,
        ).write(folder)
        return run_on_new_terminal(shell_command(folder, *words))


def _enter_kept(workspace: Workspace, node: str, words: Sequence[str]) -> int:
    """Run in the kept root of a failed build, and hold its lock, so that no build removes it meanwhile."""
    project, store = workspace.project.info.name, workspace.store
    check_ids(node, Job.read(store.failed(project, node)))
    with store.lock_failed(project, node) as free:
        if not free:
            what = f"{node}: another shell is open in the root of the failed build"
            raise StagewrightError(Reason.STORE_BUSY, what, hint="leave that shell first")
        workspace.emit(NodeNotice(node=node, text="this is the root as the failed build left it"))
        builds = store.former(project, node)
        code = run_on_new_terminal(shell_command(store.failed(project, node), *words))
        if store.former(project, node) != builds:
            workspace.emit(NodeNotice(node=node, text="removed the root of the failed build: a later build succeeded"))
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
