"""Every page of the documentation in a browser, by `make docs-check`: links, narrow screens, and contrast.

The browser is the Chromium of the system, and the rules for contrast are those of axe-core. A page is looked at in its
light and in its dark scheme. Screenshots are written to ``site-check/`` for people.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

import pytest

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "site-check"
NARROW, WIDE = 360, 1280
RULES = ("color-contrast", "link-in-text-block", "image-alt", "document-title", "html-has-lang", "duplicate-id")

PICTURED = (
    "index.html",
    "tutorials/live-system.html",
    "kinds.html",
    "how-to/container.html",
    "reference/commands.html",
)
"""Pages whose screenshots are kept."""

pytestmark = pytest.mark.skipif(
    not os.environ.get("STAGEWRIGHT_TEST_SITE"), reason="needs Chromium and takes minutes: make docs-check"
)


class Quiet(SimpleHTTPRequestHandler):
    """A web server that logs nothing."""

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of the site, and its folder."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "--quiet", "build", "--strict", "--site-dir", str(folder)]
    subprocess.run(words, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", folder
    server.shutdown()


def pages(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html"))


WIDTH = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"

WIDEST = """() => [...document.querySelectorAll('article *')]
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(one).position != 'fixed')
    .filter(one => !one.closest('pre, .md-typeset__scrollwrap, .md-typeset__table'))
    .map(one => one.outerHTML.slice(0, 120)).slice(0, 3)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_read(site: tuple[str, Path], browser: Any, axe: str, scheme: str) -> None:
    """A narrow screen needs no sideways scrolling, and texts have the contrast of WCAG 2 AA."""
    address, folder = site
    page = browser.new_page(color_scheme=scheme, viewport={"width": NARROW, "height": 740})
    messages: list[str] = []
    page.on("pageerror", lambda error: messages.append(f"error in a script: {error}"))
    page.on("response", lambda answer: answer.status >= 400 and messages.append(f"{answer.url}: {answer.status}"))
    page.on("request", lambda asked: asked.url.startswith((address, "data:")) or messages.append(f"asks {asked.url}"))
    wrong: list[str] = []
    for name in pages(folder):
        messages.clear()
        page.goto(address + name, wait_until="load")
        wrong += [f"{name}: {message}" for message in messages]
        shown, there = page.evaluate(WIDTH)
        if shown > there:
            wrong.append(f"{name}: {shown} of {there} px: {page.evaluate(WIDEST)}")
        if scheme == "dark":
            assert page.evaluate("document.body.dataset.mdColorScheme") == "slate"
        page.evaluate(axe)
        found = page.evaluate(f"axe.run('article', {{runOnly: {list(RULES)}}})")
        for rule in found["violations"]:
            some = [node for node in rule["nodes"] if node["any"]][:2]
            nodes = [f"{node['html'][:90]} {node['any'][0]['message'][:120]}" for node in some]
            wrong.append(f"{name}: {rule['id']} ({len(rule['nodes'])} times): {nodes}")
        if name in PICTURED:
            _shoot(page, name, scheme)
    page.close()
    assert not wrong, "\n".join(wrong)


def _shoot(page: Any, name: str, scheme: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    stem = name.removesuffix(".html").replace("/", "-")
    for width in (NARROW, WIDE):
        page.set_viewport_size({"width": width, "height": 800})
        page.screenshot(path=str(SHOTS / f"{stem}-{scheme}-{width}.png"))
    page.set_viewport_size({"width": NARROW, "height": 740})


def test_no_link_is_broken(site: tuple[str, Path], browser: Any) -> None:
    """Links as the browser resolves them, with their anchors; links to other sites are not followed."""
    address, folder = site
    page = browser.new_page()
    anchors: dict[str, set[str]] = {}
    links: list[tuple[str, str]] = []
    for name in pages(folder):
        page.goto(address + name, wait_until="domcontentloaded")
        anchors[address + name] = set(page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)"))
        found = page.evaluate("[...document.querySelectorAll('a[href]')].map(one => one.getAttribute('href'))")
        if name != "404.html":
            links += [(name, urljoin(address + name, link)) for link in dict.fromkeys(found)]
    page.close()
    assert len(links) > 1000
    broken = []
    for name, link in links:
        target, anchor = urldefrag(link)
        if not target.startswith(address):
            continue
        path = folder / target.removeprefix(address)
        target = target + "index.html" if target.endswith("/") else target
        if not path.exists() or (anchor and target in anchors and anchor not in anchors[target]):
            broken.append(f"{name}: {link.removeprefix(address)}")
    assert not broken, "\n".join(broken)
