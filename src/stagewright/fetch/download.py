"""Downloading a file over HTTP(S): from the first mirror that has it, resumed, verified, whole or not at all.

Beside the target, while it is being fetched::

    <target>.part        what has come so far
    <target>.part.json   what that is: address, validator (ETag or date), size
    <target>.fetching    flock(2): held by the process that fetches it

A part is resumed with ``Range``. At the address that it came from, ``If-Range`` has the server send the whole file if
it has changed since; elsewhere, or without a validator, a few bytes are asked for again and compared. Whatever comes
of it must pass ``verify`` before it is renamed; what does not pass is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.web import (
    HEADERS,
    has_length,
    is_page,
    page_error,
    send_request,
    stall_error,
    total_in,
    translated_errors,
    without_password,
)
from stagewright.store.store import sync_folder, write_atomically

LIMIT = 64 << 30
"""Bytes that a file may have when nobody knows better."""

OVERLAP = 4096
"""Bytes at the end of a part that are compared when nothing else tells whether it belongs to what a server has."""

STALL = "STAGEWRIGHT_STALL"

CONNECT = 15.0
"""Seconds that a server has to be reached in, if it is not to be left sooner."""

TRIES = 500
"""How often one mirror is asked at the most, even if each time brings a little."""

SLOWEST = 64
"""Bytes a second below which a server counts as stalled: it may send a byte now and then for ever."""

Progress = Callable[[int, int], None]
Verify = Callable[[Path], None]


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait and how often to try. ``stall``: seconds without data; ``pause``: seconds before a retry.

    ``attempts`` are those in a row at one mirror that brought nothing; one that brought something starts anew.
    """

    stall: float = 60.0
    attempts: int = 3
    pause: float = 1.0

    @classmethod
    def of_environment(cls) -> RetryPolicy:
        """As users have it: ``STAGEWRIGHT_STALL`` is the seconds that a server may be silent."""
        try:
            stall = float(os.environ[STALL])
        except (KeyError, ValueError):
            return cls()
        return cls(stall=stall, pause=min(1.0, stall))


_AGAIN = {Reason.FETCH_CUT, Reason.FETCH_STALLED, Reason.FETCH_FAILED}
"""Failures after which the same mirror may do better."""

_WORTHLESS = {Reason.WRONG_LENGTH, Reason.NOT_A_FILE}
"""Failures that say that what came is nothing to go on with."""


@dataclass(frozen=True)
class _PartFile:
    """What is known of a part: whence it is, the validator that its server gave, the size of the whole (0: unknown)."""

    url: str
    validator: str = ""
    size: int = 0


def _nothing_to_verify(path: Path) -> None:
    pass


def _no_progress(done: int, total: int) -> None:
    pass


def download(
    urls: Sequence[str],
    target: Path,
    *,
    size: int | None = None,
    limit: int = LIMIT,
    verify: Verify = _nothing_to_verify,
    progress: Progress = _no_progress,
    patience: RetryPolicy | None = None,
) -> Path:
    """Fetch a file from the first of several addresses that has it, unless it is there already, and return its path.

    ``size`` is what it must have, in bytes, ``limit`` the most that it may have. ``verify`` raises for a file that is
    not the right one: such a file is removed, and the next mirror is asked. ``progress`` is told the bytes that are
    there and those of the whole (0 while unknown). Of two processes that want the same target one fetches it.

    Raises the reason why it failed at the only mirror or the same way at all of them, else ``FETCH_FAILED`` with the
    reasons of each.
    """
    assert urls
    with download_lock(target):
        if target.exists():
            with contextlib.suppress(StagewrightError):
                verify(target)
                return target
            target.unlink()
        job = _Download(target, size, min(limit, size or limit), progress, patience or RetryPolicy.of_environment())
        failures = []
        for url in urls:
            try:
                job.fetch(url, verify)
                return target
            except StagewrightError as error:
                failures.append((url, error))
    raise _failed(target.name, failures)


