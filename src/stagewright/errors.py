"""Errors that users see: a reason to test for, a place to look at, and what to do.

Everything that can go wrong because of the world (a project file, a missing tool, a failing package, a full disk)
is a :class:`StagewrightError`; the command line prints it without a traceback and exits with the code of its
:class:`Reason`. Any other exception is a bug of ours and always shows its traceback.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Exit(enum.IntEnum):
    """Exit codes of the command, the one table (documented in docs/exit-codes.md)."""

    OK = 0
    FAILED = 1  # something was built or booted, and failed
    INVALID = 2  # the project, the seed or the command line is wrong
    HOST = 3  # this machine lacks something: a tool, a right, a kernel feature
    STORE = 4  # the store cannot be used: disk full, broken, in use
    BUG = 70  # a defect of Stagewright (EX_SOFTWARE in sysexits.h)
    INTERRUPTED = 130  # ended by Ctrl-C or SIGTERM


class Reason(enum.StrEnum):
    """Why it failed: what tests assert and scripts match, unlike the prose of the message."""

    # the project
    SYNTAX = "syntax"
    FORMAT = "format"
    UNKNOWN_KEY = "unknown-key"
    UNKNOWN_KIND = "unknown-kind"
    UNKNOWN_NAME = "unknown-name"
    DUPLICATE_NAME = "duplicate-name"
    INVALID_VALUE = "invalid-value"
    MISSING_KEY = "missing-key"
    MISSING_FILE = "missing-file"
    BAD_ATOM = "bad-atom"
    CYCLE = "cycle"
    NO_PROJECT = "no-project"
    LOCK_STALE = "lock-stale"
    USAGE = "usage"
    NOT_SUPPORTED = "not-supported"
    # seeds
    BAD_ARCHIVE = "bad-archive"
    UNSAFE_ARCHIVE = "unsafe-archive"
    ARCHIVE_TOO_LARGE = "archive-too-large"
    DIGEST_MISMATCH = "digest-mismatch"
    BAD_LISTING = "bad-listing"  # what a mirror or registry says of its files makes no sense
    WRONG_NAME = "wrong-name"  # signed, but for another file
    REPLAYED = "replayed"  # signed, but older than what was there before
    # the network
    FETCH_FAILED = "fetch-failed"
    NOT_FOUND = "not-found"
    FETCH_STALLED = "fetch-stalled"
    FETCH_CUT = "fetch-cut"  # the connection ended before the file did
    WRONG_LENGTH = "wrong-length"
    NOT_A_FILE = "not-a-file"  # a page for people instead of a file
    BAD_REDIRECT = "bad-redirect"
    # signatures
    BAD_SIGNATURE = "bad-signature"
    NO_SIGNATURE = "no-signature"
    UNSIGNED_TEXT = "unsigned-text"  # around what is signed
    UNKNOWN_SIGNER = "unknown-signer"
    EXPIRED_KEY = "expired-key"
    REVOKED_KEY = "revoked-key"
    EXPIRED_SIGNATURE = "expired-signature"
    SIGNATURE_TIME = "signature-time"
    WEAK_DIGEST = "weak-digest"
    NO_KEYS = "no-keys"
    # this machine
    MISSING_TOOL = "missing-tool"
    NOT_ROOT = "not-root"
    HOST_FEATURE = "host-feature"
    NO_FIRMWARE = "no-firmware"
    BAD_PLUGIN = "bad-plugin"  # a package with kinds that cannot be loaded
    # the store
    DISK_FULL = "disk-full"
    STORE_FORMAT = "store-format"
    STORE_BUSY = "store-busy"
    NOT_BUILT = "not-built"
    # building
    COMMAND_FAILED = "command-failed"
    PACKAGE_FAILED = "package-failed"
    DEPENDENCIES = "dependencies"
    ENVIRONMENT_LACKS = "environment-lacks"
    BUILD_FAILED = "build-failed"
    BOOT_FAILED = "boot-failed"
    INTERRUPTED = "interrupted"
    BUG = "bug"

    @property
    def exit(self) -> Exit:
        """The exit code that goes with this reason."""
        return _EXITS.get(self, Exit.INVALID)


_EXITS = {
    Reason.MISSING_TOOL: Exit.HOST,
    Reason.NOT_ROOT: Exit.HOST,
    Reason.HOST_FEATURE: Exit.HOST,
    Reason.NO_FIRMWARE: Exit.HOST,
    Reason.BAD_PLUGIN: Exit.HOST,
    Reason.DISK_FULL: Exit.STORE,
    Reason.STORE_FORMAT: Exit.STORE,
    Reason.STORE_BUSY: Exit.STORE,
    Reason.COMMAND_FAILED: Exit.FAILED,
    Reason.PACKAGE_FAILED: Exit.FAILED,
    Reason.FETCH_FAILED: Exit.FAILED,
    Reason.NOT_FOUND: Exit.FAILED,
    Reason.FETCH_STALLED: Exit.FAILED,
    Reason.FETCH_CUT: Exit.FAILED,
    Reason.WRONG_LENGTH: Exit.FAILED,
    Reason.NOT_A_FILE: Exit.FAILED,
    Reason.BAD_REDIRECT: Exit.FAILED,
    Reason.BAD_LISTING: Exit.FAILED,
    Reason.WRONG_NAME: Exit.FAILED,
    Reason.REPLAYED: Exit.FAILED,
    Reason.BAD_SIGNATURE: Exit.FAILED,
    Reason.NO_SIGNATURE: Exit.FAILED,
    Reason.UNSIGNED_TEXT: Exit.FAILED,
    Reason.UNKNOWN_SIGNER: Exit.FAILED,
    Reason.EXPIRED_KEY: Exit.FAILED,
    Reason.REVOKED_KEY: Exit.FAILED,
    Reason.EXPIRED_SIGNATURE: Exit.FAILED,
    Reason.SIGNATURE_TIME: Exit.FAILED,
    Reason.WEAK_DIGEST: Exit.FAILED,
    Reason.NO_KEYS: Exit.HOST,
    Reason.DEPENDENCIES: Exit.FAILED,
    Reason.ENVIRONMENT_LACKS: Exit.FAILED,
    Reason.BUILD_FAILED: Exit.FAILED,
    Reason.BOOT_FAILED: Exit.FAILED,
    Reason.INTERRUPTED: Exit.INTERRUPTED,
    Reason.BUG: Exit.BUG,
}


@dataclass(frozen=True, order=True)
class Place:
    """Where in a text file something is written. Lines and columns count from 1; 0 means unknown."""

    file: Path
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([str(self.file), *(str(number) for number in (self.line, self.column) if number)])

    def to_dict(self) -> dict[str, Any]:
        """The place as JSON-able data."""
        return {"file": str(self.file), "line": self.line, "column": self.column}


class StagewrightError(Exception):
    """One thing that went wrong, told so that its reader can mend it.

    ``message`` says what is wrong, ``hint`` what to do about it, ``detail`` carries longer evidence such as the tail
    of a log. The three are prose and may change; ``reason`` is what programs look at.
    """

    def __init__(
        self, reason: Reason, message: str, *, place: Place | None = None, hint: str = "", detail: str = ""
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.place = place
        self.hint = hint
        self.detail = detail

    def __str__(self) -> str:
        head = f"{self.place}: {self.message}" if self.place else self.message
        return "\n".join(filter(None, [head, self.detail, self.hint and f"  hint: {self.hint}"]))

    def __reduce__(self) -> tuple[Any, ...]:
        return StagewrightError.from_dict, (self.to_dict(),)

    def at(self, place: Place) -> StagewrightError:
        """The same error with this place, unless it has one of its own."""
        return StagewrightError(
            self.reason, self.message, place=self.place or place, hint=self.hint, detail=self.detail
        )

    def to_dict(self) -> dict[str, Any]:
        """The error as JSON-able data; :meth:`from_dict` reads it back on the other side of a pipe."""
        return {
            "reason": self.reason.value,
            "message": self.message,
            "place": self.place and self.place.to_dict(),
            "hint": self.hint,
            "detail": self.detail,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> StagewrightError:
        """The error that :meth:`to_dict` described."""
        place = data.get("place")
        return StagewrightError(
            Reason(data["reason"]),
            data["message"],
            place=Place(Path(place["file"]), place["line"], place["column"]) if place else None,
            hint=data.get("hint", ""),
            detail=data.get("detail", ""),
        )


class ProblemsError(StagewrightError):
    """Several errors found in one pass, sorted by place, so that a user mends a project in one go."""

    def __init__(self, problems: Iterable[StagewrightError]) -> None:
        unknown = Place(Path())
        self.problems = sorted(problems, key=lambda problem: problem.place or unknown)
        first = self.problems[0]
        super().__init__(first.reason, f"{len(self.problems)} errors" if len(self.problems) > 1 else first.message)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """The error as one: a single problem as it is, several as the detail."""
        if len(self.problems) == 1:
            return self.problems[0].to_dict()
        return {**super().to_dict(), "detail": str(self)}


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the known word closest to ``name``, or lists what is known when nothing is close."""
    import difflib  # noqa: PLC0415  needed only when something is wrong

    words = sorted(map(str, known))
    close = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known here: {', '.join(words)}" if words else ""
