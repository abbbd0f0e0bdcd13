"""``stagewright doctor``."""

from __future__ import annotations

import json
import sys

import click

from stagewright.arch import host_machine
from stagewright.cli.common import session_or_none, store_folder
from stagewright.engine.doctor import Check, examine, host_summary
from stagewright.errors import Exit
from stagewright.kinds.registry import by_kind
from stagewright.store.reading import ReadOnlyStore
from stagewright.store.store import Store
from stagewright.vm.machine_spec import PLATFORMS


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@click.option("--probe", is_flag=True, help="Also start a small virtual machine, to find out if KVM works.")
@click.pass_context
def command(ctx: click.Context, as_json: bool, probe: bool) -> int:
    """Check that this machine has everything that the project needs.

    Each line is one check; a check that fails names the package to install, or what to
    change. The same checks run before each build. Outside of a project, the needs of
    all kinds are checked. The exit code is 3 if a check fails.
    """
    store = ReadOnlyStore(store_folder(ctx))
    checks = _checks(ctx, store)
    if as_json:
        rows = [
            {"check": c.name, "fine": c.fine, "found": c.found, "remedy": "" if c.fine else c.remedy} for c in checks
        ]
        print(json.dumps(rows, indent=2))
    else:
        print(host_summary())
        for check in checks:
            print(f"{'ok     ' if check.fine else 'MISSING'} {check.name}: {check.found}")
            if not check.fine:
                print(f"        {check.remedy}")
    if probe:
        from stagewright.vm import accel

        acceleration = accel.probe(cache=store.memory("acceleration.json"))
        print(f"guests run by {acceleration.name}: {acceleration.why}", file=sys.stderr if as_json else sys.stdout)
    bad = [check for check in checks if not check.fine]
    return int(Exit.HOST if bad else Exit.OK)


def _checks(ctx: click.Context, store: Store) -> list[Check]:
    """Return the checks for the project; for all kinds and this machine's emulator if there is no project."""
    if session := session_or_none(ctx, reads_only=True):
        return session.doctor()
    own = [platform.qemu for name, platform in PLATFORMS.items() if name == host_machine().qemu]
    return examine(store, by_kind(), own)
