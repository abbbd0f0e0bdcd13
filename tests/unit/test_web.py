"""The web page of builds: it only shows, escapes hostile logs, and refuses other hosts; metrics; hooks."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_recorded_runs import HOSTILE, events

from stagewright.engine.event_log import Record
from stagewright.engine.recorded_runs import recorded_runs
from stagewright.errors import ProblemsError
from stagewright.events import NodeStarted, RunFinished, RunStarted, Status
from stagewright.store.store import Store
from stagewright.ui.hooks import Hooks, hooks_of
from stagewright.ui.metrics import openmetrics

starlette = pytest.importorskip("starlette", reason="NOT TESTED: starlette is not installed")

from starlette.testclient import TestClient  # noqa: E402

from stagewright.ui.web.app import application  # noqa: E402


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def record(store: Store, run: str, log: str = "") -> None:
    with Record(store, run) as writer:
        for event in events(log):
            writer(event)


def client(store: Store, host: str = "localhost") -> Any:
    return TestClient(application(store.path, ["localhost"]), base_url=f"http://{host}")


def test_pages_have_a_policy_that_runs_no_script_of_a_log(store: Store) -> None:
    folder = store.path / "logs" / "p" / "n"
    folder.mkdir(parents=True)
    (folder / "x.log").write_text(HOSTILE, encoding="utf-8")
    record(store, "run-1", str(folder / "x.log"))
    web = client(store)
    page = web.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert "<script>" not in page.text and not re.search(r"\son\w+=", page.text)
    script = web.get("/web.js").text
    assert "innerHTML" not in script and "insertAdjacentHTML" not in script and "document.write" not in script
    for path in ("/", "/web.js", "/state.json", "/metrics", "/report/run-1", "/nothing", "/log/run-1/b"):
        answer = web.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "content-security-policy" in answer.headers
        assert "access-control-allow-origin" not in answer.headers
    log = web.get("/log/run-1/b")
    assert log.headers["content-type"].startswith("text/plain") and log.text == HOSTILE
    assert HOSTILE not in web.get("/report/run-1").text


def test_it_only_shows_and_only_to_its_own_names(store: Store) -> None:
    web = client(store)
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert web.request(method, "/state.json").status_code == 405
    assert client(store, "evil.example.org").get("/state.json").status_code == 400
    assert not (store.path / "cache" / "digests.db").exists()


@pytest.mark.parametrize("path", ["/report/../../etc/passwd", "/log/run-1/..%2f..%2fformat", "/report/%2e%2e%2fformat"])
def test_paths_lead_nowhere_else(store: Store, path: str) -> None:
    record(store, "run-1", str(store.path / "format"))
    assert "no log" in client(store).get("/log/run-1/b").text  # the file is not a log
    answer = client(store).get(path)
    assert answer.status_code in {200, 404} and "root:" not in answer.text and answer.text != "1\n"


def test_the_state_has_running_builds_and_former_runs(store: Store) -> None:
    record(store, "run-1")
    with Record(store, "run-2") as running:
        running(RunStarted(run="run-2", project="p", nodes=["a", "b"], cached=1, inputs={"b": ["a"]}))
        running(NodeStarted(node="a", kind="k", key="x", log=""))
        data = client(store).get("/state.json").json()
        (one,) = data["running"]
        assert (one["project"], one["done"], one["nodes"], one["next"]) == ("p", 0, 2, ["b"])
        assert [node["node"] for node in one["running"]] == ["a"]
        assert [run["run"] for run in data["runs"]] == ["run-2", "r"]
        assert (
            'stagewright_running_nodes{project="p",run="run-2",state="running"} 1' in client(store).get("/metrics").text
        )


@pytest.fixture
def served(store: Store) -> Iterator[tuple[str, Store]]:
    """The command, as a user starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "stagewright", "--store", str(store.path), "web", "--port", str(port)]
    with subprocess.Popen(words, stderr=subprocess.PIPE) as process:
        url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 300
        while True:
            assert process.poll() is None and time.monotonic() < end
            try:
                urllib.request.urlopen(f"{url}/state.json", timeout=5).close()
            except OSError:
                time.sleep(0.1)
            else:
                break
        yield url, store
        process.terminate()


@pytest.mark.slow
def test_changes_come_as_a_stream(served: tuple[str, Store]) -> None:
    url, store = served
    with urllib.request.urlopen(f"{url}/events", timeout=60) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        first = json.loads(stream.readline().removeprefix(b"data: "))
        assert first["running"] == []
        record(store, "run-1")
        while not (line := stream.readline()).startswith(b"data: "):
            pass
        assert [run["run"] for run in json.loads(line.removeprefix(b"data: "))["runs"]] == ["r"]


def test_metrics_can_be_read_by_prometheus(store: Store) -> None:
    parser = pytest.importorskip("prometheus_client.openmetrics.parser", reason="NOT TESTED: no prometheus_client")
    record(store, "run-1")
    with Record(store, "run-2") as running:
        running(RunStarted(run="run-2", project='odd "name"\n\\', nodes=["a"], cached=0))
        running(RunFinished(run="run-2", status=Status.BUILT, seconds=1))
    text = openmetrics(list(recorded_runs(store.path)), store.path)
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    projects = {sample.labels["project"] for sample in families["stagewright_last_build_success"].samples}
    assert 'odd "name"\n\\' in projects and len(projects) == 2
    assert families["stagewright_store_free_bytes"].samples[0].value > 0


def test_hooks_get_their_events_as_json_and_a_slow_one_ends(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hooks.toml").write_text(
        f'[hooks.log]\ncommand = ["sh", "-c", "cat >> {tmp_path}/heard"]\nevents = ["RunFinished"]\n'
        '[hooks.slow]\ncommand = ["sleep", "60"]\nevents = ["RunFinished"]\ntimeout = 0.2\n'
        '[hooks.bad]\ncommand = ["/nonexistent"]\nevents = ["*"]\n',
        encoding="utf-8",
    )
    with Hooks(hooks_of([tmp_path / "hooks.toml", tmp_path / "missing.toml"])) as hooks:
        hooks(RunStarted(run="r", project="p", nodes=[], cached=0))
        hooks(RunFinished(run="r", status=Status.BUILT, seconds=1.5))
    (line,) = (tmp_path / "heard").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["event"] == "RunFinished" and json.loads(line)["seconds"] == 1.5
    said = capfd.readouterr().err
    assert "hook slow: took too long" in said and "hook bad:" in said


def test_wrong_hooks_are_reported_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "hooks.toml").write_text(
        '[hooks.a]\ncommand = []\n[hooks.b]\ncommand = ["x"]\nevents = ["RunFinish"]\n', encoding="utf-8"
    )
    with pytest.raises(ProblemsError) as refused:
        hooks_of([tmp_path / "hooks.toml"])
    assert [error.place.line for error in refused.value.problems if error.place] == [2, 5]
    assert any("RunFinished" in error.hint for error in refused.value.problems)
