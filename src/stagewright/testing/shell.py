"""Console and shell of a guest, for the functions of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from stagewright.errors import Reason, StagewrightError
from stagewright.vm.console import Console


class Shell(Protocol):
    """A guest with a shell; see ``guest.py``."""

    @property
    def console(self) -> Console:
        """Console of the guest."""

    def run(self, command: str, timeout: float | None = None) -> tuple[int, str]:
        """Run a command. Return its exit status and its output."""

    def wait_until(self, what: str, attempt: Callable[[], bool], timeout: float | None = None) -> None:
        """Repeat an attempt each second until it returns True."""


def failed(message: str, detail: str = "", hint: str = "") -> StagewrightError:
    """Return the error for a guest that is not as the test expects."""
    return StagewrightError(Reason.BOOT_FAILED, message, detail=detail, hint=hint)
