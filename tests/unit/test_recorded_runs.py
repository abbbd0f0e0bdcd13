"""Recorded runs, and what `history`, `status` and `report` make of them."""

from __future__ import annotations

import base64
import html.parser
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from stagewright.cli.main import run as command
from stagewright.engine.event_log import Record
from stagewright.engine.recorded_runs import RecordedRun, find_run, read_run, recorded_runs
from stagewright.engine.run_estimates import remaining_seconds, unsteady_tests, usual_seconds
from stagewright.engine.run_state import running_data
from stagewright.errors import Reason, StagewrightError
from stagewright.events import (
    Event,
    NodeFinished,
    NodeMoved,
    NodeNotice,
    NodePhase,
    NodeProgress,
    NodeStarted,
    NodeWaiting,
    RunFinished,
    RunStarted,
    Status,
)
from stagewright.graph.node import Yields
from stagewright.kinds.common.guest import TEST_ARTIFACTS
from stagewright.store.meta import Meta
from stagewright.store.store import Store
from stagewright.ui.report.details import LARGEST_LOG, details_of
from stagewright.ui.report.layers import MANY, picture
from stagewright.ui.report.page import page
from stagewright.ui.report.timeline import critical_path, timeline

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m"

INPUTS: Mapping[str, list[str]] = {
    "seed:base": [],
    "a": ["seed:base"],
    "b": ["seed:base"],
    "c": ["a", "b"],
    "test:c": ["c"],
}


def started(node: str, moment: float, key: str = "", log: str = "") -> NodeStarted:
    return NodeStarted(time=moment, node=node, kind="embedded", key=key or f"key-{node}", log=log)


def ended(node: str, moment: float, status: Status = Status.BUILT, size: int = 0, error: object = None) -> NodeFinished:
    return NodeFinished(time=moment, node=node, status=status, size=size, error=error)  # type: ignore[arg-type]


