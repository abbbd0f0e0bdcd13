"""Updates in a machine: a download that stops is reported with the program's own words."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator, Sequence
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


class FallingGuest:
    """A machine that falls back. Boots have a version, whether it is good, and whether they end during a command."""

    def __init__(self, *boots: tuple[str, bool, bool]) -> None:
        self.boots: Sequence[tuple[str, bool, bool]] = boots
        self.at = 0

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        yield

    subtest = step

    def reboot(self) -> None:
        pass

    def accept_failed_boots(self) -> None:
        pass

    def require_shell(self) -> None:
        pass

    def resets(self) -> int:
        return self.at

    def wait_for_reset(self, seen: int) -> None:
        self.at = seen + 1

    def run(self, command: str, timeout: float | None = None) -> tuple[int, str]:
        version, good, reboots = self.boots[self.at]
        if reboots:
            self.at += 1
            raise StagewrightError(Reason.BOOT_FAILED, "timed out")
        return (0, version) if "os-release" in command else (0 if good else 1, "")

    def succeed(self, command: str) -> str:
        assert "tiny_1[.]1+0-" in command
        return ""

    def tail(self) -> str:
        return ""


def fall_back(monkeypatch: pytest.MonkeyPatch, *boots: tuple[str, bool, bool]) -> int:
    """Let a machine fall back, and return the number of boots."""
    monkeypatch.setattr(UpdateRun, "_client", staticmethod(lambda machine: OwnClient()))
    guest = FallingGuest(*boots)
    UpdateRun(StalledFeed(), "tiny", "1.0", "1.1", broken=True)._fall_back(cast("Machine", cast("Any", guest)))
    return guest.at + 1


def test_a_login_of_a_version_that_is_never_good_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    new, rebooting, old = ("1.1", False, False), ("1.1", False, True), ("1.0", True, False)
    assert fall_back(monkeypatch, old) == 1
    assert fall_back(monkeypatch, new, rebooting, new, old) == 4


def test_a_broken_version_that_is_marked_as_good_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StagewrightError) as caught:
        fall_back(monkeypatch, ("1.1", False, False), ("1.1", True, False))
    assert caught.value.message == "the broken version 1.1 was marked as good"
