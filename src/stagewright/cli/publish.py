"""``stagewright publish``."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from stagewright.cli.common import session_of
from stagewright.cli.complete import complete_releases
from stagewright.engine.session import Session
from stagewright.errors import ProblemsError, Reason, StagewrightError, nearest
from stagewright.events import Listener
from stagewright.kinds.releases.release import Release
from stagewright.publish.open_target import REGISTRY, open_target
from stagewright.publish.pages import Pages
from stagewright.publish.publisher import LocalRelease, Published, Publisher
from stagewright.publish.registry import Registry
from stagewright.publish.target import TargetOptions
from stagewright.ui.plain import Plain
from stagewright.ui.text import plural, size


@click.command(name="publish")
@click.argument("release", metavar="RELEASE", shell_complete=complete_releases)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--dry-run", is_flag=True, help="Print what would be uploaded and removed.")
@click.option("--ssh-config", type=click.Path(path_type=Path, exists=True), help="A configuration for ssh.")
@click.option("--endpoint", metavar="URL", help="The address of an S3 service other than Amazon's.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.pass_context
def command(
    ctx: click.Context,
    release: str,
    targets: tuple[str, ...],
    *,
    dry_run: bool,
    ssh_config: Path | None,
    endpoint: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Upload a release to folders, servers and registries.

    The release must be built. Users never see a half version: files are uploaded under
    hidden names and verified by reading them back; the pointer to the newest version is
    written last. An upload that was cut goes on with the same command. Old versions are
    removed by the rules in `keep` of the release.

    \b
      stagewright publish live /srv/www/live
      stagewright publish live sftp://user@host/srv/www/live
      stagewright publish live rsync://user@host/srv/www/live    by ssh
      stagewright publish live s3://bucket/live --dry-run
      stagewright publish live oci://registry.example.org/demo/live
    """
    listener: Listener = (lambda _: None) if quiet or as_json else Plain(sys.stderr)
    session = session_of(ctx)
    model = _release(session, release)
    local = LocalRelease.read(session.result(release))
    pages = Pages(model.url or "", session.project.path(model.templates) if model.templates else None)
    options = TargetOptions(ssh_config, endpoint)
    found: list[Published] = []
    problems: list[StagewrightError] = []
    for target in targets:
        try:
            found.append(_publish(target, local, model, pages, options, listener, dry_run=dry_run))
        except StagewrightError as error:
            problems.append(error)
    if as_json:
        failed = [error.to_dict() for error in problems]
        print(json.dumps({"published": [asdict(one) for one in found], "problems": failed}, indent=2))
    else:
        for one in found:
            print(_line(one))
    if problems:
        raise problems[0] if len(problems) == 1 else ProblemsError(problems)


def _release(session: Session, name: str) -> Release:
    """Return the settings of a release of the project. Raises: UNKNOWN_NAME."""
    known = session.project.entries["releases"]
    if name not in known:
        what = f"{name!r}: not a release of the project"
        hint = nearest(name, known) or "add [releases.NAME] with artifacts = [...]"
        raise StagewrightError(Reason.UNKNOWN_NAME, what, hint=hint)
    model = known[name].model
    assert isinstance(model, Release)
    return model


def _publish(
    word: str,
    local: LocalRelease,
    model: Release,
    pages: Pages,
    options: TargetOptions,
    listener: Listener,
    *,
    dry_run: bool,
) -> Published:
    """Publish a release to one target."""
    if word.lower().startswith(REGISTRY):
        return Registry.of(word, model.keep).publish(local, listener, dry_run=dry_run)
    with contextlib.closing(open_target(word, options)) as target:
        return Publisher(local, target, listener, model.keep, pages).publish(dry_run=dry_run)


def _line(done: Published) -> str:
    verb = "would be uploaded" if done.dry_run else "uploaded"
    text = f"{done.target}: {done.version}, {plural(done.uploaded, 'file')} {verb} ({size(done.bytes)})"
    return text + (f"; removed: {', '.join(done.removed)}" if done.removed else "")
