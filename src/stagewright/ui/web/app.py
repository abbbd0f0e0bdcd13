"""The web application: pages that only show the runs of a store, and a stream of changes (server-sent events).

It never changes anything: it has no form, and answers only GET and HEAD. A policy (CSP) lets pages load only their own
style and script, and scripts of pages put every text of projects, logs and guests into text nodes. Requests for other
host names are refused, so that a page of another site cannot read it through DNS.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stagewright.engine.recorded_runs import RecordedRun, find_run
from stagewright.engine.run_state import RunWatch
from stagewright.errors import StagewrightError
from stagewright.store.reading import ReadOnlyStore
from stagewright.ui.metrics import CONTENT_TYPE, openmetrics
from stagewright.ui.report.details import details_of
from stagewright.ui.report.page import page

PAUSE = 1.0
"""Seconds between two looks at the store."""

ALIVE = 15.0
"""Seconds after which a stream without news sends a comment, so that a reader notices a broken connection."""

TAIL = 64 << 10
"""Bytes of a log that a page shows, from its end."""

MOST_READERS = 32
"""Largest number of streams at the same time."""

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_STATIC = {"web.css": "text/css", "web.js": "text/javascript"}


class View:
    """The requests for one store."""

    def __init__(self, store: Path, pause: float = PAUSE) -> None:
        self.watch = RunWatch(store)
        self.store = ReadOnlyStore(store)
        self.pause = pause
        self.readers = 0

    def routes(self) -> list[Route]:
        """Return the addresses of the application."""
        return [
            Route("/", self.index),
            Route("/state.json", self.state),
            Route("/events", self.events),
            Route("/metrics", self.metrics),
            Route("/report/{run}", self.report),
            Route("/log/{run}/{node:path}", self.log),
            Route("/{name}", self.static),
        ]

    async def index(self, request: Request) -> Response:
        """Return the page."""
        return HTMLResponse(_static("index.html"), headers={"Content-Security-Policy": POLICY})

    async def static(self, request: Request) -> Response:
        """Return style or script of the page."""
        name = request.path_params["name"]
        if name not in _STATIC:
            return PlainTextResponse("not found\n", 404)
        return Response(_static(name), media_type=_STATIC[name])

    async def state(self, request: Request) -> Response:
        """Return the state of all runs as JSON."""
        data = await run_in_threadpool(self.watch.state)
        return Response(json.dumps(data), media_type="application/json")

    async def metrics(self, request: Request) -> Response:
        """Return the metrics for Prometheus."""
        text = await run_in_threadpool(lambda: openmetrics(self.watch.runs(), self.store.path))
        return Response(text, headers={"Content-Type": CONTENT_TYPE})

    async def report(self, request: Request) -> Response:
        """Return the report of a run. Its own policy has the digests of its style and script."""
        run = request.path_params["run"]
        try:
            text = await run_in_threadpool(self._page, run)
        except StagewrightError as error:
            return PlainTextResponse(f"{error.message}\n", 404)
        policy = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    def _page(self, run: str) -> str:
        found = find_run(self.store.path, run)
        return page(found, details_of(found, self.store))

    async def log(self, request: Request) -> Response:
        """Return the end of the log of a node, as plain text."""
        run, node = request.path_params["run"], request.path_params["node"]
        try:
            text = await run_in_threadpool(self._log, run, node)
        except StagewrightError as error:
            return PlainTextResponse(f"{error.message}\n", 404)
        return PlainTextResponse(text, headers={"Content-Security-Policy": "default-src 'none'; sandbox"})

    def _log(self, run: str, node: str) -> str:
        found: RecordedRun = find_run(self.store.path, run)
        one = found.nodes.get(node)
        logs = (self.store.path / "logs").resolve()
        path = Path(one.log).resolve() if one and one.log else None
        if path is None or not path.is_relative_to(logs) or not path.is_file():
            return "no log\n"
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - TAIL))
            return stream.read().decode("utf-8", errors="replace")

    async def events(self, request: Request) -> Response:
        """Return a stream of states: the first at once, others when something changed."""
        if self.readers >= MOST_READERS:
            return PlainTextResponse("too many readers\n", 503)
        return StreamingResponse(self._changes(request), media_type="text/event-stream")

    async def _changes(self, request: Request) -> AsyncIterator[bytes]:
        self.readers += 1
        last, waited = "", 0.0
        try:
            while not await request.is_disconnected():
                data = await run_in_threadpool(self.watch.state)
                text = json.dumps({name: value for name, value in data.items() if name != "now"})
                if text != last:
                    last, waited = text, 0.0
                    yield f"data: {json.dumps(data)}\n\n".encode()
                elif waited >= ALIVE:
                    waited = 0.0
                    yield b": alive\n\n"
                await asyncio.sleep(self.pause)
                waited += self.pause
        finally:
            self.readers -= 1


def application(store: Path, hosts: Sequence[str], pause: float = PAUSE) -> Starlette:
    """Return the application for a store. ``hosts`` are the names by which browsers may call it."""
    middleware = [Middleware(_Guard), Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))]
    return Starlette(routes=View(store, pause).routes(), middleware=middleware)


class _Guard:
    """Adds headers to every answer, and refuses methods that could change something."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            response = PlainTextResponse("read-only\n", 405, {"Allow": "GET, HEAD", **HEADERS})
            await response(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                more: Mapping[str, Any] = {**HEADERS, "Content-Security-Policy": "default-src 'none'"}
                for name, value in more.items():
                    if name.lower().encode() not in known:
                        message["headers"].append((name.lower().encode(), value.encode()))
            await send(message)

        await self.app(scope, receive, with_headers)


def _static(name: str) -> str:
    return (importlib.resources.files(__package__) / "static" / name).read_text(encoding="utf-8")
