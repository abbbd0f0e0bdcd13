"""A web server for one folder, from which machines boot. It serves ranges, many clients at once, and no other file.

It implements GET and HEAD with one range per request (RFC 9110), enough to try a set or to boot a room of machines. For
everything else use any other web server.
"""

from __future__ import annotations

import html
import http.server
import os
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from stagewright.errors import Reason, StagewrightError
from stagewright.events import FileProgress, FileServed, Listener
from stagewright.untrusted import LARGEST, number, open_regular

CHUNK = 4 << 20
"""Bytes per sendfile(2)."""

STEPS = 10
"""Progress events per transfer. Small transfers have none."""

CLIENT_TIMEOUT = 120.0
"""Seconds after which the server closes the connection to a client that receives nothing."""

_TYPES = {
    ".ipxe": "text/plain",
    ".cfg": "text/plain",
    ".md": "text/plain",
    ".conf": "text/plain",
    ".json": "application/json",
}


class FileServer:
    """Serves a folder while its context lasts. ``port`` 0 selects a free port; ``note`` is shown on its first page.

    Raises ``MISSING_FILE`` if the folder does not exist, ``HOST_FEATURE`` if the server cannot listen on the address.
    """

    def __init__(
        self,
        folder: Path,
        address: str = "127.0.0.1",
        port: int = 0,
        listener: Listener = lambda _: None,
        *,
        note: str = "",
    ) -> None:
        if not folder.is_dir():
            raise StagewrightError(Reason.MISSING_FILE, f"folder not found: {folder}")
        self.folder = folder.resolve()
        self.address = address
        handler = type("Handler", (_Handler,), {"root": self.folder, "listener": staticmethod(listener), "note": note})
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        kind = type("Server", (_Server,), {"address_family": family})
        try:
            self._server: _Server = kind((address, port), handler)
        except (OSError, OverflowError) as error:
            message = f"cannot listen on {address}, port {port}: {getattr(error, 'strerror', None) or error}"
            hint = "pass another --port, or an address of this machine as --address"
            raise StagewrightError(Reason.HOST_FEATURE, message, hint=hint) from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    def url(self, host: str) -> str:
        """Return the folder's URL for a client that reaches this machine as ``host``."""
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors of connections, since clients disconnect. The handler reports what was sent."""


@dataclass(frozen=True)
class _ByteRange:
    """A range of a file with ``whole`` bytes; ``partial`` is False if the request has no valid range."""

    start: int
    size: int
    whole: int
    partial: bool = True

    @classmethod
    def of(cls, header: str | None, whole: int) -> _ByteRange | None:
        """Return the range in a Range header: the whole file if it has none, None if it is behind the end."""
        unit, equals, text = (header or "").partition("=")
        first, dash, last = text.strip().partition("-")
        start, end = _position(first), _position(last)
        backwards = bool(start is not None and end is not None and end < start)
        numbers = (start is not None or not first) and (end is not None or not last)
        if unit.strip().lower() != "bytes" or not equals or not dash or not numbers or backwards:
            return cls(0, whole, whole, partial=False)
        if start is None:
            if end is None:
                return cls(0, whole, whole, partial=False)
            size = min(end, whole)
            return cls(whole - size, size, whole) if size else None
        end = whole - 1 if end is None else min(end, whole - 1)
        return cls(start, end - start + 1, whole) if start < whole else None


def _position(word: str) -> int | None:
    """Return a number of a range, or None if it is not a number. LARGEST stands for all larger numbers."""
    digits = word.isascii() and word.isdigit()
    found = number(word.lstrip("0") or "0") if digits else None
    return LARGEST if digits and found is None else found


def _readable(name: str) -> str:
    """Return a file name with a replacement for each byte that is not UTF-8."""
    return os.fsencode(name).decode(errors="replace")


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "stagewright"
    sys_version = ""
    timeout = CLIENT_TIMEOUT
    disable_nagle_algorithm = True  # otherwise the end of a small range waits for the client's delayed acknowledgement
    root: Path
    listener: Listener
    note: str

    def do_GET(self) -> None:
        """Send a file, a range of it, or the list of a folder."""
        self._answer()

    def do_HEAD(self) -> None:
        """Send the headers of GET."""
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  named by the standard library
        """Write no log: events report requests."""

    def _answer(self) -> None:
        name = os.fsdecode(urllib.parse.unquote_to_bytes(self._target().encode("latin-1", errors="replace")))
        try:
            path = self._inside(name)
            entries = sorted(path.iterdir()) if path.is_dir() else None
            stream = None if path.is_dir() else open_regular(path)
        except PermissionError:
            self._refuse(403)
        except (OSError, ValueError):
            self._refuse(404)
        else:
            if stream:
                with stream:
                    self._send(stream, path)
            else:
                self._list(entries or [], name)

    def _target(self) -> str:
        """Return the path in the request, still encoded. The standard library decodes requests as latin-1."""
        try:
            return urllib.parse.urlsplit(self.path).path
        except ValueError:  # an invalid host in an absolute URL
            return ""

    def _inside(self, name: str) -> Path:
        """Return the file with this name. Symbolic links are followed inside the folder only."""
        path = Path(os.path.realpath(self.root / name.lstrip("/")))
        if path != self.root and self.root not in path.parents:
            raise FileNotFoundError(name)
        return path

    def _send(self, stream: IO[bytes], path: Path) -> None:
        info = os.fstat(stream.fileno())
        tag = f'"{info.st_mtime_ns:x}-{info.st_size:x}"'
        wanted = self.command == "GET" and self.headers.get("If-Range", tag) == tag  # RFC 9110, 14.2: GET only
        header = self.headers.get("Range") if wanted else None
        part = _ByteRange.of(header, info.st_size)
        if part is None:
            self._refuse(416, {"Content-Range": f"bytes */{info.st_size}"})
            return
        headers = {
            "Content-Type": _TYPES.get(path.suffix, "application/octet-stream"),
            "Content-Length": str(part.size),
            "Accept-Ranges": "bytes",
            "Last-Modified": formatdate(info.st_mtime, usegmt=True),
            "ETag": tag,
        }
        if part.partial:
            headers["Content-Range"] = f"bytes {part.start}-{part.start + part.size - 1}/{part.whole}"
        status = 206 if part.partial else 200
        self._head(status, headers)
        started = time.monotonic()
        sent = 0
        try:
            if self.command == "GET":
                for sent in self._transfer(stream, part):
                    self._report_progress(sent, part)
        finally:
            complete = self.command == "HEAD" or sent == part.size
            seconds = round(time.monotonic() - started, 3)
            self._report(status, start=part.start, size=sent, seconds=seconds, complete=complete)

    def _transfer(self, stream: IO[bytes], part: _ByteRange) -> Iterator[int]:
        """Send a range in pieces. Yields the number of bytes sent so far."""
        sent = 0
        while sent < part.size:
            piece = min(CHUNK, part.size - sent)
            count = self.connection.sendfile(stream, part.start + sent, piece)
            if not count:
                raise ConnectionError("the file became shorter")
            sent += count
            yield sent

    def _list(self, paths: Sequence[Path], name: str) -> None:
        entries = [f"{path.name}/" if os.path.isdir(path) else path.name for path in paths]  # noqa: PTH112  never raises
        base = os.fsencode(name if name.endswith("/") else f"{name}/")
        links = [urllib.parse.quote(base + os.fsencode(entry)) for entry in entries]
        shown = [html.escape(_readable(entry)) for entry in entries]
        lines = [f'<li><a href="{link}">{text}</a></li>' for link, text in zip(links, shown, strict=True)]
        note = f"<p>{html.escape(self.note)}</p>" if self.note and name.strip("/") == "" else ""
        text = f"<!DOCTYPE html><title>{html.escape(_readable(name))}</title>{note}<ul>{''.join(lines)}</ul>\n"
        self._text(200, text.encode(), "text/html; charset=utf-8")

    def _refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        self._text(status, f"{status} {self.responses[status][0]}\n".encode(), "text/plain", headers)

    def _text(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self._head(status, {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})})
        if self.command == "GET":
            self.wfile.write(body)
        self._report(status, size=len(body))

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _report(self, status: int, *, size: int, start: int = 0, seconds: float = 0.0, complete: bool = True) -> None:
        event = FileServed(
            client=self.client_address[0],
            method=self.command,
            path=self._target(),
            status=status,
            start=start,
            size=size,
            seconds=seconds,
            complete=complete,
        )
        self.listener(event)

    def _report_progress(self, sent: int, part: _ByteRange) -> None:
        before = max(sent - CHUNK, 0)
        if part.size > 2 * CHUNK and sent < part.size and sent * STEPS // part.size > before * STEPS // part.size:
            self.listener(FileProgress(client=self.client_address[0], path=self._target(), done=sent, total=part.size))
