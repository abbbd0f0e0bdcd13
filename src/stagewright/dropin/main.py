"""``stagewright-catalyst``: the command line of Catalyst 4.1, for scripts that call ``catalyst``."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import click

from stagewright import __version__
from stagewright.catalyst.auto import Notice
from stagewright.catalyst.catalyst_conf import CatalystConfig, read_config
from stagewright.catalyst.spec import read_spec
from stagewright.catalyst.spec_keys import Target
from stagewright.dropin.build import build
from stagewright.dropin.purge import purge
from stagewright.dropin.snapshot import Snapshots
from stagewright.engine.worker import disk_error
from stagewright.errors import Exit, ProblemsError, Reason, StagewrightError
from stagewright.run import UMASK, restart_in_utf8_mode
from stagewright.store.place import default_store
from stagewright.store.store import Store
from stagewright.temporary import temporary_folder
from stagewright.ui.catalyst import CatalystLog, Level
from stagewright.ui.streams import flush_output, prepare_streams, unfiltered

CONF = Path("/etc/catalyst/catalyst.conf")
"""The configuration without ``-c``, as in Catalyst."""

CRITICAL, FAILED = 1, 2
"""Exit codes of Catalyst: the work cannot start; the work failed, or the spec has an error."""


@dataclass(frozen=True)
class Request:
    """The options of the command line."""

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
    "fetchonly": ("-F, --fetchonly", "each build fetches its sources, and keeps them for the next one"),
    "enter_chroot": ("--enter-chroot", "use stagewright catalyst convert, then stagewright shell in the project"),
    "cli": ("-C, --cli", "Catalyst 4 does not have it; write the keys into a spec, and use -f"),
}
"""Options of older versions that are errors, with what to do instead."""

IGNORED = {
    "versioned_cachedir": "--versioned-cachedir",
    "unversioned_cachedir": "--unversioned-cachedir",
    "trace": "--trace",
    "profile": "--profile",
}
"""Options without effect; in Catalyst, the first two have no effect either."""


class PrefixCommand(click.Command):
    """A command whose long options can be shortened as long as they are unique, as by argparse."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Replace shortened options by their full names, and parse the command line."""
        known = [name for parameter in self.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)]
        end = args.index("--") if "--" in args else len(args)
        full = [self._full(word, known, ctx) if word.startswith("--") else word for word in args[:end]]
        return super().parse_args(ctx, [*full, *args[end:]])

    def _full(self, word: str, known: Sequence[str], ctx: click.Context) -> str:
        name, separator, value = word.partition("=")
        found = [option for option in known if option.startswith(name)]
        if name in known or not found:
            return word
        if len(found) > 1:
            raise click.UsageError(f"ambiguous option: {name} could match {', '.join(found)}", ctx)
        return f"{found[0]}{separator}{value}"


@click.command(cls=PrefixCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-a", "--clear-autoresume", is_flag=True, help="No effect: there is nothing to clear.")
@click.option(
    "-c",
    "--configs",
    "conf",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help=f"A catalyst.conf. If several set a key, the last one counts (default: {CONF}).",
)
@click.option("-f", "--file", "file", type=click.Path(path_type=Path, exists=True), help="Build this spec.")
@click.option(
    "-s",
    "--snapshot",
    metavar="git-treeish",
    help="Make a snapshot of this git-treeish of the repository; 'stable' updates the repository first.",
)
@click.option("-p", "--purge", is_flag=True, help="First remove the spec's unfinished work and packages/ folder.")
@click.option("-P", "--purgeonly", is_flag=True, help="Only remove the spec's unfinished work and packages/ folder.")
@click.option("-T", "--purgetmponly", is_flag=True, help="Only remove the spec's unfinished work.")
@click.option("--offline", is_flag=True, envvar="STAGEWRIGHT_OFFLINE", help="Do not update the repository.")
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="STAGEWRIGHT_STORE",
    help="The store of Stagewright (default: /var/cache/stagewright for root).",
)
@click.option("-d", "--debug", is_flag=True, help="Log everything.")
@click.option("-v", "--verbose", is_flag=True, help="Also log the steps of each stage.")
@click.option(
    "--log-level",
    type=click.Choice([level.name.lower() for level in Level]),
    help="The lowest level of lines to log (default: notice). It wins over -d and -v.",
)
@click.option(
    "--log-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append the log to this file.",
)
@click.option("--color/--nocolor", default=None, help="Use colours in the log (default: on a terminal).")
@click.option("-F", "--fetchonly", is_flag=True, help="An error: each build fetches its sources.")
@click.option("--enter-chroot", is_flag=True, help="An error: use stagewright shell.")
@click.option("-C", "--cli", multiple=True, metavar="KEY=VALUE", help="An error, as in Catalyst 4.")
@click.option("--versioned-cachedir", is_flag=True, help="No effect, as in Catalyst.")
@click.option("--unversioned-cachedir", is_flag=True, help="No effect, as in Catalyst.")
@click.option("--trace", is_flag=True, help="No effect: a defect always shows its traceback.")
@click.option("--profile", is_flag=True, help="No effect.")
@click.version_option(__version__, "-V", "--version", message="catalyst (stagewright %(version)s)")
def command(**options: Any) -> int:
    """Build Catalyst's specs with the command line of Catalyst 4.1.

    Link this command as "catalyst" into the search path, so that catalyst-auto and
    similar scripts call it. Specs and catalyst.conf need no change. Results go into
    the storedir under Catalyst's names. Results that are in the store are not built
    again. `stagewright catalyst keys` shows the support for each key.

    \b
      catalyst -s stable                   snapshots/gentoo-COMMIT.sqfs
      catalyst -f stage1.spec              builds/REL_TYPE/stage1-...
      catalyst -c my.conf -a -f x.spec     the call of catalyst-auto
      catalyst --purgetmponly -f x.spec    remove the rest of a failed build

    Exit codes: 0 done, 1 cannot start (an error in the configuration or this
    machine), 2 failed or an error in the spec, 130 interrupted.
    """
    usual = Level.DEBUG if options["debug"] else Level.INFO if options["verbose"] else Level.NOTICE
    level = Level[str(options["log_level"]).upper()] if options["log_level"] else usual
    with _stream(options["log_file"]) as stream:
        color = stream.isatty() if options["color"] is None else options["color"]
        log = CatalystLog(stream, level, color=color)
        request = _request(options)
        for name in request.ignored:
            log.warning(f"{name} has no effect")
        return _guarded(request, log)


