"""Starting the worker of a farm on this machine, from the checks of the machine to the service."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from stagewright.engine.doctor import examine
from stagewright.engine.farm.host import Host
from stagewright.engine.farm.machines import this_machine
from stagewright.engine.farm.service import WorkerService
from stagewright.engine.farm.shared import Shared
from stagewright.engine.remotes import opened_remote
from stagewright.engine.resources import Resources
from stagewright.engine.worker_process import is_forked
from stagewright.engine.worker_server import WorkerServer
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.kinds.registry import by_kind
from stagewright.store.store import Store


def serve(
    folder: Path,
    url: str,
    certs: Path | None,
    remote: str,
    name: str,
    listen: str | None,
    resources: Resources,
    say: Callable[[str], None],
) -> None:
    """Build nodes for a farm, until a signal. Raises what this machine lacks for any build, before it connects."""
    with opened_host(folder, remote, name, resources, say) as host:
        WorkerService(host, url, certs, listen, say).run()


@contextlib.contextmanager
def opened_host(
    folder: Path, remote: str, name: str, resources: Resources, say: Callable[[str], None]
) -> Iterator[Host]:
    """Yield the part of a worker that builds nodes, in the store in a folder.

    Raises what this machine lacks for any build, or USAGE for a remote that is read-only.
    """
    store = Store(folder)
    if problems := [check.problem() for check in examine(store, ()) if not check.fine]:
        raise ProblemsError(problems)
    store.sweep(say)
    modules = sorted({kind.__module__ for kind in by_kind().values() if is_forked(kind)})
    with contextlib.ExitStack() as held:
        place = held.enter_context(opened_remote(remote, None, lambda _: None))
        if not place.writable:
            raise StagewrightError(Reason.USAGE, f"remote {remote}: read-only", hint="a farm needs one for results")
        server = held.enter_context(WorkerServer(modules))
        yield Host(this_machine(name, store, resources), store, Shared(place, store), server)
