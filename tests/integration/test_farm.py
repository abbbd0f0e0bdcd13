"""Farms: many machines build what one would, each node once; lost machines and schedulers lose no result."""

from __future__ import annotations

import hashlib
import signal
import subprocess
from pathlib import Path

import pytest

from integration.farms import NODES, Build, Farm, eventually, farm, make_project

pytest.importorskip("distributed", reason="NOT TESTED: distributed is not installed")
pytest.importorskip("zstandard", reason="NOT TESTED: zstandard is not installed")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="NOT TESTED: no static busybox"),
]

SLOW = "sleep 3; touch /slow"


def artifacts(store: Path) -> dict[str, str]:
    """Return the digests of all files of artifacts in a store, by key and path."""
    found = (path for path in (store / "artifacts").rglob("*") if path.is_file() and "tree" in path.parts)
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def layers(store: Path) -> set[str]:
    return {path.name for path in (store / "layers").iterdir()}


def test_a_farm_makes_the_bytes_of_one_machine_and_each_node_once(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    with farm(tmp_path, "m1", "m2", "m3") as site:
        local = [*site.command("local", "-C", str(project)), "build", "--no-pull", "--progress", "quiet"]
        subprocess.run(local, check=True, stdout=subprocess.DEVNULL)
        build = site.build(project)
        code, ends = build.end()
        assert code == 0, ends
        assert {name: end["status"] for name, end in ends.items()} == dict.fromkeys(NODES, "built")
        assert artifacts(site.store("user")) == artifacts(site.store("local"))
        assert layers(site.store("user")) == layers(site.store("local"))
        assert {node: site.logs_of(node, "m1", "m2", "m3") for node in NODES} == dict.fromkeys(NODES, 1)
        machines = {event["machine"] for event in build.events if event["event"] == "NodeStarted"}
        assert machines <= {"m1", "m2", "m3"}
        assert machines
        phases = [event["phase"] for event in build.events if event["event"] == "NodePhase" and event["node"] == "two"]
        assert phases[0] == "pull"
        assert phases[-1] == "push"
        code, ends = site.build(project, store="another").end()  # all of it is in the shared store
        assert (code, {name: end["status"] for name, end in ends.items()}) == (0, dict.fromkeys(NODES, "cached"))
        assert artifacts(site.store("another")) == artifacts(site.store("local"))
        drained(site, "m1")


def drained(site: Farm, name: str) -> None:
    """A worker that gets SIGTERM takes no more nodes and ends."""
    process = site.processes.pop(name)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert "taking no more nodes" in site.log(name)


def test_a_worker_that_drains_ends_its_node_first(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", SLOW)
    with farm(tmp_path, "m1") as site:
        build = site.build(project, "one")
        begun(build, "one")
        drained(site, "m1")
        assert build.end()[1]["one"]["status"] == "built"


def begun(build: Build, node: str) -> str:
    """Wait until a machine runs the script of a node, and return its name."""
    machine = build.until("NodeStarted", node=node)["machine"]
    build.until("NodePhase", node=node, phase="finish")
    return str(machine)


def test_the_node_of_a_killed_worker_is_built_elsewhere(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", SLOW)
    with farm(tmp_path, "m1", "m2") as site:
        build = site.build(project, "one-tar")
        machine = begun(build, "one")
        site.kill(machine)
        notice = build.until("NodeNotice", node="one")
        assert f"machine {machine} was lost" in notice["text"]
        code, ends = build.end()
        assert (code, ends["one"]["status"]) == (0, "built")
        (other,) = {"m1", "m2"} - {machine}
        assert site.logs_of("one", other) == 1
        assert not list(site.store("user").glob("work/*"))


def test_a_node_that_three_machines_did_not_survive_is_given_up_with_its_evidence(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", "echo the last words; sleep 99")
    with farm(tmp_path, "m1", "m2", "m3", "m4") as site:
        build = site.build(project, "one")
        for number in range(1, 4):
            machine = eventually(lambda number=number: speaking(site, number))
            site.kill(machine)
        code, ends = build.end()
        error = ends["one"]["error"]
        assert (code, error["reason"]) == (1, "farm")
        assert "3 machines were lost" in error["message"]
        assert "the last words" in error["detail"]


def speaking(site: Farm, number: int) -> str | None:
    """Return the machine that builds the node, once the log of the run has the words of so many attempts."""
    logs = site.store("user").glob("logs/*/one/*.log")
    if sum(log.read_text().count("\nthe last words") for log in logs) < number:
        return None
    return next(name for name in set(site.processes) - {"scheduler"} if site.logs_of("one", name))


def test_a_failure_names_its_machine_and_the_root_that_is_kept_there(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", "sleep 3; echo wrong; exit 3")
    with farm(tmp_path, "m1") as site:
        build = site.build(project, "one")
        begun(build, "one")
        status = subprocess.check_output(site.command("user", "-C", str(project), "status"), text=True)
        assert "one on m1" in status
        assert len(list((site.remote / "leases").iterdir())) == 1  # the inputs stay until the end
        code, ends = build.end()
        hint = ends["one"]["error"]["hint"]
        root = site.store("m1") / "failed/farm/one"
        assert code == 1
        assert f"machine m1 built it; its log there is {site.store('m1')}/logs/farm/one/" in hint
        assert f"its root {root}" in hint and root.is_dir()
        said = build.errors
        assert "stagewright shell" not in said and "stagewright log one" in said, said
        looked(site, project)
        assert not list((site.remote / "leases").iterdir())


def looked(site: Farm, project: Path) -> None:
    """After a failure on the machine m1, ``shell`` and ``log`` say how to look there, and ``shell`` looks there."""
    here = site.command("user", "-C", str(project))
    refused = subprocess.run([*here, "shell", "one"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "its last build failed on m1, a machine of a farm" in refused.stderr
    words = f"stagewright --store {site.store('m1')} shell --on-worker one"
    assert f"on m1: {words}" in refused.stderr
    log = subprocess.run([*here, "log"], capture_output=True, text=True, check=True)
    assert "the last failure is one" in log.stderr and words in log.stderr and "wrong" in log.stdout
    there = site.command("m1", "shell", "--on-worker", "one", "busybox", "ls", "/etc/motd")
    assert subprocess.check_output(there, text=True).strip() == "/etc/motd"


def test_two_nodes_with_one_key_are_built_once(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    with (project / "stagewright.toml").open("a") as file:
        same = '[stages.same]\nkind = "stage4"\nroot = "small"\nroot_overlay = ["overlay"]\nscript = "script"\n'
        file.write(same + '[stages.same-tar]\nkind = "tarball"\nroot = "same"\n')
    with farm(tmp_path, "m1") as site:
        code, ends = site.build(project, "one-tar", "same-tar").end()
        assert code == 0
        assert {ends[name]["status"] for name in ("one-tar", "same-tar")} == {"built"}
        assert sorted(ends[name]["status"] for name in ("one", "same")) == ["built", "cached"]
        assert site.logs_of("one", "m1") + site.logs_of("same", "m1") == 1


def test_an_input_that_the_remote_has_damaged_is_built_again_after_it_was_removed(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    with farm(tmp_path, "m1") as site:
        assert site.build(project, "one").end()[0] == 0
        site.worker("m2")
        site.connected("m2")
        drained(site, "m1")
        named = "".join(path.read_text() for path in (site.remote / "results").glob("*/*"))
        for blob in (path for path in (site.remote / "blobs").glob("*/*") if path.name in named):
            blob.write_bytes(b"altered".ljust(blob.stat().st_size, b"."))
        _, ends = site.build(project, "one-tar", store="another").end()
        error = ends["seed:small"]["error"]
        remedy = ["store", "verify", f"{site.remote}/", "--remove"]
        assert error["reason"] == "farm"
        assert f"stagewright {' '.join(remedy)}" in error["detail"]
        assert subprocess.run(site.command("user", *remedy), check=False, capture_output=True).returncode
        code, ends = site.build(project, "one-tar", store="another").end()
        assert (code, {end["status"] for end in ends.values()}) == (0, {"built"})
        assert site.logs_of("one", "m2") == 1


def test_a_lost_scheduler_loses_no_result(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", SLOW)
    with farm(tmp_path, "m1") as site:
        build = site.build(project, "one-tar")
        begun(build, "one")
        site.kill("scheduler")
        code, ends = build.end()
        assert code == 1
        assert ends["seed:small"]["status"] == "built"
        assert ends["one"]["error"]["reason"] == "farm"
        (tmp_path / "m1.log").write_text("")
        site.scheduler()
        site.connected("m1")
        code, ends = site.build(project, "one-tar").end()
        assert code == 0
        assert ends.pop("seed:small", {"status": "cached"})["status"] == "cached"
        assert {name: end["status"] for name, end in ends.items()} == dict.fromkeys(("one", "one-tar"), "built")


def test_a_stopped_build_stops_its_nodes_on_the_machines(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", "sleep 98")
    with farm(tmp_path, "m1") as site:
        build = site.build(project, "one")
        begun(build, "one")
        build.process.kill()
        eventually(lambda: not list(site.store("m1").glob("work/*")), 30)
        (project / "script").write_text("#!/bin/sh\ntrue\n")
        assert site.build(project, "one").end()[0] == 0
