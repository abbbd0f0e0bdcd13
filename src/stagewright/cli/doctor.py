"""``stagewright doctor``."""

from __future__ import annotations

import json
import sys

import click

from stagewright.arch import host_machine
from stagewright.cli.common import project_of, store_of
from stagewright.engine.doctor import examine, host_summary
from stagewright.errors import Exit, Reason, StagewrightError
from stagewright.kinds.registry import by_kind, graph_of
from stagewright.vm.machine_spec import PLATFORMS


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@click.option("--probe", is_flag=True, help="Also start a tiny guest to see whether KVM works.")
@click.pass_context
def command(ctx: click.Context, as_json: bool, probe: bool) -> int:
    """Check whether this machine has what the project needs, and name what to install.

    Outside a project, everything that any kind could need is checked. The same
    checks run before each build.
    """
    try:
        project = project_of(ctx)
        nodes, repos = list(graph_of(project)), list(project.repos.values())
        kinds, programs = {node.kind for node in nodes}, {tool for node in nodes for tool in node.tools}
    except StagewrightError as error:
        if error.reason is not Reason.NO_PROJECT:
            raise
        own = [platform.qemu for name, platform in PLATFORMS.items() if name == host_machine().qemu]
        kinds, programs, repos = set(by_kind()), set(own), []
    store = store_of(ctx)
    checks = examine(store, kinds, programs, repos)
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
        from stagewright.vm import accel  # noqa: PLC0415

        acceleration = accel.probe(cache=store.cache("acceleration.json"))
        print(f"guests run by {acceleration.name}: {acceleration.why}", file=sys.stderr if as_json else sys.stdout)
    bad = [check for check in checks if not check.fine]
    return int(Exit.HOST if bad else Exit.OK)
