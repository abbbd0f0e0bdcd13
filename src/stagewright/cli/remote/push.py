"""``stagewright store push``."""

from __future__ import annotations

import click

from stagewright.cli.common import progress_listener, progress_option, session_of, targets_argument
from stagewright.cli.remote.common import remote_argument
from stagewright.engine.remotes import opened_remote
from stagewright.errors import Reason, StagewrightError
from stagewright.remote.caches import CACHES, push_cache
from stagewright.remote.push import push
from stagewright.store.in_use import in_use
from stagewright.ui.streams import note
from stagewright.ui.text import size


@click.command(name="push")
@remote_argument
@targets_argument
@click.option("--cache", "caches", multiple=True, type=click.Choice(CACHES), help="Also give it this cache.")
@click.option("--only", is_flag=True, help="Only the named results, without those that they were made of.")
@progress_option
@click.pass_context
def command(
    ctx: click.Context, remote: str, targets: tuple[str, ...], caches: tuple[str, ...], progress: str, *, only: bool
) -> None:
    """Give results to a remote store.

    Without a name: all results of the project that are in the store, with what they
    were made of. Only what the remote does not have is sent, and of a result that it
    has in a former version only what changed. A push that was cut goes on.
    """
    with progress_listener(progress) as listener:
        session = session_of(ctx, listener)
        plan = session.plan(targets)
        names = plan.sinks if only else list(plan.steps)
        steps = [plan.steps[name] for name in names]
        present = [step for step in steps if session.store.has(step.node.yields, step.key.digest)]
        if not present and not caches:
            hint = "stagewright build"
            raise StagewrightError(Reason.NOT_BUILT, "nothing to push: no result is in the store", hint=hint)
        with (
            in_use(session.store, [step.key.digest for step in present]),
            opened_remote(remote, session.project, listener) as opened,
        ):
            done = [push(opened, session.store, step.node.yields, step.key.digest) for step in present]
            files = [push_cache(opened, session.store, cache) for cache in caches]
    new = [one for one in done if not one.present]
    sent = sum(one.sent for one in done) + sum(one.size for one in files)
    print(f"{len(new)} results and {sum(one.files for one in files)} files pushed to {remote}, {size(sent)} sent")
    if len(done) > len(new):
        note(f"{len(done) - len(new)} were there")
