"""The site of the documentation: built without a warning, with all pages, and with nothing from other places."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LOADED = re.compile(r"""<(?:script|img|iframe|source)[^>]*\bsrc="?(https?:)?//|<link[^>]*\bhref="?(https?:)?//""")


@pytest.mark.slow
def test_the_site_is_complete_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """MkDocs checks links, anchors and the list of pages; a warning is an error."""
    words = [sys.executable, "-m", "mkdocs", "--quiet", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    sources = [path for path in (ROOT / "docs").rglob("*.md") if path.name != "README.md"]
    assert len(pages) > len(sources)  # also generated ones
    assert [page.name for page in pages if _LOADED.search(page.read_text(encoding="utf-8"))] == []
    style = " ".join(path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.css"))
    assert re.findall(r'(?:@import|url\()\s*["\x27]?(?:https?:)?//', style) == []
    commands = (tmp_path / "site/reference/commands.html").read_text(encoding="utf-8")
    assert "stagewright catalyst convert" in commands
