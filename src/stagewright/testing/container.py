"""The test of a root in a container: start its init, perform a script on its console."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from stagewright import run
from stagewright.errors import StagewrightError
from stagewright.testing.finish import finish
from stagewright.testing.guest import Guest
from stagewright.testing.perform import perform
from stagewright.testing.results import Report
from stagewright.testing.script import BootScript
from stagewright.testing.timeline import ONLY, Timeline
from stagewright.vm.console import Console
from stagewright.vm.container import Container, nspawn
from stagewright.vm.failures import final_ones


class ContainerGuest(Guest):
    """A running container as a test sees it."""

    def __init__(self, container: Container, command: list[str], timeline: Timeline, folder: Path) -> None:
        super().__init__(timeline, folder)
        self._container = container
        self._command = command

    @property
    def console(self) -> Console:
        """Console of the container."""
        return self._container.console

    def press_power(self) -> None:
        """Ask the init to shut down."""
        self._container.powerdown()

    def command_line(self) -> str:
        """Return the command line of systemd-nspawn."""
        return run.paste(self._command)


def start(
    root: Path,
    script: BootScript,
    folder: Path,
    on_step: Callable[[str], None] = lambda text: None,
    *,
    name: str = "",
    files: Mapping[str, Path] | None = None,
) -> Report:
    """Start the init of a root and perform a script. Raises ``BOOT_FAILED`` with the end of the console.

    After success and failure alike, the folder has ``console.log`` (raw), ``container.log`` (messages of
    systemd-nspawn) and ``result.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = nspawn(root)
    on_step("start")
    timeline = Timeline(script.seconds, name=name, on_step=on_step, failures=script.failures)
    with Container(command, folder) as container:
        container.console.failures = (*final_ones(script.failures), *container.console.failures)
        guest = ContainerGuest(container, command, timeline, folder)
        problem: StagewrightError | None = None
        try:
            perform(script, {ONLY: guest}, timeline, files or {})
        except StagewrightError as error:
            problem = error
        report = Report(
            name=name,
            passed=problem is None,
            seconds=round(time.monotonic() - timeline.started, 2),
            steps=tuple(timeline.steps),
            machines=(guest.result({}),),
            error=problem.message if problem else "",
            detail=problem.detail if problem else "",
        )
    report = finish(report, folder)
    if problem:
        raise problem
    return report
