"""The scheduler with workers that are shell scripts: order, resources, failures, stops, locks and listeners."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_workers import Site, eventually

from stagewright.engine.event_log import Record
from stagewright.engine.job import Job
from stagewright.engine.plan import Step
from stagewright.engine.resources import Resources
from stagewright.engine.worker_process import Worker
from stagewright.errors import Reason, StagewrightError
from stagewright.events import (
    Event,
    ListenerDropped,
    NodeFinished,
    NodeNotice,
    NodePhase,
    NodeStarted,
    NodeWaiting,
    RunFinished,
    RunStarted,
    Status,
)
from stagewright.graph.node import Yields
from stagewright.store.store import Store

ALL = {"seed:one", "seed:two", "first", "second"}
SLEEP = "echo $$ > $FLAGS/pid.tmp; mv $FLAGS/pid.tmp $FLAGS/pid; exec sleep 4321"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def status_of(site: Site, node: str) -> Status:
    (status,) = [event.status for event in site.events if isinstance(event, NodeFinished) and event.node == node]
    return status


def is_free(site: Site, node: str) -> bool:
    with site.store.locked(site.key(node)) as mine:
        return mine


def sleeper(site: Site) -> int:
    """The process id of the worker that sleeps."""
    return int((site.flags / "pid").read_text(encoding="utf-8"))


# order and resources


def test_inputs_are_built_first(site: Site) -> None:
    outcome = site.run()
    assert outcome.statuses == dict.fromkeys(ALL, Status.BUILT)
    assert outcome.status is Status.BUILT
    assert not outcome.errors
    for seed, stage in (("one", "first"), ("two", "second")):
        assert site.calls.index(f"end seed:{seed}") < site.calls.index(f"start {stage}")


def test_events_cover_the_run_from_beginning_to_end(site: Site) -> None:
    site.behaviours = {"first": """say '{"event": "NodePhase", "node": "first", "phase": "pack"}'; built"""}
    site.run()
    first, *rest, last = site.events
    assert isinstance(first, RunStarted)
    assert set(first.nodes) == ALL
    assert isinstance(last, RunFinished)
    assert (last.run, last.status) == (first.run, Status.BUILT)
    mine = [type(event) for event in rest if getattr(event, "node", "") == "first"]
    assert mine == [NodeStarted, NodePhase, NodeFinished]


def test_nodes_run_at_the_same_time_if_they_fit(site: Site) -> None:
    site.behaviours = {
        "seed:one": "reach one; await two; built",
        "seed:two": "reach two; await one; built",
    }
    assert site.run(cores=2).status is Status.BUILT


@pytest.mark.parametrize("limits", [{"cores": 1}, {"cores": 2, "jobs": 1}], ids=["cores", "jobs"])
def test_nodes_run_one_after_the_other_if_they_do_not_fit(site: Site, limits: dict[str, int]) -> None:
    site.run(**limits)
    assert [call.split()[0] for call in site.calls] == ["start", "end"] * 4


def test_a_node_that_demands_more_than_there_is_runs_alone(site: Site) -> None:
    site.behaviours = dict.fromkeys(
        ("first", "second"), "mkdir $FLAGS/alone && sleep 0.1 && rmdir $FLAGS/alone && built"
    )
    assert site.run(cores=1).status is Status.BUILT  # tarballs demand two cores


def test_idle_cores_are_granted_to_the_nodes_that_run(tmp_path: Path) -> None:
    granted: dict[str, tuple[int, int]] = {}

    class Granting(Site):
        def launch(self, job: Job, folder: Path) -> Worker:
            granted[job.node.id] = (job.grant.cores, job.grant.memory)
            return super().launch(job, folder)

    Granting(tmp_path).run(cores=8, jobs=1)
    assert granted["second"] == (8, 100_000)
    assert granted["seed:one"][0] == 7  # another node was ready


def test_resources_of_the_machine_can_be_limited() -> None:
    machine = Resources.of_machine()
    assert machine.cores >= 1
    assert machine.memory > 0
    assert machine.limited(None, None) == machine
    assert machine.limited(1, 2, 3) == Resources(1, 2, 3)


# failures


def test_a_failure_stops_what_has_not_begun(site: Site) -> None:
    site.behaviours = {"seed:one": "failed"}
    outcome = site.run(cores=1)
    assert outcome.status is Status.FAILED
    assert outcome.statuses == {"seed:one": Status.FAILED, **dict.fromkeys(ALL - {"seed:one"}, Status.SKIPPED)}
    assert (outcome.errors["seed:one"].reason, outcome.errors["seed:one"].message) == (
        Reason.COMMAND_FAILED,
        "it failed",
    )
    assert site.calls == ["start seed:one"]


def test_what_has_begun_is_finished_after_a_failure(site: Site) -> None:
    site.behaviours = {"seed:one": "await two; failed", "seed:two": "reach two; sleep 0.3; built"}
    outcome = site.run()
    assert outcome.statuses["seed:two"] is Status.BUILT
    assert outcome.statuses["second"] is Status.SKIPPED


def test_everything_that_can_be_built_is_built_on_request(site: Site) -> None:
    site.behaviours = {"seed:one": "failed"}
    outcome = site.run(keep_going=True)
    assert outcome.status is Status.FAILED
    assert outcome.statuses["first"] is Status.SKIPPED
    assert outcome.statuses["second"] is Status.BUILT


def test_the_work_folder_of_a_failure_is_kept_until_a_build_succeeds(site: Site) -> None:
    site.behaviours = {"seed:one": "failed"}
    site.run(cores=1)
    kept = site.store.failed(site.records, "seed:one")
    assert (kept / "job.json").exists()
    assert not list((site.store.path / "work").iterdir())
    site.behaviours = {}
    site.run()
    assert not kept.exists()
    assert not list((site.store.path / "work").iterdir())


def test_a_worker_that_is_killed_is_a_failure(site: Site) -> None:
    site.behaviours = {"seed:one": "kill -9 $$"}
    error = site.run(cores=1).errors["seed:one"]
    assert error.reason is Reason.BUILD_FAILED
    assert "SIGKILL" in error.message


def test_a_worker_that_prints_garbage_builds_all_the_same(site: Site) -> None:
    garbage = (
        r"""say garbage; say '{"event": "Unknown"}'; say '[1]'; say '{"event": "NodePhase"}'; printf '\377\n'; say; """
    )
    site.behaviours = {"first": garbage + "built; printf 'no newline'"}
    outcome = site.run()
    assert outcome.statuses["first"] is Status.BUILT
    (log,) = site.store.log_folder(site.records, "first").glob("*.log")
    assert log.read_text(encoding="utf-8").count("not an event") == 6


@pytest.mark.slow
def test_a_worker_that_closes_its_output_is_waited_for_without_work(site: Site) -> None:
    site.behaviours = {"seed:one": "built; exec >&-; sleep 1"}
    before = time.process_time()
    assert site.run().status is Status.BUILT
    assert time.process_time() - before < 0.5


# ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_run(site: Site, number: signal.Signals) -> None:
    site.behaviours = {"seed:one": SLEEP}

    def interrupt() -> None:
        try:
            eventually(lambda: (site.flags / "pid").exists() and "second" in site.names(NodeFinished))
        finally:
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    outcome = site.run(cores=4)
    thread.join()
    assert outcome.interrupted
    assert outcome.status is Status.INTERRUPTED
    assert status_of(site, "seed:one") is Status.INTERRUPTED
    last = site.events[-1]
    assert isinstance(last, RunFinished)
    assert last.status is Status.INTERRUPTED
    assert not Path(f"/proc/{sleeper(site)}").exists()
    assert is_free(site, "seed:one")
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers


def test_a_run_outside_of_the_main_thread_leaves_signals_alone(site: Site) -> None:
    thread = threading.Thread(target=site.run, daemon=True)
    thread.start()
    thread.join()
    assert status_of(site, "second") is Status.BUILT


def test_an_error_of_the_engine_keeps_its_reason_and_leaves_nothing(tmp_path: Path) -> None:
    class Broken(Site):
        def launch(self, job: Job, folder: Path) -> Worker:
            if job.node.id == "seed:two":
                eventually((self.flags / "pid").exists)
                raise StagewrightError(Reason.MISSING_TOOL, "unshare is not installed")
            return super().launch(job, folder)

    site = Broken(tmp_path, {"seed:one": SLEEP})
    with pytest.raises(StagewrightError, match="unshare is not installed"):
        site.run()
    assert not Path(f"/proc/{sleeper(site)}").exists()
    assert is_free(site, "seed:one")
    assert is_free(site, "seed:two")
    last = site.events[-1]
    assert isinstance(last, RunFinished)
    assert last.status is Status.FAILED


def test_a_keyboard_interrupt_from_a_listener_is_a_stop(site: Site) -> None:
    """Signals may arrive before the handlers of the run are installed."""

    def interrupt(event: Event) -> None:
        if isinstance(event, NodeStarted):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        site.run(interrupt)
    last = site.events[-1]
    assert isinstance(last, RunFinished)
    assert last.status is Status.INTERRUPTED


# listeners


def broken_pipe(event: Event) -> None:
    raise BrokenPipeError("no reader")


def defect(event: Event) -> None:
    if isinstance(event, NodeFinished):
        raise ValueError("a defect")


@pytest.mark.parametrize("listener", [broken_pipe, defect])
def test_a_listener_that_fails_is_dropped_and_the_build_continues(
    site: Site, listener: Callable[[Event], None], caplog: pytest.LogCaptureFixture
) -> None:
    assert site.run(listener).statuses == dict.fromkeys(ALL, Status.BUILT)
    assert [event.listener for event in site.events if isinstance(event, ListenerDropped)] == [listener.__qualname__]
    assert isinstance(site.events[-1], RunFinished)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_record_that_cannot_be_written_does_not_end_the_run(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    scheduler = site.scheduler()
    with Record(Store(site.store.path), scheduler.run_id) as record:
        record.path.symlink_to("/dev/full")
        scheduler._listeners = [*scheduler._listeners, record]
        outcome = scheduler.run()
    assert outcome.status is Status.BUILT
    assert "No space left on device" in caplog.text


def test_the_record_of_a_run_is_its_events(site: Site) -> None:
    with Record(site.store, "run") as record:
        site.run(record)
    lines = record.path.read_text(encoding="utf-8").splitlines()
    assert [Event.from_json(line) for line in lines] == site.events
    started = Event.from_json(lines[0])
    assert isinstance(started, RunStarted)
    assert list((site.store.path / "history").iterdir()) == [site.store.path / "history" / started.records]


# other runs on the same store


@pytest.mark.slow
def test_a_node_that_another_run_builds_is_waited_for(site: Site) -> None:
    thread = threading.Thread(target=site.run, daemon=True)
    with site.store.locked(site.key("seed:one")) as mine:
        assert mine
        thread.start()
        eventually(lambda: "second" in site.names(NodeFinished))
        time.sleep(0.5)
        assert site.names(NodeWaiting) == ["seed:one"]
        assert "start seed:one" not in site.calls
    thread.join()
    assert site.names(NodeWaiting) == ["seed:one"]
    assert status_of(site, "first") is Status.BUILT


@pytest.mark.slow
def test_a_node_that_another_run_has_built_is_not_built_again(site: Site) -> None:
    mine = site.scheduler()
    site.run()
    before = site.calls
    site.events.clear()
    assert mine.run().statuses == dict.fromkeys(ALL, Status.CACHED)
    assert site.calls == before


# a store that fails


def test_a_store_that_is_moved_away_is_named(site: Site) -> None:
    """The reason is not hidden by another error, and no part of the store comes back."""
    site.behaviours = {"seed:one": 'await moved; say "$BUILT"'}

    def move(event: Event) -> None:
        if isinstance(event, NodeStarted) and event.node == "seed:one":
            site.store.path.rename(site.folder / "elsewhere")
            site.reach("moved")

    with pytest.raises(StagewrightError) as caught:
        site.run(move, cores=1)
    assert caught.value.reason is Reason.STORE_FAILED
    assert isinstance(site.events[-1], RunFinished)
    assert not site.store.path.exists()


def test_an_error_after_the_end_of_a_worker_is_not_hidden(site: Site) -> None:
    def spoil(event: Event) -> None:
        if isinstance(event, NodeStarted) and event.node == "seed:one":
            (site.store.path / "history").rmdir()
            (site.store.path / "history").touch()

    with pytest.raises(NotADirectoryError):
        site.run(spoil)
    assert isinstance(site.events[-1], RunFinished)


# verdicts


def test_a_result_that_is_refused_fails_its_node_and_stays_in_the_store(site: Site) -> None:
    refused = StagewrightError(Reason.CONSOLE_ERRORS, "the console shows an error")

    def judge(step: Step) -> tuple[list[str], StagewrightError | None]:
        return ["a remark"], refused if step.node.id == "seed:one" else None

    outcome = site.scheduler(judge=judge, keep_going=True).run()
    assert status_of(site, "seed:one") is Status.FAILED
    assert status_of(site, "first") is Status.SKIPPED
    assert status_of(site, "second") is Status.BUILT
    assert outcome.errors["seed:one"].reason is Reason.CONSOLE_ERRORS
    assert site.store.has(Yields.LAYER, site.key("seed:one"))
    remarks = {event.node for event in site.events if isinstance(event, NodeNotice) and event.text == "a remark"}
    assert remarks == {"seed:one", "seed:two", "second"}


def test_what_needs_a_refused_result_of_the_store_is_skipped(site: Site) -> None:
    site.scheduler().run()
    (site.folder / "project/folder/usr/new").touch()
    site.events.clear()
    error = StagewrightError(Reason.CONSOLE_ERRORS, "the console shows an error")
    outcome = site.scheduler(refused={"seed:two": error}).run()
    assert set(outcome.errors) == {"seed:two"}
    assert status_of(site, "seed:two") is Status.FAILED
    assert {status_of(site, node) for node in ("seed:one", "first")} == {Status.SKIPPED}