def events(log: str = "", begin: float = 1000.0) -> Iterator[Event]:
    """Yield the events of a run: a and b side by side, then c, then its test, which fails."""
    nodes = ["a", "b", "c", "test:c"]
    yield RunStarted(time=begin, run="r", project="demo", nodes=nodes, cached=1, folder="/p", inputs=dict(INPUTS))
    yield started("a", begin + 1)
    yield started("b", begin + 1, log=log)
    yield NodePhase(time=begin + 2, node="b", phase="fetch")
    yield NodeProgress(time=begin + 3, node="b", done=1, total=2, name="app-misc/x-1")
    yield NodePhase(time=begin + 4, node="b", phase="build")
    yield ended("a", begin + 5, size=10)
    yield NodeNotice(time=begin + 6, node="b", text=HOSTILE)
    yield ended("b", begin + 11, size=2048)
    yield NodeWaiting(time=begin + 11, node="c")
    yield started("c", begin + 12)
    yield ended("c", begin + 13)
    yield started("test:c", begin + 13.5)
    error = StagewrightError(Reason.BOOT_FAILED, HOSTILE, detail="x\n" + HOSTILE, hint="look").to_dict()
    yield ended("test:c", begin + 20, Status.FAILED, error=error)
    yield RunFinished(time=begin + 20.5, run="r", status=Status.FAILED, seconds=20.5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


Recorder = Callable[..., RecordedRun]


@pytest.fixture
def recorded(store: Store) -> Recorder:
    def write(*lines: Event, run: str = "r") -> RecordedRun:
        path = store.path / "events" / f"{run}.jsonl"
        path.write_text("".join(event.to_json() + "\n" for event in lines), encoding="utf-8")
        found = read_run(path)
        assert found
        return found

    return write


def test_a_run_is_read_from_its_events(recorded: Recorder) -> None:
    run = recorded(*events())
    assert (run.status, run.finished, run.is_running, run.cached) == (Status.FAILED, 1020.5, False, 1)
    assert run.nodes["b"].phases == [(1002.0, "fetch"), (1004.0, "build")]
    assert (run.nodes["b"].seconds, run.nodes["b"].size, run.nodes["b"].step) == (10.0, 2048, None)
    assert run.nodes["test:c"].error
    assert (run.count(Status.BUILT), run.count(Status.FAILED)) == (3, 1)


def test_the_machine_that_builds_a_node_is_known(recorded: Recorder) -> None:
    begin = next(events())
    first = NodeStarted(time=1001, node="a", kind="file", key="k", log="", machine="build1")
    assert recorded(begin, first).nodes["a"].machine == "build1"
    run = recorded(begin, first, NodeMoved(node="a", machine="build2"))
    assert (run.nodes["a"].machine, run.nodes["a"].started, run.nodes["b"].machine) == ("build2", 1001, "")
    assert running_data(run, {}, 1002.0)["running"][0]["machine"] == "build2"


def test_a_file_that_a_kill_cut_off_is_read(recorded: Recorder, store: Store) -> None:
    recorded(*list(events())[:8])
    path = store.path / "events" / "r.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + '{"event": "NodeFin', encoding="utf-8")
    run = find_run(store.path, "r")
    assert (run.status, run.is_running, run.last_moment) == (None, False, 1005.0)
    (store.path / "events" / "empty.jsonl").touch()
    assert [one.run for one in recorded_runs(store.path)] == ["r"]


def test_a_run_whose_process_lives_is_running(store: Store) -> None:
    with Record(store, "r") as record:
        record(RunStarted(run="r", project="demo", nodes=["a"], cached=0))
        assert find_run(store.path, "r").is_running
    assert not find_run(store.path, "r").is_running


@pytest.mark.parametrize("name", ["nothing", "../format", ""])
def test_a_run_that_is_not_recorded(store: Store, name: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        find_run(store.path, name)
    assert caught.value.reason is Reason.UNKNOWN_NAME


def test_the_critical_path_is_what_the_last_node_waited_for(recorded: Recorder) -> None:
    assert [node.node for node in critical_path(recorded(*events()))] == ["b", "c", "test:c"]


def test_nodes_that_run_at_the_same_time_have_different_lanes(recorded: Recorder) -> None:
    found = timeline(recorded(*events()))
    lanes = {bar.node.node: bar.lane for bar in found.bars}
    assert found.lanes == 2
    assert lanes["a"] != lanes["b"]
    for bar in found.bars:
        others = [one for one in found.bars if one.lane == bar.lane and one.span.start > bar.span.start]
        assert all(one.span.start >= bar.span.start + bar.span.length - 1e-9 for one in others)
    assert {bar.node.node for bar in found.bars if bar.is_critical} == {"b", "c", "test:c"}


def test_a_picture_has_inputs_on_the_left_and_no_two_boxes_at_a_place() -> None:
    found = picture(INPUTS)
    for name, sources in INPUTS.items():
        assert all(found.boxes[source].x < found.boxes[name].x for source in sources)
    assert len({(box.x, box.y) for box in found.boxes.values()}) == len(INPUTS)
    assert len(found.edges) == sum(map(len, INPUTS.values()))


def test_a_large_graph_has_small_boxes() -> None:
    chain = {f"n{number}": [f"n{number // 2}"] if number else [] for number in range(MANY + 1)}
    assert picture(chain).is_small


class Reader(html.parser.HTMLParser):
    """Collects the elements of a page, and the texts of its cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_a_page_escapes_everything_and_loads_nothing(recorded: Recorder, store: Store, tmp_path: Path) -> None:
    log = tmp_path / "b.log"
    log.write_text(f"</pre>{HOSTILE}\n", encoding="utf-8")
    run = recorded(*events(str(log)))
    text = page(run, details_of(run, store))
    tags = Reader(text).tags
    assert [tag for tag, _ in tags].count("script") == 1
    assert not [attributes for tag, attributes in tags if tag in ("img", "link", "iframe") or "onerror" in attributes]
    assert not [
        name for _, attributes in tags for name in attributes if name in ("style", "src") or name.startswith("on")
    ]
    assert "\x1b" not in text
    assert "&lt;/pre&gt;&lt;script&gt;" in text
    policy = next(str(found["content"]) for tag, found in tags if found.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    links = [found["href"] for tag, found in tags if tag == "a"]
    assert all(str(link).startswith("#") for link in links)


def test_the_numbers_of_a_page_are_those_of_the_events(recorded: Recorder, store: Store) -> None:
    run = recorded(*events())
    text = page(run, details_of(run, store))
    tiles = dict(re.findall(r"<dt>([^<]+)</dt><dd class=\"\w*\">(\d+)</dd>", text))
    assert tiles == {"built": "3", "failed": "1"}
    times = {found["data-value"] for tag, found in Reader(text).tags if tag == "td" and found.get("data-value")}
    assert {str(node.seconds) for node in run.nodes.values()} <= times
    assert "2 KiB" in text


def result(store: Store, key: str, size: int, yields: Yields = Yields.ARTIFACT) -> Path:
    """Put a result into the store; return its tree."""
    tree = store.tree(yields, key)
    tree.mkdir(parents=True)
    meta = Meta(key=key, node="n", kind="k", created=0, size=size, data={"format": 1})
    (tree.parent / "meta.json").write_text(meta.text(), encoding="utf-8")
    return tree


def test_details_come_from_the_store(recorded: Recorder, store: Store) -> None:
    store.remember("demo-1", "test:c", {"format": 1, "kind": "old"})
    (before,) = store.former("demo-1", "test:c")
    store.remember("demo-1", "test:c", {"format": 1, "kind": "new"})
    now = store.former("demo-1", "test:c")[-1]
    result(store, before, 100)
    tree = result(store, now, 150)
    (tree / "screen.png").write_bytes(b"a picture")
    (tree / "link.png").symlink_to("/etc/hostname")
    nodes = ["test:c"]
    run = recorded(
        RunStarted(run="r", project="demo", records="demo-1", nodes=nodes, cached=0),
        started("test:c", 2000.0, key=now),
        ended("test:c", 2001.0, size=150),
    )
    found = details_of(run, store)["test:c"]
    assert found.size_before == 100
    assert found.files == [("screen.png", 9)]
    assert [image.name for image in found.images] == ["screen.png"]
    assert base64.b64decode(found.images[0].url.partition(",")[2]) == b"a picture"
    assert "+50 B" in page(run, details_of(run, store))


def test_the_screen_of_a_failed_test_comes_from_its_kept_folder(recorded: Recorder, store: Store) -> None:
    folder = store.failed("demo-1", "test:c") / TEST_ARTIFACTS
    folder.mkdir(parents=True)
    (folder / "screen.png").write_bytes(b"a picture")
    first, *others = events()
    run = recorded(replace(first, records="demo-1"), *others)
    assert [image.name for image in details_of(run, store)["test:c"].images] == ["screen.png"]


def test_only_the_end_of_a_long_log_is_in_a_page(recorded: Recorder, store: Store, tmp_path: Path) -> None:
    log = tmp_path / "b.log"
    log.write_text("".join(f"line {number}\n" for number in range(LARGEST_LOG // 5)), encoding="utf-8")
    found = details_of(recorded(*events(str(log))), store)["b"].log
    assert found
    assert found.text.startswith("line ")
    assert found.text.endswith(f"line {LARGEST_LOG // 5 - 1}\n")
    assert found.omitted > 0


def test_the_remaining_time_is_the_longest_way(recorded: Recorder) -> None:
    run = recorded(*list(events())[:3])
    usual = {"a": 5.0, "b": 10.0, "c": 2.0, "test:c": 7.0}
    assert remaining_seconds(run, usual, now=1004.0) == 7.0 + 2.0 + 7.0
    assert remaining_seconds(run, {"a": 5.0}, now=1004.0) is None


def test_usual_times_are_those_of_successful_builds(recorded: Recorder) -> None:
    run = recorded(*events())
    assert usual_seconds([run], "demo", "/p") == {"a": 4.0, "b": 10.0, "c": 1.0}
    assert usual_seconds([run], "demo", "/elsewhere") == {}


def test_a_test_that_passes_and_fails_with_the_same_inputs_is_named(recorded: Recorder) -> None:
    bad = recorded(*events())
    good = recorded(*list(events())[:-2], ended("test:c", 1020.0))
    assert unsteady_tests([good, bad]) == {"demo/test:c": (1, 2)}
    assert unsteady_tests([bad, bad]) == {}


def test_history_lists_runs_and_their_failures(
    recorded: Recorder,
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    recorded(*events())
    assert command(["--store", str(store.path), "history"]) == 0
    text = capsys.readouterr().out
    assert "failed  20s  3 built, 1 cached, 1 failed" in text or "failed  21s  3 built, 1 cached, 1 failed" in text
    assert "\x1b" not in text
    assert command(["--store", str(store.path), "history", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["state"], len(data["nodes"]), data["cached"]) == ("failed", 4, 1)


def test_status_shows_what_runs(
    store: Store, capsys: pytest.CaptureFixture[str], recorded: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(*events(), run="20260101-000000-aaaa")
    with Record(store, "20260102-000000-bbbb") as record:
        for event in list(events(begin=1900.0))[:6]:
            record(event)
        assert command(["--store", str(store.path), "status"]) == 0
        text = capsys.readouterr().out
        assert "demo: 0 of 4 done" in text
        assert "b: build, for" in text
        assert "(usually 10s)" in text
        assert "next: c, test:c" in text
        assert "left" not in text  # the test never passed, so its time is not known
        assert command(["--store", str(store.path), "status", "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert [one["node"] for one in data["running"]] == ["a", "b"]
    assert command(["--store", str(store.path), "status"]) == 0
    assert capsys.readouterr().out == "no build is running\n"


def test_report_writes_the_last_run(
    recorded: Recorder,
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["--store", str(store.path), "report"]) == Reason.NOT_BUILT.exit
    recorded(*events())
    capsys.readouterr()
    assert command(["--store", str(store.path), "report"]) == 0
    assert Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert command(["--store", str(store.path), "report", "r", "-o", "x.html"]) == 0
    assert Path("x.html").exists()
