"""``stagewright verify``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from stagewright.cli.common import session_of, store_of, targets_argument
from stagewright.cli.verify_release import Trust, key_options, verify_releases
from stagewright.engine.verify import Verification, verify
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener
from stagewright.store.integrity import Finding, State
from stagewright.ui.plain import Plain
from stagewright.ui.text import plural, shown

SHOWN = 100
"""Number of differences of one result that are printed; --json has up to 1000."""


@click.command(name="verify")
@targets_argument
@click.option("--store", "everything", is_flag=True, help="Verify all results in the store, of all projects.")
@click.option("--keep", is_flag=True, help="Leave damaged results where they are.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@key_options
@click.pass_context
def command(
    ctx: click.Context,
    targets: tuple[str, ...],
    trust: Trust,
    *,
    everything: bool,
    keep: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Verify results in the store, or a published release.

    Results are compared with what was built. Every file is read: its content, mode, owner, extended attributes and, in
    roots, its time. Missing and added files are found, too. Without a name, all results of the project are verified,
    with everything that they were made from.

    Damaged results, and the results that were made from them, are moved to the folder damaged/ of the store. The next
    build makes them again; stagewright gc removes the folder. The exit code is 4 if anything is damaged.

    An argument with a slash is a release: a path, or an address of a web server. Its signatures, digests and
    completeness are verified, by the keys that you name. An older version than one that was verified before is refused.
    It needs no project.

    \b
      stagewright verify iso                one stage and what it was made from
      stagewright verify --store            all projects
      stagewright verify --key release.asc https://example.org/live/latest-live.txt
      stagewright verify --fingerprint 0123...4567 ./live/1.0
    """
    if any("/" in target for target in targets):
        _check_releases(targets, alone=not everything and not keep)
        verify_releases(targets, trust, as_json=as_json, quiet=quiet)
        return
    if trust.given:
        raise StagewrightError(Reason.USAGE, "verify: keys are for releases", hint="a path needs a slash: ./FOLDER")
    if everything and targets:
        raise StagewrightError(Reason.USAGE, "verify: names and --store exclude each other", hint="leave one out")
    listener: Listener = (lambda _: None) if quiet else Plain(sys.stderr)
    if everything:
        found = verify(store_of(ctx), None, listener, keep=keep)
    else:
        session = session_of(ctx, listener)
        session.check(targets, keys=False)
        found = session.verify(targets, keep=keep)
    if as_json:
        print(json.dumps(_data(found), indent=2))
    else:
        _print(found)
    if found.bad:
        raise _error(found)


def _check_releases(targets: Sequence[str], *, alone: bool) -> None:
    """Raise USAGE if something else than releases is to be verified, too."""
    if not alone or not all("/" in target for target in targets):
        what = "verify: releases, names and --store exclude each other"
        raise StagewrightError(Reason.USAGE, what, hint="run a command for each")


def _print(found: Verification) -> None:
    for finding in found.bad:
        for damage in finding.damages[:SHOWN]:
            print(shown(f"{finding.node}: {damage}"))
        if len(finding.damages) > SHOWN:
            print(f"{finding.node}: {len(finding.damages) - SHOWN} more differences")
    unknown = sum(finding.state is State.UNKNOWN for finding in found.findings)
    if unknown:
        print(f"{plural(unknown, 'result')} without digests, made by a former version of Stagewright")
    unreadable = sum(finding.state is State.UNREADABLE for finding in found.findings)
    if unreadable:
        print(f"{plural(unreadable, 'result')} not read: root, or builds of another user, made them")
    whole = sum(finding.state is State.WHOLE for finding in found.findings)
    print(f"{plural(len(found.findings), 'result')}: {whole} whole, {len(found.bad)} damaged or suspect")


def _error(found: Verification) -> StagewrightError:
    names = ", ".join(finding.node for finding in found.bad[:10])
    hint = "stagewright build makes them again" if found.set_aside else "stagewright verify sets them aside"
    return StagewrightError(Reason.DAMAGED, f"{plural(len(found.bad), 'result')} damaged: {names}", hint=hint)


def _data(found: Verification) -> dict[str, Any]:
    return {"set_aside": found.set_aside, "results": [_finding(finding) for finding in found.findings]}


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "node": finding.node,
        "key": finding.key,
        "folder": finding.place,
        "state": finding.state.value,
        "bytes": finding.size,
        "differences": [dataclasses.asdict(damage) for damage in finding.damages],
    }
