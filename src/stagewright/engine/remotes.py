"""Remote stores in a build: what exists there is pulled before it, what it made is pushed after it.

A result that a remote has makes everything below it unnecessary: an image comes without the layers that it was made
of. A remote that fails is reported and not asked again; the build then makes the result itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.engine.plan import Plan, State
from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.events import Event, Listener, NodeNotice, ResultMoved
from stagewright.graph.node import Yields
from stagewright.project.model import Project
from stagewright.project.remotes import Remote
from stagewright.project.user_remotes import remote_files, remotes_of_files
from stagewright.remote.pull import Pulled, pull
from stagewright.remote.push import Pushed, push
from stagewright.remote.remote import RemoteStore
from stagewright.store.store import Store

AT_ONCE = 3
"""Number of results that are pulled or pushed at the same time. Each has several connections."""

_OF_HOST = (Reason.DISK_FULL, Reason.STORE_FAILED, Reason.MISSING_TOOL, Reason.HOST_FEATURE, Reason.NOT_ROOT)
"""Reasons that a remote does not cause."""


@dataclass
class Remotes:
    """The remotes of a project, in the order in which they are asked. All methods can be called by several threads."""

    stores: Sequence[RemoteStore]
    settings: Mapping[str, Remote]
    emit: Listener
    failed: set[str] = field(default_factory=set)

    def pull(self, store: Store, yields: Yields, key: str, node: str) -> bool:
        """Bring a result into the store, and the layers below a layer. Return False if no remote has all of it."""
        if store.has(yields, key) and yields is Yields.ARTIFACT:
            return True
        return any(
            all(self._pull_one(store, yields, one, node) for one in reversed(keys))
            for keys in self._stacks(store, yields, key, node)
        )

    def _stacks(self, store: Store, yields: Yields, key: str, node: str) -> Iterator[Sequence[str]]:
        """Yield the keys of the layers of a root, topmost first: those of each remote that says something else."""
        if yields is Yields.ARTIFACT:
            yield [key]
        elif store.has(yields, key):
            yield store.meta(yields, key).stack
        else:
            said: set[tuple[str, ...]] = set()
            for remote in self._asked():
                with self._reported(remote, node):
                    statement = remote.statement(yields, key)
                    if statement and statement.stack not in said:
                        said.add(statement.stack)
                        yield statement.stack

    def _pull_one(self, store: Store, yields: Yields, key: str, node: str) -> bool:
        if store.has(yields, key):
            return True
        for remote in self._asked():
            with self._reported(remote, node):
                started = time.monotonic()
                if found := pull(remote, store, yields, key):
                    self._moved(remote, node, key, found, started)
                    return True
        return store.has(yields, key)

    def _asked(self) -> Iterator[RemoteStore]:
        for remote in self.stores:
            if self.settings[remote.name].pull and remote.name not in self.failed:
                yield remote

    @contextlib.contextmanager
    def _reported(self, remote: RemoteStore, node: str) -> Iterator[None]:
        """Report a failure of a remote. One that does not answer is not asked again."""
        try:
            yield
        except (StagewrightError, OSError) as error:
            reason = getattr(error, "reason", None)
            if reason in _OF_HOST:
                raise
            if reason in (None, Reason.FETCH_FAILED, Reason.FETCH_STALLED):
                self.failed.add(remote.name)
            text = f"remote {remote.name}: {getattr(error, 'message', error)}"
            self.emit(NodeNotice(node=node, text=text))

    def _moved(self, remote: RemoteStore, node: str, key: str, found: Pulled | Pushed, started: float) -> None:
        if isinstance(found, Pulled):
            direction, sent = "pull", found.received
        else:
            direction, sent = "push", found.sent
        if sent:
            seconds = time.monotonic() - started
            self.emit(
                ResultMoved(
                    node=node,
                    key=key,
                    remote=remote.name,
                    direction=direction,
                    sent=sent,
                    size=found.size,
                    seconds=seconds,
                )
            )

    def pull_for(self, plan: Plan, store: Store) -> bool:
        """Pull what a plan would build and a remote has. Return True if anything came."""
        if not any(True for _ in self._asked()):
            return False
        came, asked = False, set[str]()
        level = [name for name in plan.sinks if plan.steps[name].state is State.BUILD]
        with contextlib.ExitStack() as held, ThreadPoolExecutor(AT_ONCE) as pool:
            keys = [step.key.digest for step in plan.to_build]
            for remote in self._asked():
                with self._reported(remote, remote.name):
                    held.enter_context(remote.lease(keys))
            while level:
                asked.update(level)
                steps = [plan.steps[name] for name in level]
                found = list(
                    pool.map(lambda step: self.pull(store, step.node.yields, step.key.digest, step.node.id), steps)
                )
                came = came or any(found)
                below = (
                    source
                    for step, there in zip(steps, found, strict=True)
                    if not there
                    for source in step.node.inputs.values()
                )
                level = [
                    name for name in dict.fromkeys(below) if name not in asked and plan.steps[name].state is State.BUILD
                ]
        return came

    def push(self, plan: Plan, store: Store, names: Sequence[str]) -> None:
        """Give the results of a plan that are in the store to some remotes. Raises the first failure, at the end."""
        chosen = [remote for remote in self.stores if remote.name in names]
        work = [
            (remote, step)
            for remote in chosen
            for step in plan.steps.values()
            if store.has(step.node.yields, step.key.digest)
        ]
        failures: list[StagewrightError | OSError] = []

        def one(remote: RemoteStore, yields: Yields, key: str, node: str) -> None:
            started = time.monotonic()
            try:
                self._moved(remote, node, key, push(remote, store, yields, key), started)
            except (StagewrightError, OSError) as error:
                failures.append(error)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for remote, step in work:
                pool.submit(one, remote, step.node.yields, step.key.digest, step.node.id)
        if failures:
            raise failures[0]

    def pushed_always(self) -> list[str]:
        """Return the names of the remotes that get the results of each build."""
        return [remote.name for remote in self.stores if self.settings[remote.name].push]

    def writable(self) -> list[str]:
        """Return the names of the remotes that accept results."""
        return [remote.name for remote in self.stores if remote.writable]


def remote_settings(project: Project | None) -> dict[str, Remote]:
    """Return the remotes of a project, of this computer and of the user, by name."""
    return {**(project.remotes if project else {}), **remotes_of_files(remote_files())}


@contextlib.contextmanager
def opened_remotes(project: Project | None, emit: Listener, folder: Path | None = None) -> Iterator[Remotes]:
    """Yield the remotes of a project, and end their connections at the end. Nothing is connected before it is used."""
    settings = remote_settings(project)
    base = folder or (project.folder if project else Path.cwd())
    safe = _OneByOne(emit)
    order = sorted(settings, key=lambda name: (-settings[name].priority, name))
    stores: list[RemoteStore] = []
    try:
        for name in order:
            stores.append(RemoteStore.of(name, settings[name], base, safe))
        yield Remotes(stores, settings, safe)
    finally:
        for store in stores:
            store.close()


@contextlib.contextmanager
def opened_remote(
    word: str, project: Project | None, emit: Listener, folder: Path | None = None
) -> Iterator[RemoteStore]:
    """Yield the remote that a word names: a name of the settings, a folder, or an address. Raises: UNKNOWN_NAME."""
    settings = remote_settings(project)
    if word in settings:
        with opened_remotes(project, emit, folder) as found:
            yield next(store for store in found.stores if store.name == word)
        return
    if "/" not in word:
        hint = f"{nearest(word, settings)}; or name a folder with a slash, or an address" if settings else ""
        hint = hint or "name a folder with a slash, or an address such as sftp://HOST/FOLDER"
        raise StagewrightError(Reason.UNKNOWN_NAME, f"unknown remote {word!r}", hint=hint)
    store = RemoteStore.of(word, Remote.model_validate({"url": word}), Path.cwd(), _OneByOne(emit))
    try:
        yield store
    finally:
        store.close()


class _OneByOne:
    """A listener that several threads can call: events are passed on one by one."""

    def __init__(self, emit: Listener) -> None:
        self._emit = emit
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._emit(event)


def push_names(remotes: Remotes, *, push: bool | None) -> list[str]:
    """Return the names of the remotes that get the results of a build (``BuildOptions.push``).

    Raises: USAGE if all are asked for and there is none.
    """
    if not push:
        return [] if push is False else remotes.pushed_always()
    names = remotes.writable()
    if not names:
        hint = 'add [remotes.NAME] with url = "..." to the project'
        raise StagewrightError(Reason.USAGE, "--push: no remote that accepts results", hint=hint)
    return names
