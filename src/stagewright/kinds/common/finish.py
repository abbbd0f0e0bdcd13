"""Settings of several kinds that change the files of a root after its packages are installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.work import Work
from stagewright.portage.installed import packages_of
from stagewright.project.fields import AnyAtom, FilePath, FolderPath, Matching, Section
from stagewright.root import files
from stagewright.root.sandbox import Bind
from stagewright.root.sourced import OneLine, VariableName, with_assignments

if TYPE_CHECKING:
    from stagewright.portage.emerge import Portage
    from stagewright.root.root import Root

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
HostName = Annotated[str, Matching(rf"(?=.{{1,64}}$){_LABEL}(\.{_LABEL})*", "letters, digits, - and dots, as in box-1")]
"""The name of a machine, see hostname(7)."""


class Finish(Section):
    """Changes to a root after its packages are installed, in the order of these settings."""

    root_overlay: list[FolderPath] = []
    """Folders to copy into the root, in this order. Their files are owned by root there."""
    os_release: dict[VariableName, OneLine] = {}
    """Entries of os-release(5) to set."""
    hostname: HostName | None = None
    """The name in /etc/hostname."""
    issue: str | None = None
    """The text of /etc/issue, which is shown before a login."""
    motd: str | None = None
    """The text of /etc/motd, which is shown after a login."""
    script: FilePath | None = None
    """A program to run inside the root. /bin/sh runs one without a `#!` line."""
    script_network: bool = Field(default=False, exclude_if=lambda value: not value)
    """Give the script a network. What it fetches is not part of any key: a second build can make something else."""
    unmerge: list[AnyAtom] = []
    """Packages that Portage removes, even if others need them."""
    rm: list[str] = []
    """Files and folders to remove: shell patterns, absolute inside the root. Patterns without a match are reported."""
    empty: list[str] = []
    """Folders whose content is removed."""


def finish(settings: Finish, root: Root, work: Work[StageContext], portage: Portage | None) -> LayerFacts:
    """Change the files of a root. Return facts for its layer (see :func:`run_script_and_remove`)."""
    add_files(settings, root, work)
    return run_script_and_remove(settings, root, work, portage)


def add_files(settings: Finish, root: Root, work: Work[StageContext]) -> None:
    """Add files to a root: the first half of :func:`finish`."""
    work.phase("finish")
    for name in settings.root_overlay:
        files.copy_in(root.path, work.files[name], epoch=work.epoch)
    if settings.os_release:
        _os_release(settings, root, work)
    if settings.hostname:
        files.write_file(root.path, "/etc/hostname", f"{settings.hostname}\n", epoch=work.epoch)
    for name, text in (("/etc/issue", settings.issue), ("/etc/motd", settings.motd)):
        if text is not None:
            files.write_file(
                root.path, name, text if text.endswith("\n") or not text else f"{text}\n", epoch=work.epoch
            )


def run_script_and_remove(
    settings: Finish, root: Root, work: Work[StageContext], portage: Portage | None
) -> LayerFacts:
    """Run the script and remove packages and files: the second half of :func:`finish`.

    Return facts for the layer: the packages of the root, if their records are removed.
    """
    if settings.script:
        work.phase(f"script {settings.script}")
        _run_script(work.files[settings.script], root, network=settings.script_network)
    if settings.unmerge:
        assert portage, "a stage with unmerge uses Portage"
        portage.unmerge(settings.unmerge)
    packages = packages_of(root.path)
    for pattern in files.remove(root.path, settings.rm):
        work.notice(f"rm: {pattern} matches nothing")
    for pattern in files.empty(root.path, settings.empty):
        work.notice(f"empty: {pattern} not found")
    removed = packages and not packages_of(root.path)
    return LayerFacts(installed=tuple(packages) if removed else None)


def _os_release(settings: Finish, root: Root, work: Work[StageContext]) -> None:
    text = files.read_file(root.path, "/etc/os-release")
    files.write_file(root.path, "/etc/os-release", with_assignments(text, settings.os_release), epoch=work.epoch)


def _run_script(script: Path, root: Root, *, network: bool) -> None:
    inner = "/tmp/stagewright-script"
    with script.open("rb") as stream:
        first = stream.readline().decode(errors="replace")
    # The kernel reads the line like this, execve(2), but only for executable files.
    interpreter = first[2:].strip().split(maxsplit=1) if first.startswith("#!") else ["/bin/sh"]
    try:
        root.run(*interpreter, inner, binds=[Bind(script, inner)], network=network)
    except StagewrightError as error:
        if error.reason is not Reason.COMMAND_FAILED:
            raise
        # The name of the interpreter says little.
        message = f"script {script.name}: {error.message.partition(': ')[2] or error.message}"
        raise StagewrightError(error.reason, message, hint=error.hint, detail=error.detail) from error
