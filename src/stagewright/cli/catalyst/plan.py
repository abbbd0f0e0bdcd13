"""``stagewright catalyst plan``."""

from __future__ import annotations

import json
from typing import Any

import click

from stagewright.cli.catalyst.report import print_left_out, print_notices, strict_option
from stagewright.cli.common import store_folder
from stagewright.cli.options import specs_options
from stagewright.dropin.project import Loaded, Specs, load_specs
from stagewright.engine.plan import Plan
from stagewright.engine.session import Session
from stagewright.errors import Exit, StagewrightError
from stagewright.store.reading import ReadOnlyStore
from stagewright.ui.plans import plan_data, plan_lines
from stagewright.ui.text import plural


@click.command(name="plan")
@specs_options
@strict_option
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--keys", is_flag=True, help="Print everything that goes into each key, as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    specs: Specs,
    strict: bool,
    as_json: bool,
    keys: bool,
) -> int:
    """Show what a build of specs would make, and why.

    Nothing is built, and the store need not be writable. SPEC is a spec, or a folder
    whose *.spec files are read. With the configuration of catalyst-auto no SPEC is
    needed. Each spec becomes one or more entries of a project; a livecd-stage2 becomes
    the live root, the payload and the ISO.

    Missing seeds, snapshots and files are listed, and planned as if they existed. A spec
    with an error or with a key that is not supported is left out, together with the
    specs that are built on it. The errors are printed after the plan, and the exit code
    is then 2.

    \b
      stagewright catalyst plan releases/specs/amd64 --conf catalyst.conf
      stagewright catalyst plan x.spec --repo gentoo=/var/db/repos/gentoo --json
    """
    folder = store_folder(ctx)
    everything = load_specs(specs, ReadOnlyStore(folder))
    loaded = everything.usable(strict=strict)
    plan = Session(loaded.project(lenient=True), folder, reads_only=True).plan()
    if as_json:
        print(json.dumps(_data(loaded, plan, everything.converted.refused), indent=2))
    elif keys:
        print(json.dumps({name: step.key.data for name, step in plan.steps.items()}, indent=2, sort_keys=True))
    else:
        _print(loaded, plan)
    if not as_json:
        print_left_out(loaded)
    return Exit.INVALID if loaded.left_out else Exit.OK


def _print(loaded: Loaded, plan: Plan) -> None:
    print_notices(loaded.notices)
    missing: dict[str, list[StagewrightError]] = {}
    for problem in plan.project.missing:
        missing.setdefault(problem.hint, []).append(problem)
    print("\n".join(plan_lines(plan)))
    if missing:
        print(f"{plural(len(missing), 'file')} missing, which a build needs:")
    for hint, problems in missing.items():
        more = f" and {plural(len(problems) - 1, 'other place')}" if len(problems) > 1 else ""
        print(f"  {problems[0].place}{more}: {hint}")


def _data(loaded: Loaded, plan: Plan, refused: list[StagewrightError]) -> dict[str, Any]:
    outputs: dict[str, list[str]] = {}
    specs: dict[str, str] = {draft.name: draft.comment for draft in loaded.converted.drafts if draft.table == "stages"}
    for output, placed in loaded.placed(plan.project):
        outputs.setdefault(output.entry, []).append(str(placed.path))
    data = plan_data(plan)
    for node in data["nodes"]:
        node["spec"] = specs.get(node["node"])
        node["outputs"] = outputs.get(node["node"], [])
    errors: dict[str, list[StagewrightError]] = {
        "missing": list(plan.project.missing),
        "refused": refused,
        "left_out": loaded.left_out,
    }
    told = {name: [error.to_dict() for error in found] for name, found in errors.items()}
    return {**data, **told, "notices": [notice.to_dict() for notice in loaded.notices]}
