"""Steps of a test with a system that updates itself: updates, power failures, changed feeds, and fallback.

The program that updates the system is found when the system has started (``update_clients.py``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stagewright.errors import Reason, StagewrightError
from stagewright.testing.guest import Guest
from stagewright.testing.machine import Machine
from stagewright.testing.update_clients import CLIENTS, KEYRING, RUN, UpdateClient

_POLL = 0.05  # seconds
_READ = 120.0  # seconds in which a system that is about to reboot says its version
_STALL = 600.0  # seconds without a byte of the download, after which nothing more is expected


class ServedFeed(Protocol):
    """Feeds that the guest can reach, by name: ``good``, and changed ones."""

    keyring: Path
    """The key that signed the good feed."""

    def url(self, name: str) -> str:
        """Return the address of a feed for the guest."""

    def restart(self) -> None:
        """Forget what was downloaded."""

    def fraction(self) -> float:
        """Return the downloaded part of the good feed since the last restart, from 0 to 1."""


@dataclass(frozen=True)
class UpdateRun:
    """An update to perform with a machine. ``name``, ``old`` and ``new`` are those of the system and its versions.

    ``changed`` are the names of feeds that must not be installed: an update fails, or does nothing for those in
    ``older``, which have no newer version. ``cuts`` are parts of the download, from 0 to 1, after which the power
    fails. With ``broken``, the new version does not start, and the old one must come back.
    """

    feed: ServedFeed
    name: str
    old: str
    new: str
    changed: Sequence[str] = ()
    older: Sequence[str] = ()
    cuts: Sequence[float] = ()
    broken: bool = False

    def perform(self, guest: Guest) -> None:
        """Do everything. Raises ``BOOT_FAILED``."""
        assert isinstance(guest, Machine), "tests of updates have virtual machines"
        self._expect_version(guest, (self.old,))
        for name in self.changed:
            self._refuse(guest, name)
        for cut in self.cuts:
            if self._cut(guest, cut) == self.new:
                break
        if self._version(guest) == self.old:
            self._point_to(guest, "good")
            client = self._client(guest)
            guest.succeed(client.update())
            guest.succeed(client.entries())
            if self.broken:
                self._fall_back(guest)
                return
            guest.reboot()
        self._expect_version(guest, (self.new,))
        with guest.step(f"wait until version {self.new} is marked as good"):
            guest.wait_until("the boot to be good", lambda: self._is_good(guest))

    @staticmethod
    def _client(machine: Machine) -> UpdateClient:
        """Return the program that updates the system. Raises BOOT_FAILED if it has none."""
        for client in CLIENTS:
            if machine.run(f"test -x {client.program}")[0] == 0:
                return client
        raise _failure(machine, f"no program for updates ({' or '.join(client.program for client in CLIENTS)})", "")

    def _point_to(self, machine: Machine, feed: str) -> None:
        """Let the program use a feed of the test, and trust its key."""
        client = self._client(machine)
        with machine.step(f"serve the feed {feed}"):
            if machine.run(f"test -e {KEYRING}")[0]:
                self._do(machine, f"mkdir -p {RUN}")
                machine.put(self.feed.keyring, KEYRING)
                for command in client.trust():
                    self._do(machine, command)
            for command in client.point_to(self.feed.url(feed)):
                self._do(machine, command)

    @staticmethod
    def _do(machine: Machine, command: str) -> None:
        status, output = machine.run(f"({command})")
        if status:
            raise _failure(machine, f"{command}: exit status {status}", output)

    def _refuse(self, machine: Machine, feed: str) -> None:
        """Check that the system refuses a feed, and that it has no boot entry of the new version."""
        self._point_to(machine, feed)
        client = self._client(machine)
        if feed in self.older:
            machine.succeed(client.update())
        else:
            machine.fail(client.update())
        machine.fail(f"{client.entries()} | grep '^{self._pattern}'")

    @property
    def _pattern(self) -> str:
        """The start of the names of the new version's boot entries, for grep(1)."""
        return f"{self.name}_{self.new}".replace(".", "[.]").replace("^", "\\^")

    def _cut(self, machine: Machine, cut: float) -> str:
        """Switch the machine off in the middle of an update, and start it again. Return its version then."""
        with machine.subtest(f"power failure at {cut:.0%} of the download"):
            self._point_to(machine, "good")
            self.feed.restart()
            machine.succeed(self._client(machine).update_in_background())
            with machine.step("update in the background"):
                self._wait_for(machine, cut)
            machine.crash()
            machine.start()
            return self._expect_version(machine, (self.old, self.new))

    def _wait_for(self, machine: Machine, cut: float) -> None:
        end = time.monotonic() + machine.timeline.left(None)
        seen, stalled = 0.0, time.monotonic() + _STALL
        while (found := self.feed.fraction()) < cut:
            if found > seen:
                seen, stalled = found, time.monotonic() + _STALL
            if time.monotonic() > min(end, stalled):
                journal = machine.run(self._client(machine).log(), timeout=30)[1]
                raise _failure(machine, f"the download stopped at {self.feed.fraction():.0%}", journal)
            time.sleep(_POLL)

    def _fall_back(self, machine: Machine) -> None:
        """Reboot into the new version, which fails, and wait until the old one is back by itself."""
        with machine.subtest("fall back by itself"):
            machine.reboot()
            machine.accept_failed_boots()
            while self._try(machine) == self.new:
                pass
            self._expect_version(machine, (self.old,))
            machine.succeed(f"{self._client(machine).entries()} | grep '^{self._pattern}+0-.*[.]efi$'")

    def _try(self, machine: Machine) -> str:
        """Wait for a login, and return the version that runs.

        A new one with a login can be one that is never good: wait until it reboots by itself. Raises BOOT_FAILED if it
        was marked as good.
        """
        with machine.step("wait for a login"):
            machine.require_shell()
        seen = machine.resets()
        try:
            version = self._version(machine, timeout=_READ)
            if version == self.new and self._is_good(machine, timeout=_READ):
                raise _failure(machine, f"the broken version {self.new} was marked as good", "")
        except StagewrightError:
            if machine.resets() == seen:
                raise
            version = self.new  # it has rebooted meanwhile
        if version == self.new:
            machine.wait_for_reset(seen)
        return version

    def _is_good(self, machine: Machine, timeout: float | None = None) -> bool:
        goal = f"{self._client(machine).entries()} | grep -qxF {self.name}_{self.new}.efi"
        return machine.run(goal, timeout)[0] == 0

    def _version(self, machine: Machine, timeout: float | None = None) -> str:
        status, output = machine.run(". /etc/os-release && echo $IMAGE_VERSION", timeout)
        return output.strip() if status == 0 else ""

    def _expect_version(self, machine: Machine, versions: Sequence[str]) -> str:
        with machine.step(f"version {' or '.join(versions)}"):
            found = self._version(machine)
            if found not in versions:
                raise _failure(machine, f"wrong version (found {found}, expected {' or '.join(versions)})", "")
            return found


def _failure(machine: Machine, message: str, detail: str) -> StagewrightError:
    return StagewrightError(Reason.BOOT_FAILED, message, detail=f"{detail}\n{machine.tail()}".strip())
