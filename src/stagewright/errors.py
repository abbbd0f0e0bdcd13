"""Errors that users see: a reason to test for, a place to look at, and what to do.

Errors with a cause outside of Stagewright (a project file, a missing tool, a failing package, a full disk) are
:class:`StagewrightError`. The command line prints them without a traceback and exits with the code of their
:class:`Reason`. Any other exception is a defect of Stagewright and always shows its traceback.
"""

from __future__ import annotations

import bisect
import enum
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stagewright.lazy_dataclass import dataclass


class Exit(enum.IntEnum):
    """Exit codes of the command (docs/exit-codes.md)."""

    OK = 0
    FAILED = 1  # a build or a test failed
    INVALID = 2  # the project, the seed or the command line is wrong
    HOST = 3  # this machine lacks a tool, a right or a kernel feature
    STORE = 4  # the store cannot be used: disk full, broken, in use
    BUG = 70  # a defect of Stagewright (EX_SOFTWARE in sysexits.h)
    INTERRUPTED = 130  # ended by Ctrl-C or SIGTERM


class Reason(enum.StrEnum):
    """Cause of an error, for tests and programs. Reasons do not change; messages can."""

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
    BAD_LISTING = "bad-listing"  # a mirror or registry describes its files in an invalid form
    WRONG_NAME = "wrong-name"  # signed, but for another file
    OUTDATED = "outdated"  # signed, but no longer valid
    EXTRA_FILE = "extra-file"  # does not belong to a release
    REPLAYED = "replayed"  # signed, but older than the pinned state
    # the network
    FETCH_FAILED = "fetch-failed"
    NOT_FOUND = "not-found"
    FETCH_STALLED = "fetch-stalled"
    FETCH_CUT = "fetch-cut"  # the connection ended before the end of the file
    WRONG_LENGTH = "wrong-length"
    NOT_A_FILE = "not-a-file"  # a page for people instead of a file
    BAD_REDIRECT = "bad-redirect"
    # signatures
    BAD_SIGNATURE = "bad-signature"
    NO_SIGNATURE = "no-signature"
    UNSIGNED_TEXT = "unsigned-text"  # text around the signed text
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
    STORE_FAILED = "store-failed"  # its disk is read-only or broken, or it is gone
    DAMAGED = "damaged"  # a result is not what was built
    NOT_BUILT = "not-built"
    # releases
    LICENCE_REFUSED = "licence-refused"  # a channel does not accept a package of a release
    NOT_DISTRIBUTABLE = "not-distributable"  # a channel that is not for giving away
    TOO_LARGE = "too-large"  # an artifact exceeds its `size` or `grow`
    # building again
    UNKNOWN_SOURCE = "unknown-source"  # a manifest does not say from which files an artifact was built
    WRONG_END = "wrong-end"  # of a search: the good end is bad, the bad one is good, or one cannot be built
    UNRELATED = "unrelated"  # locks of another project, or commits that are not on one branch
    NOT_REPRODUCED = "not-reproduced"  # a second build made something else
    # building
    COMMAND_FAILED = "command-failed"
    PACKAGE_FAILED = "package-failed"
    DEPENDENCIES = "dependencies"
    ENVIRONMENT_LACKS = "environment-lacks"
    BUILD_FAILED = "build-failed"
    BOOT_FAILED = "boot-failed"
    CONSOLE_ERRORS = "console-errors"  # a test passed, but the console shows errors that it does not permit
    FARM = "farm"  # no scheduler, no machine that can, or too many machines lost
    LIMIT = "limit"  # of time, memory, processes or disk for one node
    INTERRUPTED = "interrupted"
    BUG = "bug"

    @property
    def exit(self) -> Exit:
        """Exit code for this reason."""
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
    Reason.STORE_FAILED: Exit.STORE,
    Reason.DAMAGED: Exit.STORE,
    Reason.COMMAND_FAILED: Exit.FAILED,
    Reason.FARM: Exit.FAILED,
    Reason.LIMIT: Exit.FAILED,
    Reason.PACKAGE_FAILED: Exit.FAILED,
    Reason.FETCH_FAILED: Exit.FAILED,
    Reason.NOT_FOUND: Exit.FAILED,
    Reason.NOT_REPRODUCED: Exit.FAILED,
    Reason.FETCH_STALLED: Exit.FAILED,
    Reason.FETCH_CUT: Exit.FAILED,
    Reason.WRONG_LENGTH: Exit.FAILED,
    Reason.NOT_A_FILE: Exit.FAILED,
    Reason.BAD_REDIRECT: Exit.FAILED,
    Reason.BAD_LISTING: Exit.FAILED,
    Reason.WRONG_NAME: Exit.FAILED,
    Reason.REPLAYED: Exit.FAILED,
    Reason.OUTDATED: Exit.FAILED,
    Reason.EXTRA_FILE: Exit.FAILED,
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
    Reason.TOO_LARGE: Exit.FAILED,
    Reason.BOOT_FAILED: Exit.FAILED,
    Reason.CONSOLE_ERRORS: Exit.FAILED,
    Reason.INTERRUPTED: Exit.INTERRUPTED,
    Reason.BUG: Exit.BUG,
}


