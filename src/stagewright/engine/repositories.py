"""Repositories from elsewhere, brought into the store before anything that needs them is built."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence

from stagewright.engine.doctor import require_for_repos
from stagewright.errors import StagewrightError
from stagewright.events import Listener, NodeFinished, NodePhase, NodeProgress, NodeStarted, Status
from stagewright.graph.node import Node
from stagewright.project.lock import request_digest
from stagewright.project.model import Project
from stagewright.repos.repository_cache import RepositoryCache
from stagewright.repos.repository_source import RepositorySource
from stagewright.store.store import Store

REPO = "repo:"
"""How the names of repositories begin among the files of a node, and in events."""


@contextlib.contextmanager
def origin(
    project: Project, store: Store, name: str, kind: str, listeners: Sequence[Listener]
) -> Iterator[RepositorySource]:
    """Where a repository comes from, with events and a log around what is done with it in the block."""
    repo, node, started = project.repos[name], f"{REPO}{name}", time.monotonic()
    log = store.log_folder(project.info.name, node) / f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)

    def emit(event: NodeStarted | NodePhase | NodeProgress | NodeFinished) -> None:
        for listener in listeners:
            listener(event)

    def progress(done: int, total: int) -> None:
        emit(NodeProgress(node=node, done=done >> 20, total=max(total, done) >> 20, name="MiB"))

    error: StagewrightError | None = None
    emit(NodeStarted(node=node, kind=kind, key=request_digest(repo.request), log=str(log)))
    try:
        with log.open("a", encoding="utf-8") as stream:
            yield RepositorySource(
                name=name,
                repo=repo,
                keyring=project.path(repo.keyring) if repo.keyring else None,
                cache=RepositoryCache.of(store.path),
                log=stream,
                on_phase=lambda phase: emit(NodePhase(node=node, phase=phase)),
                on_progress=progress,
            )
    except StagewrightError as problem:
        error = problem
        raise
    finally:
        status = Status.FAILED if error else Status.BUILT
        seconds = time.monotonic() - started
        emit(NodeFinished(node=node, status=status, seconds=seconds, error=error.to_dict() if error else None))


def missing(project: Project, store: Store, nodes: Iterable[Node]) -> list[str]:
    """The repositories that these nodes see and whose pinned trees are not in the store."""
    cache = RepositoryCache.of(store.path)
    names = {name.removeprefix(REPO) for node in nodes for name in node.files if name.startswith(REPO)}
    trees = {name: project.pinned_tree(name) for name in sorted(names) if project.repos[name].moves}
    return [name for name, tree in trees.items() if tree and not cache.has(tree)]


def bring(project: Project, store: Store, names: Iterable[str], listeners: Sequence[Listener]) -> None:
    """Fetch the trees that repositories are pinned to.

    Raises why one cannot be had, with its place in the project and the way to have it before one is offline.
    """
    names = list(names)
    require_for_repos(project.repos[name] for name in names)
    for name in names:
        pin = project.lock.repos[name]
        try:
            with origin(project, store, name, "fetch", listeners) as source:
                source.fetch(pin)
        except StagewrightError as error:
            message = f"repository {name} is not in the store, and cannot be fetched: {error.message}"
            hint = f"{error.hint}\n        stagewright fetch brings everything while there is a network".lstrip()
            place = error.place or project.repo_places.get(name)
            raise StagewrightError(error.reason, message, place=place, detail=error.detail, hint=hint) from error
