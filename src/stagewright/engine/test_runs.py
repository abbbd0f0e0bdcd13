"""Run tests of a project now: ``stagewright test``.

A test runs in a process of its kind's namespaces, as its build does, but it only reads the store, and its results are
in a folder of the user. Tests of root, and those that need a separate network, run in a separate pid namespace: no
process survives the end of the test there. Elsewhere QEMU and its helpers end with their parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.engine.console_verdict import judge, this_day
from stagewright.engine.folders_of_tests import files_in
from stagewright.engine.job import Job
from stagewright.engine.performed import SHOWN
from stagewright.engine.plan import Plan, Step
from stagewright.engine.targets import names_of
from stagewright.engine.test_process import INTERACTIVE, OUTCOME
from stagewright.engine.worker import isolated
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, Listener, NodeNotice
from stagewright.interpreter import python
from stagewright.kinds.common.console_settings import ConsoleSettings
from stagewright.kinds.common.guest import GuestFacts, ScriptedTest, is_result
from stagewright.kinds.common.work import Grant
from stagewright.kinds.registry import by_kind
from stagewright.run import PIPE, interactive, spawn
from stagewright.store.store import Store
from stagewright.testing.junit import Performed
from stagewright.testing.results import RESULT, Report
from stagewright.trees import remove_tree
from stagewright.vm.folder import kept_folder, machine_folder

LOG = "test.log"
"""Name of the file with messages of the programs that a test starts."""


@dataclass(frozen=True)
class RanTest:
    """A test that ran: its report, its error if it failed, and the folder with its results."""

    name: str
    report: Report
    folder: Path
    error: StagewrightError | None = None

    def performed(self) -> Performed:
        """Return the test with its files, for JUnit XML."""
        files = [path for pattern in SHOWN for path in files_in(self.folder, pattern)]
        return Performed(self.name, self.report, self.error, files=files, time=time.time() - self.report.seconds)


def step_of(plan: Plan) -> Step:
    """Return the test that is the target of a plan."""
    (node,) = plan.sinks
    return plan.steps[node]


def runs_now(step: Step) -> bool:
    """Return True if a test runs without a change of the store. Others are built: they need mounts of layers."""
    stage = step.node.settings
    return isinstance(stage, ScriptedTest) and not by_kind()[step.node.kind].contained


def missing_inputs(plan: Plan, store: Store) -> list[str]:
    """Return the names of the entries that the test of a plan starts and that are not built."""
    inputs = plan.inputs_of(step_of(plan).node)
    missing = [role for role, (yields, key) in inputs.items() if not store.has(yields, key)]
    return [step_of(plan).node.inputs[role].rpartition(":")[2] for role in missing]


def run_test(plan: Plan, store: Store, folder: Path, emit: Listener, *, stays_open: bool = False) -> RanTest:
    """Run the test that is the target of a plan. ``folder`` gets its results.

    ``stays_open`` leaves the machines running at the end, with a Python prompt on the terminal. Raises: USAGE if the
    folder has other files than the results of a test, STORE_BUSY if another test uses it, NOT_BUILT if the store does
    not have what the test starts: the project changed during the build.
    """
    (name,) = plan.targets
    if missing := missing_inputs(plan, store):
        what = f"{name}: {', '.join(missing)} not built with the present settings of the project"
        raise StagewrightError(Reason.NOT_BUILT, what, hint=f"stagewright build {' '.join(missing)}")
    _empty(folder)
    started = time.monotonic()
    with kept_folder(folder), machine_folder() as work:
        log = folder / LOG
        _job(plan, store, log).write(work)
        _run(step_of(plan), work, folder, emit, stays_open=stays_open)
        error = _outcome(work, log)
    report = _report(folder, name, time.monotonic() - started, error)
    error = error or _verdict(step_of(plan), report, emit)
    _prune(folder)
    return RanTest(name, report, folder, _located(error, report, name) if error else None)


def _verdict(step: Step, report: Report, emit: Listener) -> StagewrightError | None:
    """Report the remarks about the console of a test that passed. Return its error, if it has one."""
    if not (report.machines and isinstance(step.node.settings, ConsoleSettings)):
        return None
    remarks, error = judge(step.node.settings, GuestFacts.of_report(report), this_day())
    for remark in remarks:
        emit(NodeNotice(node=step.node.id, text=remark))
    return error


def _job(plan: Plan, store: Store, log: Path) -> Job:
    step = step_of(plan)
    return Job(
        project=plan.project.info.name,
        project_folder=plan.project.folder.resolve(),
        node=step.node,
        key=step.key,
        inputs=plan.inputs_of(step.node),
        grant=Grant(step.node.demand.cores, step.node.demand.memory),
        store=store.path,
        log=log,
    )


def _run(step: Step, work: Path, folder: Path, emit: Listener, *, stays_open: bool) -> None:
    """Run the process of a test to its end, and pass on its events."""
    kind = by_kind()[step.node.kind]
    words = python("stagewright.engine.test_process", str(work), str(folder), *([INTERACTIVE] if stays_open else []))
    if kind.own_network or os.geteuid() == 0:
        command = isolated(words, own_network=kind.own_network, private_ids=False)
    else:
        command = ["setpriv", "--pdeathsig", "KILL", "--", *words]
    if stays_open:
        interactive(command)
        return
    with (
        (folder / LOG).open("ab") as log,
        spawn(command, stdin=PIPE, stdout=PIPE, stderr=log, own_session=True) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            with contextlib.suppress(ValueError, KeyError):
                emit(Event.from_json(line.decode("utf-8")))
        process.wait()


def _outcome(work: Path, log: Path) -> StagewrightError | None:
    """Return the error of the test. Raises: BUG, with the end of the log, if its process ended without an outcome."""
    path = work / OUTCOME
    if path.exists():
        data = json.loads(path.read_text(encoding="utf-8"))
        return StagewrightError.from_dict(data) if data else None
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
    hint = "it was killed, or the computer ran out of memory; run the same command again"
    return StagewrightError(Reason.BUILD_FAILED, "the test ended unexpectedly", detail="\n".join(said), hint=hint)


def _report(folder: Path, name: str, seconds: float, error: StagewrightError | None) -> Report:
    """Return the report of a test; one without steps if it did not begin."""
    path = folder / RESULT
    if path.exists():
        return Report.from_dict(json.loads(path.read_text(encoding="utf-8")))
    return Report(
        name=name,
        passed=error is None,
        seconds=round(seconds, 2),
        steps=(),
        machines=(),
        error=error.message if error else "",
        detail=error.detail if error else "",
    )


def _located(error: StagewrightError, report: Report, name: str) -> StagewrightError:
    """Return the error of a test with its name, and with the paths of consoles and pictures."""
    paths = [f"console: {machine.console}" for machine in report.machines]
    paths += [f"screen: {machine.screenshot}" for machine in report.machines if machine.screenshot]
    detail = "\n".join(filter(None, [error.detail, *paths]))
    return StagewrightError(error.reason, f"{name}: {error.message}", place=error.place, hint=error.hint, detail=detail)


def results_folder(plan: Plan, chosen: Path | None) -> Path:
    """Return the folder for the results of the test of a plan: below ``chosen``, or by default ``out/tests``.

    If the user cannot write to the project, the default is below ``$XDG_STATE_HOME/stagewright/tests``.
    """
    (name,) = plan.targets
    if chosen:
        return chosen.absolute() / name
    out = plan.project.folder / "out"
    place = next(path for path in (out / "tests", *(out / "tests").parents) if path.exists())
    if os.access(place, os.W_OK):
        return out / "tests" / name
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "stagewright" / "tests" / plan.project.records / name


def _empty(folder: Path) -> None:
    """Remove the results of an earlier run. Raises: USAGE if the folder has other files."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not any((folder / name).exists() for name in (RESULT, LOG)):
        what = f"{folder}: has files that are not the results of a test"
        raise StagewrightError(Reason.USAGE, what, hint="name another folder with --output")
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink()


def _prune(folder: Path) -> None:
    """Remove disks, variables and keys of machines that have ended."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif not is_result(path.relative_to(folder)) and path.name != LOG:
            path.unlink()


def tests_of(words: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the tests to run: those of names, ids (``test:NAME``) and patterns, or all. Raises: UNKNOWN_NAME."""
    return names_of(words, {name: f"test:{name}" for name in known}, "a test of this project") or list(known)