def _request(options: Mapping[str, Any]) -> Request:
    for name, (shown, why) in REFUSED.items():
        if options[name]:
            raise click.UsageError(f"{shown} is not supported: {why}")
    if (options["file"] is None) == (options["snapshot"] is None):
        raise click.UsageError("please specify one of either -f or -s")
    values = {name: options[name] for name in Request.__annotations__ if name in options}
    return Request(**values, ignored=tuple(shown for name, shown in IGNORED.items() if options[name]))


@contextlib.contextmanager
def _stream(file: Path | None) -> Iterator[TextIO]:
    if file is None:
        yield unfiltered(sys.stdout)  # the log has colours
        return
    try:
        stream = file.open("a", encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"--log-file {file}: {error.strerror}") from error
    with stream:
        yield stream


def _guarded(request: Request, log: CatalystLog) -> int:
    """Do the work; log errors, and return Catalyst's exit codes."""
    building = False
    try:
        if building := _prepare(request, log):
            assert request.file
            with temporary_folder("catalyst") as folder:
                build(request.file, _confs(request), _store(request), log, folder)
    except StagewrightError as error:
        problems = error.problems if isinstance(error, ProblemsError) else [error]
        exits = {Reason(problem.reason).exit for problem in problems}
        if Exit.BUG in exits:
            log.failure(error, Level.CRITICAL)
            return Exit.BUG
        if Exit.INTERRUPTED in exits:
            log.failure(error)
            return Exit.INTERRUPTED
        in_spec = any(problem.place and problem.place.file == request.file for problem in problems)
        begun = Exit.FAILED in exits or (building and in_spec)
        log.failure(error, Level.ERROR if begun else Level.CRITICAL)
        return FAILED if begun else CRITICAL
    except KeyboardInterrupt:
        log.say(Level.CRITICAL, "stopped")
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001  shown in full
        if problem := disk_error(error):
            log.failure(problem, Level.CRITICAL)
            return CRITICAL
        log.say(Level.CRITICAL, traceback.format_exc())
        log.say(Level.CRITICAL, "This is a defect of Stagewright: please report it with the lines above.")
        return Exit.BUG
    return Exit.OK


def _confs(request: Request) -> list[Path]:
    return list(request.conf) or [CONF]


def _store(request: Request) -> Store:
    return Store(request.store or default_store())


def _prepare(request: Request, log: CatalystLog) -> bool:
    """Do everything but the build of a spec. Return True if one is wanted."""
    files = _confs(request)
    for file in files:
        log.notice(f"Loading configuration file: {file}")
    problems: list[StagewrightError] = []
    notices: list[Notice] = []
    config = read_config(files, problems, notices)
    for notice in notices:
        log.warning(str(notice))
    if problems:
        raise ProblemsError(problems)
    snapshots = _snapshots(config, log)
    if request.snapshot is not None:
        snapshots.make(request.snapshot, offline=request.offline)
        return False
    assert request.file
    log.notice(f"Processing spec file: {request.file}")
    spec = read_spec(request.file)
    if spec.text("target") == Target.SNAPSHOT:
        snapshots.make(spec.text("snapshot_treeish") or "stable", offline=request.offline)
        return False
    if request.clear_autoresume:
        log.notice("nothing to clear: results are known by their keys, and unfinished work is never continued")
    if request.purge or request.purgeonly or request.purgetmponly:
        purge(spec, config, _store(request), log, packages=not request.purgetmponly)
    return not (request.purgeonly or request.purgetmponly)


def _snapshots(config: CatalystConfig, log: CatalystLog) -> Snapshots:
    storedir = Path(config.storedir)
    repos = Path(config.repos_storedir) if config.repos_storedir else storedir / "repos"
    key = Path(config.repo_openpgp_key_path) if config.repo_openpgp_key_path else None
    return Snapshots(storedir, config.repo_name, repos, key, log.notice)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with Catalyst's codes."""
    restart_in_utf8_mode()
    os.umask(UMASK)
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
