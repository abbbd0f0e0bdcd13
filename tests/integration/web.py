"""A web server on loopback that serves a folder, counts the bytes sent, and can fail in defined ways."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Hook = Callable[["Handler", bytes], None]
"""A function that responds to a request for a file with this content."""


class Handler(BaseHTTPRequestHandler):
    """A handler that serves the files of the site with ranges and validators."""

    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        self.site.asked.append((self.path, dict(self.headers)))
        file = self.site.root / self.path.lstrip("/")
        content = file.read_bytes() if file.is_file() else b""
        hook = self.site.hooks.get(self.path)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if hook:
                hook(self, content)
            elif file.is_file():
                self.serve(content)
            else:
                self.answer(404, b"<html>no such file</html>", **{"Content-Type": "text/html"})

    def serve(self, content: bytes, *, ranges: bool = True, validator: bool = True) -> None:
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"ETag": tag} if validator else {}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        fits = self.headers.get("If-Range", tag) == tag
        if not asked or not ranges or not fits:
            self.answer(200, content, **headers)
            return
        start, size = int(asked[1]), len(content)
        if start >= size:
            self.answer(416, b"", **headers, **{"Content-Range": f"bytes */{size}"})
            return
        self.answer(206, content[start:], **headers, **{"Content-Range": f"bytes {start}-{size - 1}/{size}"})

    def answer(self, code: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.head(code, len(body) if length is None else length, **headers)
        self.send(body)

    def head(self, code: int, length: int | None, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def send(self, body: bytes) -> None:
        for start in range(0, len(body), 1 << 16):
            chunk = body[start : start + (1 << 16)]
            self.wfile.write(chunk)
            self.site.sent[self.path] += len(chunk)

    def cut(self) -> None:
        """Close the connection before the end of the data."""
        self.wfile.flush()
        self.close_connection = True

    def reset(self) -> None:
        """Reset the connection, like a crashed host."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@dataclass
class Site:
    """A site: its folder and address, hooks by path, bytes sent by path, and the requests (path, headers)."""

    root: Path
    url: str = ""
    hooks: dict[str, Hook] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def put(self, path: str, content: bytes) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file


@contextlib.contextmanager
def serve(root: Path) -> Iterator[Site]:
    """Serve a folder and yield the site."""
    root.mkdir(parents=True, exist_ok=True)
    site = Site(root)
    handler = type("SiteHandler", (Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


# hooks with failures


def cut_after(count: int, *, how: str = "cut", times: int = 1) -> Hook:
    """Send ``count`` bytes and end the connection; after ``times`` requests, serve the file."""
    left = [times]

    def hook(handler: Handler, content: bytes) -> None:
        if left[0] <= 0:
            handler.serve(content)
            return
        left[0] -= 1
        real, handler.send = handler.send, lambda body: real(body[:count])  # type: ignore[method-assign]
        handler.serve(content)
        handler.reset() if how == "reset" else handler.cut()

    return hook


def stall(after: int, seconds: float = 30.0) -> Hook:
    """Send ``after`` bytes, then nothing for ``seconds``."""

    def hook(handler: Handler, content: bytes) -> None:
        handler.head(200, len(content))
        handler.send(content[:after])
        handler.wfile.flush()
        time.sleep(seconds)

    return hook


def redirect(target: str, code: int = 302) -> Hook:
    return lambda handler, content: handler.answer(code, b"", Location=target)


def status(code: int) -> Hook:
    return lambda handler, content: handler.answer(code, b"")


def body(content: bytes, **headers: str) -> Hook:
    """Send other content."""
    return lambda handler, _: handler.answer(200, content, **headers)


def length(declared: int | None) -> Hook:
    """Declare a wrong length (None: no length)."""

    def hook(handler: Handler, content: bytes) -> None:
        handler.head(200, declared)
        handler.send(content)
        handler.cut()

    return hook


def without_end() -> Hook:
    """Send endless data without a length."""

    def hook(handler: Handler, content: bytes) -> None:
        handler.head(200, None)
        while True:
            handler.send(b"x" * 65536)

    return hook
