"""The browser of these tests, and the rules of axe-core: for `make docs-check`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from npm import npm_module


@pytest.fixture(scope="session")
def axe() -> str:
    """The rules of axe-core, from npm."""
    script = npm_module("axe-core@4") / "node_modules/axe-core/axe.min.js"
    return script.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "Chromium not found: apt install chromium"
    with sync_api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()