NEXT_HINT = "\n        "
"""Stands between two hints of an error, which are printed below each other."""


PROJECT_FILE = "stagewright.toml"
"""The file that makes a folder a project. Paths in its errors are relative where that is shorter (ui/paths.py)."""


@dataclass(frozen=True, order=True)
class Place:
    """Position in a text file. Lines and columns count from 1; 0 means unknown."""

    file: Path
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([str(self.file), *(str(number) for number in (self.line, self.column) if number)])

    def to_dict(self) -> dict[str, Any]:
        """Return the place as JSON-able data."""
        return {"file": str(self.file), "line": self.line, "column": self.column}


class StagewrightError(Exception):
    """One error, with everything that a user needs to correct it.

    ``message`` says what is wrong, and ``hint`` what to do. ``detail`` is longer evidence, such as the end of a log.
    These texts can change; programs use ``reason``.
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
        """Return the error with this place, unless it already has one."""
        return StagewrightError(
            self.reason, self.message, place=self.place or place, hint=self.hint, detail=self.detail
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-able data, which :meth:`from_dict` reads in another process."""
        return {
            "reason": self.reason.value,
            "message": self.message,
            "place": self.place and self.place.to_dict(),
            "hint": self.hint,
            "detail": self.detail,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> StagewrightError:
        """Return the error that :meth:`to_dict` has described."""
        place = data.get("place")
        return StagewrightError(
            Reason(data["reason"]),
            data["message"],
            place=Place(Path(place["file"]), place["line"], place["column"]) if place else None,
            hint=data.get("hint", ""),
            detail=data.get("detail", ""),
        )


class ProblemsError(StagewrightError):
    """Several errors that were found at once, sorted by place."""

    def __init__(self, problems: Iterable[StagewrightError]) -> None:
        unknown = Place(Path())
        self.problems = sorted(problems, key=lambda problem: problem.place or unknown)
        first = self.problems[0]
        super().__init__(first.reason, f"{len(self.problems)} errors" if len(self.problems) > 1 else first.message)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return one error: a single problem unchanged, or several as the detail."""
        if len(self.problems) == 1:
            return self.problems[0].to_dict()
        return {**super().to_dict(), "detail": str(self)}


def internal_error(problem: BaseException) -> StagewrightError:
    """Return an exception that Stagewright does not expect as an error with the reason BUG and its traceback."""
    import traceback  # noqa: PLC0415  only errors need it

    text = "".join(traceback.format_exception(problem))
    return StagewrightError(Reason.BUG, f"internal error: {problem!r}", detail=text, hint="please report this")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint: the known word closest to ``name``, or a list of known words if none is close."""
    import difflib  # noqa: PLC0415  only errors need it

    words = sorted(map(str, known))
    at = bisect.bisect_left(words, name)
    close_by = words[max(0, at - _MOST_WORDS // 2) : at + _MOST_WORDS // 2] if len(words) > _MOST_WORDS else words
    short = [word for word in close_by if len(word) <= _LONGEST_WORD]
    cutoff = 0.7 if len(name) > 3 else 0.65  # one letter of three
    close = difflib.get_close_matches(name, short, n=1, cutoff=cutoff) if len(name) <= _LONGEST_WORD else []
    if close:
        return f"did you mean {close[0]!r}?"
    listed = ", ".join(word[:_LONGEST_WORD] for word in close_by)
    more = f" and {len(words) - len(close_by)} more" if len(words) > len(close_by) else ""
    return f"known here: {listed}{more}" if words else ""


def misspelt(name: str, known: Iterable[str]) -> str:
    """Return the known word that differs from ``name`` by a slip: case, a missing plural, a letter; "" if none does."""
    import difflib  # noqa: PLC0415  only errors need it

    short = name.lower()[:_LONGEST_WORD]
    return next(iter(difflib.get_close_matches(short, list(known), n=1, cutoff=0.85)), "")


_MOST_WORDS = 300  # the work for each error has a limit, whatever a project contains
_LONGEST_WORD = 200
