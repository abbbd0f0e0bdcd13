"""``stagewright-catalyst``: the command line of Catalyst 4.1, to be linked as ``catalyst`` for those who call that."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import click

from stagewright import __version__
from stagewright.catalyst.catalyst_conf import CatalystConfig, read_config
from stagewright.catalyst.spec import read_spec
from stagewright.catalyst.spec_keys import Target
from stagewright.dropin.build import build
from stagewright.dropin.purge import purge
from stagewright.dropin.snapshot import Snapshots
from stagewright.errors import Exit, ProblemsError, Reason, StagewrightError
from stagewright.run import restart_in_utf8_mode
from stagewright.store.store import Store, default_store
from stagewright.ui.catalyst import CatalystLog, Level
from stagewright.ui.streams import flush_output, prepare_streams

CONF = Path("/etc/catalyst/catalyst.conf")
"""What Catalyst reads when no ``-c`` is given."""

CRITICAL, FAILED = 1, 2
"""Catalyst's exit codes: what was asked for cannot be begun; it was begun, and failed."""


@dataclass(frozen=True)
class Asked:
    """The command line."""

    conf: tuple[Path, ...]
    file: Path | None
    snapshot: str | None
    clear_autoresume: bool
    purge: bool
    purgeonly: bool
    purgetmponly: bool
    offline: bool
    store: Path | None
    ignored: tuple[str, ...]


REFUSED = {
    "fetchonly": ("-F, --fetchonly", "sources are fetched while a stage is built, and kept for the next one"),
    "enter_chroot": ("--enter-chroot", "stagewright catalyst convert makes a project, and stagewright shell enters it"),
    "cli": ("-C, --cli", "Catalyst 4 has none: write the keys into a spec, and name it with -f"),
}
"""Options that are understood and not honoured, with the way to go."""

IGNORED = {
    "versioned_cachedir": "--versioned-cachedir",
    "unversioned_cachedir": "--unversioned-cachedir",
    "trace": "--trace",
    "profile": "--profile",
}
"""Options that have no effect here; the first two have none in Catalyst either."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-a", "--clear-autoresume", "-x", is_flag=True, help="Nothing to clear: a build goes on where it was.")
@click.option(
    "-c",
    "--config",
    "conf",
    multiple=True,
    type=click.Path(path_type=Path),
    help=f"A catalyst.conf; of several the last word counts (default: {CONF}).",
)
@click.option("-f", "--file", "file", type=click.Path(path_type=Path), help="Build what this spec says.")
@click.option(
    "-s",
    "--snapshot",
    metavar="git-treeish",
    help="Make a snapshot of this git-treeish of the repository; `stable` updates the repository first.",
)
@click.option("-p", "--purge", is_flag=True, help="First remove the spec's half-done work and its packages/ folder.")
@click.option("-P", "--purgeonly", is_flag=True, help="Remove these, and stop.")
@click.option("-T", "--purgetmponly", is_flag=True, help="Remove the spec's half-done work, and stop.")
@click.option("--offline", is_flag=True, envvar="STAGEWRIGHT_OFFLINE", help="Do not update the repository.")
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="STAGEWRIGHT_STORE",
    help="The store of stagewright (default: /var/cache/stagewright for root).",
)
@click.option("-d", "--debug", is_flag=True, help="Log everything.")
@click.option("-v", "--verbose", is_flag=True, help="Log the steps of each stage as well.")
@click.option(
    "--log-level",
    type=click.Choice([level.name.lower() for level in Level]),
    default="notice",
    show_default=True,
    help="What to log.",
)
@click.option("--log-file", type=click.Path(path_type=Path, dir_okay=False), help="Write the log there.")
@click.option("--color/--nocolor", default=None, help="Colours in the log (default: on a terminal).")
@click.option("-F", "--fetchonly", is_flag=True, help="Refused: fetching is a step of building.")
@click.option("--enter-chroot", is_flag=True, help="Refused: see stagewright shell.")
@click.option("-C", "--cli", multiple=True, metavar="KEY=VALUE", help="Refused, as Catalyst 4 has none.")
@click.option("--versioned-cachedir", is_flag=True, help="Without effect, as in Catalyst.")
@click.option("--unversioned-cachedir", is_flag=True, help="Without effect, as in Catalyst.")
@click.option("--trace", is_flag=True, help="Without effect: defects always show their trace.")
@click.option("--profile", is_flag=True, help="Without effect.")
@click.version_option(__version__, "-V", "--version", message="catalyst (stagewright %(version)s)")
def command(**options: Any) -> int:
    """Build what Catalyst's specs say, with the command line of Catalyst 4.1.

    Linked as catalyst into the search path, this is what catalyst-auto and
    scripts like it call. Specs and catalyst.conf are read as they are; results go
    into the storedir under Catalyst's names. What is in the store already is not
    built again. `stagewright catalyst keys` tells how each key is honoured.

    \b
      catalyst -s stable                   snapshots/gentoo-COMMIT.sqfs
      catalyst -f stage1.spec              builds/REL_TYPE/stage1-...
      catalyst -c my.conf -a -f x.spec     as catalyst-auto calls it
      catalyst --purgetmponly -f x.spec    remove what a failed build left

    Exit codes: 0 done, 1 cannot be begun (a spec, a configuration or this
    machine), 2 failed, 130 interrupted.
    """
    level = Level.DEBUG if options["debug"] else Level[str(options["log_level"]).upper()]
    if options["verbose"]:
        level = min(level, Level.INFO)
    with _stream(options["log_file"]) as stream:
        color = stream.isatty() if options["color"] is None else options["color"]
        log = CatalystLog(stream, level, color=color)
        asked = _asked(options)
        for name in asked.ignored:
            log.warning(f"{name} has no effect")
        return _guarded(asked, log)


def _asked(options: Mapping[str, Any]) -> Asked:
    for name, (shown, why) in REFUSED.items():
        if options[name]:
            raise click.UsageError(f"{shown} is not there: {why}")
    if (options["file"] is None) == (options["snapshot"] is None):
        raise click.UsageError("please specify one of either -f or -s")
    values = {name: options[name] for name in Asked.__annotations__ if name in options}
    return Asked(**values, ignored=tuple(shown for name, shown in IGNORED.items() if options[name]))


@contextlib.contextmanager
def _stream(file: Path | None) -> Iterator[TextIO]:
    if file is None:
        yield sys.stdout
        return
    try:
        stream = file.open("a", encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"--log-file {file}: {error.strerror}") from error
    with stream:
        yield stream


def _guarded(asked: Asked, log: CatalystLog) -> int:
    """Do it, with errors in the log and Catalyst's exit codes."""
    try:
        _do(asked, log)
    except StagewrightError as error:
        reasons = {problem.reason for problem in (error.problems if isinstance(error, ProblemsError) else [error])}
        exits = {Reason(reason).exit for reason in reasons}
        if Exit.BUG in exits:
            log.failure(error, Level.CRITICAL)
            return Exit.BUG
        if Exit.INTERRUPTED in exits:
            log.failure(error)
            return Exit.INTERRUPTED
        begun = Exit.FAILED in exits
        log.failure(error, Level.ERROR if begun else Level.CRITICAL)
        return FAILED if begun else CRITICAL
    except KeyboardInterrupt:
        log.say(Level.CRITICAL, "stopped")
        return Exit.INTERRUPTED
    except Exception:  # noqa: BLE001  a defect of ours, shown in full
        log.say(Level.CRITICAL, traceback.format_exc())
        log.say(Level.CRITICAL, "This is a defect of stagewright: please report it with the lines above.")
        return Exit.BUG
    return Exit.OK


