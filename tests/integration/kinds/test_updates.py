"""updates: a machine refuses a feed that another key signed, installs the next version, and starts it.

Power failures, other changed feeds and broken versions are in `make update-matrix`.
"""

from __future__ import annotations

import json

import pytest

from integration.fleet import Fleet
from integration.support import call
from stagewright.testing.results import Report

pytestmark = pytest.mark.real


@pytest.mark.boot
def test_a_machine_updates_itself(fleet: Fleet) -> None:
    call("test", "update", cwd=fleet.project, store=fleet.store, timeout=2000)
    results = fleet.project / "out/tests/update"
    report = Report.from_dict(json.loads((results / "result.json").read_text(encoding="utf-8")))
    assert report.passed and report.attempts == 1
    console = (results / "console.log").read_text(errors="replace", encoding="utf-8")
    assert "Failed to start" not in console
    requests = [json.loads(line) for line in (results / "requests.jsonl").read_text(encoding="utf-8").splitlines()]
    served = {event["path"] for event in requests if event.get("status") == 200}
    assert {path.rpartition("/")[2] for path in served if path.startswith("/key/")} <= {"SHA256SUMS", "SHA256SUMS.gpg"}
    assert "/good/fleet_1.0.next.efi" in served
