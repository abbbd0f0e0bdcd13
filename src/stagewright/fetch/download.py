"""Downloads of files over HTTP(S): from the first mirror that has the file, resumed, verified, and atomic.

Files in the folder of the target during a download::

    <target>.part        the data received so far
    <target>.part.json   its source: address, validator (ETag or date), size
    <target>.fetching    flock(2): held by the process that downloads the file

A partial file is resumed with ``Range``. At the same address, ``If-Range`` makes the server send the whole file if it
has changed. At another address, or without a validator, the last bytes are requested again and compared. A complete
file must pass ``verify`` before it is renamed to the target; otherwise it is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

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
    trusted_certificates,
    without_password,
)
from stagewright.lazy_dataclass import dataclass
from stagewright.store.durable import sync_folder, write_atomically
from stagewright.untrusted import number

if TYPE_CHECKING:
    import httpx

LIMIT = 64 << 30
"""The default limit of the size of a file (bytes)."""

OVERLAP = 4096
"""Bytes at the end of a partial file that are compared if no validator identifies the file."""

STALL = "STAGEWRIGHT_STALL"
"""Variable with the seconds without data after which a download counts as stalled."""

CONNECT = 15.0
"""The longest time for a connection (seconds)."""

TRIES = 500
"""The largest number of requests to one mirror, even if each brings some data."""

SLOWEST = 64
"""Bytes per second below which a download counts as stalled."""

DownloadProgress = Callable[[int, int], None]
Verify = Callable[[Path], None]


@dataclass(frozen=True)
class RetryPolicy:
    """Timeouts and retries. ``stall``: seconds without data; ``pause``: seconds before a retry.

    ``attempts``: consecutive attempts without new data at one mirror. An attempt with new data resets the count.
    """

    stall: float = 60.0
    attempts: int = 3
    pause: float = 1.0

    @classmethod
    def of_environment(cls) -> RetryPolicy:
        """Return the policy of this process: ``STAGEWRIGHT_STALL`` sets ``stall``."""
        try:
            stall = float(os.environ[STALL])
        except (KeyError, ValueError):
            return cls()
        return cls(stall=stall, pause=min(1.0, stall))


_RETRIED = {Reason.FETCH_CUT, Reason.FETCH_STALLED, Reason.FETCH_FAILED}
"""Failures after which a retry at the same mirror makes sense."""

_USELESS_PART = {Reason.WRONG_LENGTH, Reason.NOT_A_FILE}
"""Failures after which the partial file is useless."""


@dataclass(frozen=True)
class _PartFile:
    """The source of a partial file: address, validator of its server, size of the whole file (bytes; 0: unknown)."""

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
    progress: DownloadProgress = _no_progress,
    retries: RetryPolicy | None = None,
) -> Path:
    """Download a file from the first address that has it, unless the target exists, and return its path.

    ``size`` is the exact size, ``limit`` the largest size (bytes). ``verify`` must raise for a wrong file; the file is
    then removed and the next address is tried. ``progress`` is called with the bytes received and the total (0:
    unknown). If two processes want the same target, one of them downloads it.

    Raises the reason of the failure if it is the same at all addresses, else ``FETCH_FAILED`` with all reasons.
    """
    assert urls
    with download_lock(target):
        if target.exists():
            with contextlib.suppress(StagewrightError):
                verify(target)
                return target
            target.unlink()
        job = _Download(target, size, min(limit, size or limit), progress, retries or RetryPolicy.of_environment())
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
    """The download of one file to ``target``."""

    target: Path
    size: int | None
    limit: int
    progress: DownloadProgress
    retries: RetryPolicy

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def part_info(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    @property
    def wants_page(self) -> bool:
        return self.target.suffix in (".html", ".htm")

    def fetch(self, url: str, verify: Verify) -> None:
        """Download the file from one address, verify it, and rename it to the target."""
        resumed = self._complete(url)
        try:
            self._finish(verify)
        except StagewrightError:
            self._discard_part()
            if not resumed:
                raise
            self._complete(url)  # the resumed part was of another file
            try:
                self._finish(verify)
            except StagewrightError:
                self._discard_part()
                raise

    def _finish(self, verify: Verify) -> None:
        verify(self.part)
        with self.part.open("rb") as stream:
            os.fsync(stream.fileno())
        self.part.rename(self.target)
        self.part_info.unlink(missing_ok=True)
        sync_folder(self.target.parent)

    def _discard_part(self) -> None:
        self.part.unlink(missing_ok=True)
        self.part_info.unlink(missing_ok=True)

    def _complete(self, url: str) -> bool:
        """Request until the partial file is complete. Return True if a partial file existed before."""
        had = self._received()
        left, most, tries = self.retries.attempts, had, 0
        while True:
            try:
                self._attempt(url)
                return bool(had)
            except StagewrightError as error:
                left = self.retries.attempts - 1 if self._received() > most else left - 1
                most, tries = max(most, self._received()), tries + 1
                if error.reason in _USELESS_PART:
                    self._discard_part()
                if error.reason not in _RETRIED or left <= 0 or tries >= TRIES:
                    raise
                time.sleep(self.retries.pause)

    def _received(self) -> int:
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def _part_source(self) -> _PartFile | None:
        try:
            return _PartFile(**json.loads(self.part_info.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _attempt(self, url: str) -> None:
        """Send one request and append its data to the partial file."""
        import httpx  # noqa: PLC0415  slow to import, and only downloads need it

        certificates = trusted_certificates()
        start, headers = self._range(url)
        timeout = httpx.Timeout(self.retries.stall, connect=min(self.retries.stall, CONNECT))
        with translated_errors(url), httpx.Client(timeout=timeout, headers=HEADERS, verify=certificates) as client:
            response = send_request(client, url, headers)
            try:
                self._handle(response, url, start)
            finally:
                response.close()

    def _range(self, url: str) -> tuple[int, dict[str, str]]:
        """Return the first byte to request and the headers for it. Remove a partial file that cannot be resumed."""
        there, known = self._received(), self._part_source()
        if not there or known is None or (self.size and there > self.size):
            self._discard_part()
            return 0, {}
        if known.url == url and known.validator:
            return there, {"Range": f"bytes={there}-", "If-Range": known.validator}
        start = max(0, there - OVERLAP)
        return start, {"Range": f"bytes={start}-"}

    def _handle(self, response: httpx.Response, url: str, start: int) -> None:
        code = response.status_code
        if code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            total = total_in(response)
            if total and total == self._received() == (self.size or total):
                return
            self._discard_part()
            raise StagewrightError(
                Reason.FETCH_CUT, f"{without_password(url)}: the file is shorter than the partial file here"
            )
        self._check(response, url)
        if code != HTTPStatus.PARTIAL_CONTENT:
            start = 0
        elif not start and not response.headers.get("content-range"):
            raise StagewrightError(
                Reason.FETCH_FAILED, f"{without_password(url)}: server sent a partial response to a full request"
            )
        total = self._total_size(response, url, start)
        self._receive(response, url, start, total)

    def _check(self, response: httpx.Response, url: str) -> None:
        code, kind = response.status_code, response.headers.get("content-type", "")
        if code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            raise StagewrightError(Reason.NOT_FOUND, f"{without_password(url)}: not found ({code})")
        if code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise StagewrightError(
                Reason.FETCH_FAILED, f"{without_password(url)}: server responded {code} {response.reason_phrase}"
            )
        if kind.startswith("text/html") and not self.wants_page:
            raise page_error(url)

    def _total_size(self, response: httpx.Response, url: str, start: int) -> int:
        """Return the size of the whole file by the headers (bytes; 0: unknown). Raises for a wrong size or range."""
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            total = total_in(response)
            first = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
            if not first or number(first[1]) != start:
                self._discard_part()
                raise StagewrightError(
                    Reason.FETCH_CUT, f"{without_password(url)}: server sent another range of the file"
                )
        else:
            total = int(response.headers["content-length"]) if has_length(response) else 0
        if self.size is not None and total not in (0, self.size):
            raise StagewrightError(
                Reason.WRONG_LENGTH,
                f"{without_password(url)}: wrong size (expected {self.size} bytes, found {total})",
            )
        if total > self.limit:
            raise StagewrightError(
                Reason.WRONG_LENGTH,
                f"{without_password(url)}: too large ({total} bytes, limit {self.limit})",
            )
        return total

    def _receive(self, response: httpx.Response, url: str, start: int, total: int) -> None:
        validator = response.headers.get("etag", "")
        if not validator or validator.startswith("W/"):
            validator = response.headers.get("last-modified", "")
        if not start:
            self._discard_part()
        write_atomically(self.part_info, json.dumps(asdict(_PartFile(url, validator, total))))
        with self.part.open("r+b" if start else "wb") as part:
            there = self._received()
            part.seek(start)
            done = start
            for chunk in self._chunks(response, url):
                if not done and is_page(chunk) and not self.wants_page:
                    raise page_error(url)
                if done + len(chunk) > self.limit:
                    raise StagewrightError(
                        Reason.WRONG_LENGTH,
                        f"{without_password(url)}: too large (limit {self.limit} bytes)",
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
            raise StagewrightError(
                Reason.FETCH_CUT, f"{without_password(url)}: download incomplete ({done} of {whole} bytes)"
            )

    def _compare(self, part: IO[bytes], chunk: bytes, url: str) -> None:
        if part.read(len(chunk)) != chunk:
            part.truncate(0)
            raise StagewrightError(
                Reason.FETCH_CUT, f"{without_password(url)}: the partial file here is of another file"
            )

    def _chunks(self, response: httpx.Response, url: str) -> Iterator[bytes]:
        """Yield the data of a response. Raises ``FETCH_STALLED`` if it arrives too slowly."""
        since, got = time.monotonic(), 0
        for chunk in response.iter_raw():  # unbuffered: a larger buffer would be lost with the connection
            yield chunk
            got += len(chunk)
            seconds = time.monotonic() - since
            if seconds > self.retries.stall:
                if got < seconds * SLOWEST:
                    raise stall_error(url, f"{got} bytes in {seconds:.0f} seconds")
                since, got = time.monotonic(), 0


def _failed(name: str, failures: Sequence[tuple[str, StagewrightError]]) -> StagewrightError:
    """Return one error for all mirrors."""
    reasons = {error.reason for _, error in failures}
    first = failures[0][1]
    hint = first.hint or "check the network, try again later, or set another mirror"
    if len(failures) == 1:
        return StagewrightError(first.reason, first.message, detail=first.detail, hint=hint)
    reason = first.reason if len(reasons) == 1 else Reason.FETCH_FAILED
    lines = [f"{urlsplit(url).hostname}: {error.reason}: {error.message}" for url, error in failures]
    what = f"{name}: no valid file on any of {len(failures)} mirrors"
    return StagewrightError(reason, what, detail="\n".join(lines), hint=hint)


@contextlib.contextmanager
def download_lock(target: Path) -> Iterator[None]:
    """Hold the lock of a target, so that only one process downloads it at a time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f"{target.name}.fetching")
    while True:
        with path.open("w", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                if not os.path.samestat(path.stat(), os.fstat(stream.fileno())):
                    continue
            except FileNotFoundError:  # the previous holder has removed the file
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
