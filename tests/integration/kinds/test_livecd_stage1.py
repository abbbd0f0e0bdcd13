"""livecd-stage1: a root made ready to run live, as a layer with its changes alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from integration.support import build, plan

pytestmark = pytest.mark.real


def test_a_live_root_has_the_overlay_and_not_what_was_removed(demo: Path, fresh: Callable[..., Path]) -> None:
    store = fresh("seed:debian", "system")
    assert build("live", cwd=demo, store=store).built() == {"live"}
    tree = store / "layers" / plan("live", cwd=demo, store=store)["live"]["key"] / "tree"
    overlay = demo / "overlays/live"
    added = [path for path in overlay.rglob("*") if path.is_file() and not path.is_symlink()]
    assert added
    for path in added:
        assert (tree / path.relative_to(overlay)).read_bytes() == path.read_bytes()
    text = (tree / "etc/os-release").read_text(encoding="utf-8")
    assert "VERSION=" in text and "1.0" in text
    gone = tree / "var/db/pkg"
    assert gone.is_char_device() and gone.stat().st_rdev == 0, "a whiteout of overlayfs hides what the system has"
    assert not (tree / "bin/busybox").exists() and not (tree / "usr/bin/hello").exists(), "that is in the layer below"
