"""Every command and file of the tutorials, typed literally in an empty folder.

The first one takes seconds. The others build and boot systems, by `make tutorials`: ten minutes with an empty store.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "tutorials"
LONG = pytest.mark.skipif(not os.environ.get("STAGEWRIGHT_TUTORIALS"), reason="takes ten minutes: make tutorials")

_BLOCK = re.compile(r"^```(sh|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script_of(page: str) -> str:
    """Return the tutorial as a script: its commands, and its TOML blocks added to the project file."""
    parts = []
    for language, text in _BLOCK.findall((PAGES / page).read_text(encoding="utf-8")):
        parts.append(text if language == "sh" else f"cat >> stagewright.toml <<'END_OF_BLOCK'\n{text}END_OF_BLOCK\n")
    return "\n".join(parts)


def typed(folder: Path, *pages: str, timeout: float) -> str:
    """Run tutorials in a folder, with a new store, and return everything that was printed."""
    script = "set -eux\n" + "\n".join(script_of(page) for page in pages)
    bin_folder, store = Path(sys.executable).parent, folder / "store"
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "STAGEWRIGHT_STORE": str(store)}
    (folder / "empty").mkdir()
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder / "empty",
            env=environment,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout
    finally:
        if store.exists():
            shutil.rmtree(store)


@pytest.mark.real
def test_a_root_in_seconds(tmp_path: Path) -> None:
    said = typed(tmp_path, "small-root.md", timeout=300)
    assert "etc/hostname" in said
    assert "motd" in said


@LONG
@pytest.mark.real
@pytest.mark.boot
def test_a_live_system_and_a_disk_image(tmp_path: Path) -> None:
    """The third tutorial goes on in the folder of the second one."""
    said = typed(tmp_path, "live-system.md", "disk-image.md", timeout=3000)
    assert said.count("the live system is ready") >= 2
