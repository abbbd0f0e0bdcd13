"""Updates in a machine: a download that stops is reported with the program's own words."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, cast

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.testing import updating
from stagewright.testing.machine import Machine
from stagewright.testing.update_clients import OwnClient
from stagewright.testing.updating import UpdateRun


class StalledFeed:
    """A feed of which a half was downloaded."""

    keyring = Path("keyring")

    def url(self, name: str) -> str:
        return name

    def restart(self) -> None:
        pass

    def fraction(self) -> float:
        return 0.5


class Guest:
    """A machine whose update has ended with an error."""

    timeline = types.SimpleNamespace(left=lambda seconds: 3600.0)

    def run(self, command: str, timeout: float | None = None) -> tuple[int, str]:
        return (0, "error: no route to host") if command.startswith("tail") else (1, "")

    def tail(self) -> str:
        return ""


def test_a_download_that_stops_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updating, "_STALL", 0.01)
    monkeypatch.setattr(UpdateRun, "_client", staticmethod(lambda machine: OwnClient()))
    run = UpdateRun(StalledFeed(), "tiny", "1.0", "1.1", cuts=[0.9])
    with pytest.raises(StagewrightError) as caught:
        run._wait_for(cast("Machine", cast("Any", Guest())), 0.9)
    assert (caught.value.reason, caught.value.message) == (Reason.BOOT_FAILED, "the download stopped at 50%")
    assert "no route to host" in caught.value.detail


def test_a_download_that_goes_on_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updating, "_STALL", 0.01)
    run = UpdateRun(StalledFeed(), "tiny", "1.0", "1.1", cuts=[0.5])
    run._wait_for(cast("Machine", cast("Any", Guest())), 0.5)
