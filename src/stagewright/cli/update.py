"""``stagewright update``."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import click

from stagewright.cli.common import face, progress_option, project_of, store_of
from stagewright.engine.pins import Moved, Subject, look_up, movable, pin, save
from stagewright.engine.versions import Change, changes
from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.project.model import Project
from stagewright.store.store import Store


@click.command(name="update")
@click.argument("names", nargs=-1, metavar="[REPOSITORY|SEED]...")
@click.option("-n", "--dry-run", is_flag=True, help="Look up and show what would move, and leave the lock as it is.")
@click.option(
    "--packages", is_flag=True, help="Also show which packages of the stages in the store have other versions."
)
@click.option("--json", "as_json", is_flag=True, help="Print what moved as JSON.")
@progress_option
@click.pass_context
def command(
    ctx: click.Context, names: tuple[str, ...], dry_run: bool, packages: bool, as_json: bool, progress: str
) -> None:
    """Move what stagewright.lock pins to what is newest now, and show what moved.

    Without names, all repositories and seeds move, and so does the time stamp that
    everything made carries (unless the project sets source_date_epoch). For a git
    repository the commits in between are shown, the first 20 by their subjects.

    \b
      stagewright update                    everything
      stagewright update gentoo             one repository
      stagewright update --packages -n      what would change, down to packages
    """
    project, store = project_of(ctx), store_of(ctx)
    chosen = _chosen(project, names)
    if not names and not dry_run:
        project = replace(project, lock=replace(project.lock, epoch=int(time.time())))
        save(project.lock)
    with face(progress) as listener:
        work = look_up if dry_run else pin
        project, moved = work(project, store, chosen, [listener])
        found = _changes(project, store, moved) if packages else {}
    if as_json:
        told = [
            {**item.to_dict(), "packages": [one.to_dict() for one in found.get(item.subject, [])]} for item in moved
        ]
        print(json.dumps({"project": project.info.name, "dry_run": dry_run, "pins": told}, indent=2))
        return
    for item in moved:
        print("\n".join([*item.lines(), *(f"  {one}" for one in found.get(item.subject, []))]))


def _chosen(project: Project, names: tuple[str, ...]) -> list[Subject]:
    known = movable(project)
    for name in names:
        if all(subject.name != name for subject in known):
            hint = nearest(name, [subject.name for subject in known])
            what = f"{name!r} is no repository or seed that can move"
            raise StagewrightError(Reason.UNKNOWN_NAME, what, hint=hint or "the project has none")
    return [subject for subject in known if not names or subject.name in names]


def _changes(project: Project, store: Store, moved: list[Moved]) -> dict[Subject, list[Change]]:
    repos = [item for item in moved if item.subject.table == "repos"]
    return {item.subject: changes(project, store, item.subject.name, item.old, item.new) for item in repos}
