"""Attempts at operations of a target: failures of the network are reported, and the operation is tried again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener, NodeNotice

T = TypeVar("T")

_REFUSED = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError")
"""Exceptions of botocore for missing keys."""


@dataclass(frozen=True)
class Retries:
    """Seconds to wait before each new attempt of an operation that failed."""

    delays: Sequence[float] = (2.0, 10.0, 30.0)


@dataclass(frozen=True)
class Attempts:
    """Operations of the target ``name``. ``emit`` gets notices; ``reopen`` makes a new connection."""

    name: str
    emit: Listener
    retries: Retries
    reopen: Callable[[], None] = lambda: None

    def __call__(self, what: str, action: Callable[[], T]) -> T:
        """Return the result of an operation; ``what`` is a verb for messages. Raises the failure of the last attempt.

        An exception of a library, such as botocore, is a failure of the target. Python's other exceptions are defects,
        and raised at once.
        """
        for number, delay in enumerate([*self.retries.delays, None], 1):
            try:
                return action()
            except Exception as error:
                if not isinstance(error, (OSError, EOFError, StagewrightError)) and not _of_library(error):
                    raise
                if delay is None or not _is_passing(error):
                    raise self._failure(what, error) from error
                text = f"{what}: {error or type(error).__name__}; attempt {number + 1} in {delay:g} seconds"
                self.emit(NodeNotice(node=self.name, text=text))
                time.sleep(delay)
                self.reopen()
        raise AssertionError

    def _failure(self, what: str, error: Exception) -> Exception:
        if isinstance(error, (StagewrightError, NotADirectoryError)):
            return error
        return _failure(f"{self.name}: {what} failed", error)


@contextlib.contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn exceptions of libraries into failures of the target ``name``: callers expect OSError and StagewrightError.

    Python's other exceptions are defects, and pass.
    """
    try:
        yield
    except (StagewrightError, OSError):
        raise
    except Exception as error:
        if not isinstance(error, EOFError) and not _of_library(error):
            raise
        raise _failure(name, error) from error


def _failure(what: str, error: Exception) -> StagewrightError:
    hint = "the same command goes on where this one ended"
    if _is_refused(error):
        hint = "check the address, and your keys for the service"
    return StagewrightError(Reason.FETCH_FAILED, f"{what} ({error or type(error).__name__})", hint=hint)


def _of_library(error: Exception) -> bool:
    """Return True for an exception of a library, such as paramiko or botocore."""
    return type(error).__module__.partition(".")[0] not in ("builtins", "stagewright")


def _is_refused(error: BaseException | None) -> bool:
    """Return True if a service has refused a request: status 4xx of HTTP, or no keys for it."""
    response = getattr(error, "response", None)
    facts = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    status = facts.get("HTTPStatusCode", 0)
    return type(error).__name__ in _REFUSED or (400 <= status < 500 and status not in (408, 429))


def _is_passing(error: Exception) -> bool:
    """Return True for a failure that another attempt may not have."""
    if isinstance(error, StagewrightError):
        passing = error.reason in (Reason.FETCH_FAILED, Reason.FETCH_STALLED, Reason.FETCH_CUT)
        return passing and not _is_refused(error.__cause__)
    return not isinstance(error, (FileNotFoundError, PermissionError, NotADirectoryError)) and not _is_refused(error)