@dataclass(frozen=True)
class _Download:
    """One file on its way to ``target``."""

    target: Path
    size: int | None
    limit: int
    progress: Progress
    patience: RetryPolicy

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def memory(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    @property
    def wants_page(self) -> bool:
        return self.target.suffix in (".html", ".htm")

    def fetch(self, url: str, verify: Verify) -> None:
        """Get the file from one mirror, verified and in its place."""
        resumed = self._complete(url)
        try:
            self._place(verify)
        except StagewrightError:
            self._forget()
            if not resumed:
                raise
            self._complete(url)  # of two halves that do not belong together
            try:
                self._place(verify)
            except StagewrightError:
                self._forget()
                raise

    def _place(self, verify: Verify) -> None:
        verify(self.part)
        with self.part.open("rb") as stream:
            os.fsync(stream.fileno())
        self.part.rename(self.target)
        self.memory.unlink(missing_ok=True)
        sync_folder(self.target.parent)

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.memory.unlink(missing_ok=True)

    def _complete(self, url: str) -> bool:
        """Try until the part is the whole file; tells whether some of it was there before."""
        had = self._there()
        left, most, tries = self.patience.attempts, had, 0
        while True:
            try:
                self._attempt(url)
                return bool(had)
            except StagewrightError as error:
                left = self.patience.attempts - 1 if self._there() > most else left - 1
                most, tries = max(most, self._there()), tries + 1
                if error.reason in _WORTHLESS:
                    self._forget()
                if error.reason not in _AGAIN or left <= 0 or tries >= TRIES:
                    raise
                time.sleep(self.patience.pause)

    def _there(self) -> int:
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def _known(self) -> _PartFile | None:
        try:
            return _PartFile(**json.loads(self.memory.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _attempt(self, url: str) -> None:
        """One request, and what comes of it."""
        start, headers = self._range(url)
        timeout = httpx.Timeout(self.patience.stall, connect=min(self.patience.stall, CONNECT))
        with translated_errors(url), httpx.Client(timeout=timeout, headers=HEADERS) as client:
            response = send_request(client, url, headers)
            try:
                self._take(response, url, start)
            finally:
                response.close()

    def _range(self, url: str) -> tuple[int, dict[str, str]]:
        """From which byte to ask, and the headers that say so; nothing is kept of a part that cannot be resumed."""
        there, known = self._there(), self._known()
        if not there or known is None or (self.size and there > self.size):
            self._forget()
            return 0, {}
        if known.url == url and known.validator:
            return there, {"Range": f"bytes={there}-", "If-Range": known.validator}
        start = max(0, there - OVERLAP)
        return start, {"Range": f"bytes={start}-"}

    def _take(self, response: httpx.Response, url: str, start: int) -> None:
        code = response.status_code
        if code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            total = total_in(response)
            if total and total == self._there() == (self.size or total):
                return
            self._forget()
            raise StagewrightError(
                Reason.FETCH_CUT, f"{without_password(url)}: the file is shorter than the part that was there"
            )
        self._check(response, url)
        if code != httpx.codes.PARTIAL_CONTENT:
            start = 0
        elif not start and not response.headers.get("content-range"):
            raise StagewrightError(
                Reason.FETCH_FAILED, f"{without_password(url)}: an answer in part to a question for the whole"
            )
        total = self._total_of(response, url, start)
        self._receive(response, url, start, total)

    def _check(self, response: httpx.Response, url: str) -> None:
        code, kind = response.status_code, response.headers.get("content-type", "")
        if code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            raise StagewrightError(Reason.NOT_FOUND, f"{without_password(url)}: there is no such file ({code})")
        if code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            raise StagewrightError(
                Reason.FETCH_FAILED, f"{without_password(url)}: the server answers {code} {response.reason_phrase}"
            )
        if kind.startswith("text/html") and not self.wants_page:
            raise page_error(url)

    def _total_of(self, response: httpx.Response, url: str, start: int) -> int:
        """The size of the whole file by the headers of an answer, 0 if they do not say; refuses what does not fit."""
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            total = total_in(response)
            first = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
            if not first or int(first[1]) != start:
                self._forget()
                raise StagewrightError(
                    Reason.FETCH_CUT, f"{without_password(url)}: the answer is for another part of the file"
                )
        else:
            total = int(response.headers["content-length"]) if has_length(response) else 0
        if self.size is not None and total not in (0, self.size):
            raise StagewrightError(
                Reason.WRONG_LENGTH,
                f"{without_password(url)}: it has {total} bytes there, not {self.size} as it should",
            )
        if total > self.limit:
            raise StagewrightError(
                Reason.WRONG_LENGTH,
                f"{without_password(url)}: it has {total} bytes, more than the {self.limit} that are accepted",
            )
        return total

    def _receive(self, response: httpx.Response, url: str, start: int, total: int) -> None:
        validator = response.headers.get("etag", "")
        if not validator or validator.startswith("W/"):
            validator = response.headers.get("last-modified", "")
        if not start:
            self._forget()
        write_atomically(self.memory, json.dumps(asdict(_PartFile(url, validator, total))))
        with self.part.open("r+b" if start else "wb") as part:
            there = self._there()
            part.seek(start)
            done = start
            for chunk in self._chunks(response, url):
                if not done and is_page(chunk) and not self.wants_page:
                    raise page_error(url)
                if done + len(chunk) > self.limit:
                    raise StagewrightError(
                        Reason.WRONG_LENGTH,
                        f"{without_password(url)}: more than the {self.limit} bytes that are accepted came",
                    )
                if done < there:
                    self._compare(part, chunk[: there - done], url)
                part.seek(done)
                part.write(chunk)
                done += len(chunk)
                self.progress(done, total or self.size or 0)
            part.truncate()
        whole = total or self.size or done
        if done < whole or not done:
            raise StagewrightError(Reason.FETCH_CUT, f"{without_password(url)}: {done} of {whole} bytes came")

    def _compare(self, part: IO[bytes], chunk: bytes, url: str) -> None:
        if part.read(len(chunk)) != chunk:
            part.truncate(0)
            raise StagewrightError(
                Reason.FETCH_CUT, f"{without_password(url)}: the part that was there is of another file"
            )

    def _chunks(self, response: httpx.Response, url: str) -> Iterator[bytes]:
        """What comes, as long as it comes fast enough."""
        since, got = time.monotonic(), 0
        for chunk in response.iter_raw():  # as it comes: larger pieces would be lost with the connection
            yield chunk
            got += len(chunk)
            seconds = time.monotonic() - since
            if seconds > self.patience.stall:
                if got < seconds * SLOWEST:
                    raise stall_error(url, f"{got} bytes in {seconds:.0f} seconds")
                since, got = time.monotonic(), 0


def _failed(name: str, failures: Sequence[tuple[str, StagewrightError]]) -> StagewrightError:
    """One error for all mirrors."""
    reasons = {error.reason for _, error in failures}
    first = failures[0][1]
    hint = first.hint or "see that the network is there; try again later, or name another mirror"
    if len(failures) == 1:
        return StagewrightError(first.reason, first.message, detail=first.detail, hint=hint)
    reason = first.reason if len(reasons) == 1 else Reason.FETCH_FAILED
    lines = [f"{urlsplit(url).hostname}: {error.reason}: {error.message}" for url, error in failures]
    what = f"none of {len(failures)} mirrors has a good {name}"
    return StagewrightError(reason, what, detail="\n".join(lines), hint=hint)


@contextlib.contextmanager
def download_lock(target: Path) -> Iterator[None]:
    """Hold the lock of a target, so that of several processes that want it one fetches it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f"{target.name}.fetching")
    while True:
        with path.open("w", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                if not os.path.samestat(path.stat(), os.fstat(stream.fileno())):
                    continue
            except FileNotFoundError:  # who held it has removed it
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
