"""Repositories that come from elsewhere: looked up for pins, and fetched into the store before they are built with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from stagewright.engine.doctor import require_for_repos
from stagewright.engine.single import reported
from stagewright.engine.workspace import Workspace
from stagewright.errors import StagewrightError
from stagewright.events import NodePhase, NodeProgress
from stagewright.graph.node import Node
from stagewright.project.lock import request_digest
from stagewright.repos.repository_cache import RepositoryCache
from stagewright.repos.repository_source import RepositorySource


@contextlib.contextmanager
def source_of(workspace: Workspace, name: str, purpose: str) -> Iterator[RepositorySource]:
    """Open the source of a repository for a block, and report the work of the block in events and a log."""
    project, emit, node = workspace.project, workspace.emit, f"repo:{name}"
    repo, log = project.repos[name], workspace.log_file(node, purpose)

    def progress(done: int, total: int) -> None:
        emit(NodeProgress(node=node, done=done >> 20, total=max(total, done) >> 20, name="MiB"))

    with (
        reported(emit, node, purpose, request_digest(repo.request), log),
        log.open("a", encoding="utf-8") as stream,
    ):
        yield RepositorySource(
            name=name,
            repo=repo,
            keyring=project.path(repo.keyring) if repo.keyring else None,
            cache=RepositoryCache.of(workspace.store.path),
            log=stream,
            on_phase=lambda phase: emit(NodePhase(node=node, phase=phase)),
            on_progress=progress,
        )


def missing_repositories(workspace: Workspace, nodes: Iterable[Node]) -> list[str]:
    """Return the names of the repositories that these nodes use and whose pinned trees are not in the store."""
    project, cache = workspace.project, RepositoryCache.of(workspace.store.path)
    names = {name for node in nodes for name in node.files.repos}
    trees = {name: project.pinned_tree(name) for name in sorted(names) if project.repos[name].moves}
    return [name for name, tree in trees.items() if tree and not cache.has(tree)]


def fetch_repositories(workspace: Workspace, names: Iterable[str]) -> None:
    """Fetch the trees that repositories are pinned to.

    Raises the reason why one cannot be fetched, with its place in the project.
    """
    project, names = workspace.project, list(names)
    require_for_repos(project.repos[name] for name in names)
    for name in names:
        try:
            with source_of(workspace, name, "fetch") as source:
                source.fetch(project.lock.repos[name])
        except StagewrightError as error:
            message = f"repository {name} is not in the store, and cannot be fetched: {error.message}"
            hint = f"{error.hint}\n        stagewright fetch brings everything while there is a network".lstrip()
            place = error.place or project.repo_places.get(name)
            raise StagewrightError(error.reason, message, place=place, detail=error.detail, hint=hint) from error
