"""Parts of the commands that work with remote stores."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

from stagewright.cli.common import progress_listener, session_or_none, store_of
from stagewright.engine.plan import Step
from stagewright.engine.remotes import opened_remote
from stagewright.engine.session import Session
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener
from stagewright.graph.node import Yields
from stagewright.remote.remote import RemoteStore

Function = TypeVar("Function", bound=Callable[..., Any])


def remote_argument(function: Function) -> Function:
    """Add the argument for a remote."""
    return click.argument("remote")(function)


@contextlib.contextmanager
def remote_of(ctx: click.Context, word: str, progress: str) -> Iterator[tuple[RemoteStore, Listener]]:
    """Yield the remote that a command line names, and the listener for progress."""
    session = session_or_none(ctx, reads_only=True)
    with (
        progress_listener(progress) as listener,
        opened_remote(word, session.project if session else None, listener) as remote,
    ):
        yield remote, listener


def chosen_steps(session: Session, targets: Sequence[str]) -> list[Step]:
    """Return the steps of the plan of some targets."""
    return list(session.plan(targets).steps.values())


def find_result(remote: RemoteStore, prefix: str) -> tuple[Yields, str]:
    """Return the one result of a remote whose key begins with a prefix. Raises: UNKNOWN_NAME."""
    found = [(yields, key) for yields, key in remote.results() if key.startswith(prefix)]
    if len(found) != 1:
        what = f"key {prefix}: {'not found' if not found else 'several results'} in {remote.name}"
        raise StagewrightError(Reason.UNKNOWN_NAME, what, hint=f"stagewright store ls {remote.name}")
    return found[0]


__all__ = ["chosen_steps", "find_result", "remote_argument", "remote_of", "store_of"]
