"""The programs by which a system of a test updates itself: systemd-sysupdate, or stagewright-update without systemd.

Their settings stay in use, with the address of the test's server in place of theirs and the keyring of the test. Both
changes are in memory and end with a reboot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

RUN = "/run/update-test"
"""Folder in the guest for the keyring of the test and for output."""

KEYRING = f"{RUN}/keyring.gpg"
"""Where a test puts its keyring."""

SYSUPDATE = "/usr/lib/systemd/systemd-sysupdate"


class UpdateClient(Protocol):
    """Commands for the shell of the guest."""

    @property
    def program(self) -> str:
        """Path of the program."""

    def trust(self) -> Sequence[str]:
        """Trust the keyring of the test."""

    def point_to(self, url: str) -> Sequence[str]:
        """Use another address."""

    def update(self) -> str:
        """Update."""

    def update_in_background(self) -> str:
        """Begin an update that goes on without the shell."""

    def log(self) -> str:
        """Print the end of the output of an update in the background."""

    def entries(self) -> str:
        """Print the names of all boot entries, one a line."""


@dataclass(frozen=True)
class Sysupdate:
    """systemd-sysupdate. Its definitions in /run replace its own ones."""

    program: str = SYSUPDATE
    _keyring: str = "/etc/systemd/import-pubring.gpg"
    _unit: str = "update-under-test"

    def trust(self) -> Sequence[str]:
        """Mount the keyring over that of the system."""
        return (f"mount --bind {KEYRING} {self._keyring}",)

    def point_to(self, url: str) -> Sequence[str]:
        """Write the definitions with another address."""
        own, run = "/usr/lib/sysupdate.d", "/run/sysupdate.d"
        lines = f"s|^Path=http.*|Path={url}|"
        return (
            f"mkdir -p {run}",
            f"for f in {own}/*.transfer; do sed '{lines}' $f > {run}/${{f##*/}} || exit; done",
        )

    def update(self) -> str:
        """Update."""
        return f"{SYSUPDATE} update"

    def update_in_background(self) -> str:
        """Begin an update as a unit."""
        return f"systemd-run --quiet --collect --unit={self._unit} {SYSUPDATE} update"

    def log(self) -> str:
        """Print the journal of the unit."""
        return f"journalctl --no-pager -u {self._unit} | tail -n 20"

    def entries(self) -> str:
        """List the folder of the boot partition."""
        return 'ls "$(bootctl --print-boot-path)"/EFI/Linux'


@dataclass(frozen=True)
class OwnClient:
    """stagewright-update, with settings in /run."""

    program: str = "/usr/bin/stagewright-update"

    @property
    def _command(self) -> str:
        return f"stagewright-update --config {RUN}/update.conf"

    def trust(self) -> Sequence[str]:
        """Trust it by the settings of :meth:`point_to`."""
        return ()

    def point_to(self, url: str) -> Sequence[str]:
        """Write the settings with another address and keyring."""
        lines = f"s|^url = .*|url = {url}|; s|^keyring = .*|keyring = {KEYRING}|"
        return (f"sed '{lines}' /etc/stagewright-update/update.conf > {RUN}/update.conf",)

    def update(self) -> str:
        """Update."""
        return f"{self._command} update"

    def update_in_background(self) -> str:
        """Begin an update in another session."""
        return f"(setsid {self._command} update > {RUN}/log 2>&1 < /dev/null &)"

    def log(self) -> str:
        """Print the output."""
        return f"tail -n 20 {RUN}/log"

    def entries(self) -> str:
        """Print the entries that the program lists."""
        return "stagewright-update --offline list | sed -n 's/.* \\([^ ]*[.]efi\\).*/\\1/p'"


CLIENTS: Sequence[UpdateClient] = (Sysupdate(), OwnClient())
"""The programs, the first one first if a system has both."""