def _do(asked: Asked, log: CatalystLog) -> None:
    files = list(asked.conf) or [CONF]
    for file in files:
        log.notice(f"Loading configuration file: {file}")
    problems: list[StagewrightError] = []
    config = read_config(files, problems)
    if problems:
        raise ProblemsError(problems)
    snapshots = _snapshots(config, log)
    if asked.snapshot is not None:
        snapshots.make(asked.snapshot, offline=asked.offline)
        return
    assert asked.file
    log.notice(f"Processing spec file: {asked.file}")
    spec = read_spec(asked.file)
    if spec.text("target") == Target.SNAPSHOT:
        snapshots.make(spec.text("snapshot_treeish") or "stable", offline=asked.offline)
        return
    store = Store(asked.store or default_store())
    if asked.clear_autoresume:
        log.notice(
            "There is nothing to clear: what is finished is known by its key, and nothing else is taken up again"
        )
    if asked.purge or asked.purgeonly or asked.purgetmponly:
        purge(spec, config, store, log, packages=not asked.purgetmponly)
    if not (asked.purgeonly or asked.purgetmponly):
        with tempfile.TemporaryDirectory(prefix="stagewright-catalyst.") as folder:
            build(asked.file, files, store, log, Path(folder))


def _snapshots(config: CatalystConfig, log: CatalystLog) -> Snapshots:
    storedir = Path(config.storedir)
    repos = Path(config.repos_storedir) if config.repos_storedir else storedir / "repos"
    key = Path(config.repo_openpgp_key_path) if config.repo_openpgp_key_path else None
    return Snapshots(storedir, config.repo_name, repos, key, log.notice)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with Catalyst's codes."""
    restart_in_utf8_mode()
    prepare_streams()
    try:
        result: Any = command.main(arguments, prog_name="catalyst", standalone_mode=False)
        code = int(result) if isinstance(result, int) else Exit.OK
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        code = FAILED  # the code of argparse, which Catalyst uses
    except (click.Abort, KeyboardInterrupt):
        code = Exit.INTERRUPTED
    flush_output()
    sys.exit(code)
