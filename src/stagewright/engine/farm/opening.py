"""Opening a farm for a build: its scheduler, and the remote store that its machines share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from stagewright.engine.farm.executor import FarmExecutor, connected
from stagewright.engine.farm.options import FarmOptions
from stagewright.engine.farm.shared import Shared
from stagewright.engine.local import LocalExecutor
from stagewright.engine.plan import Plan
from stagewright.engine.remotes import opened_remote, remote_settings
from stagewright.engine.workspace import Workspace
from stagewright.errors import Reason, StagewrightError


@contextlib.contextmanager
def opened_farm(workspace: Workspace, plan: Plan, options: FarmOptions, local: LocalExecutor) -> Iterator[FarmExecutor]:
    """Yield the executor of a farm. Raises: FARM if its scheduler does not answer, USAGE without a shared remote."""
    project = workspace.project
    word = options.remote or _default_remote(workspace)
    with contextlib.ExitStack() as held:
        remote = held.enter_context(opened_remote(word, project, workspace.emit))
        if not remote.writable:
            raise StagewrightError(Reason.USAGE, f"remote {word}: read-only", hint="name another one by --farm-remote")
        held.enter_context(remote.lease(list(plan.keys().values())))
        client = held.enter_context(connected(options.url, options.certs))
        shared = Shared(remote, workspace.store)
        yield held.enter_context(FarmExecutor(client, plan, shared, local, options.wait))


def _default_remote(workspace: Workspace) -> str:
    settings = remote_settings(workspace.project)
    order = sorted(settings, key=lambda name: (-settings[name].priority, name))
    found = next((name for name in order if not settings[name].read_only), None)
    if not found:
        hint = "name one by --farm-remote, or add [remotes.NAME] to the project"
        raise StagewrightError(Reason.USAGE, "a farm needs a remote store that its machines share", hint=hint)
    return found
