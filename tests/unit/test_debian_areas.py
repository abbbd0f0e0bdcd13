"""The part of Debian's archive of each package, as apt's indexes of a bootstrap have it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from stagewright.seeds.debian_areas import FILE, areas_of, hook

LISTING = """\
Index: Debian|main
Package: bash
Version: 5.2-1
Architecture: amd64
Package: bash
Version: 5.2-2
Architecture: amd64
Index: Debian|updates/non-free-firmware
Package: fw
Version: 1:3
Architecture: all
Index: Vendor|main
Package: blob
Version: 4
Architecture: amd64
Package: bash
Version: 5.2-3
Architecture: amd64
"""


def test_only_indexes_of_the_archive_count() -> None:
    packages = ["bash=5.2-2", "bash=5.2-3", "fw=1:3", "blob=4"]
    found = areas_of(LISTING.splitlines(keepends=True), packages)
    assert found == {"bash:amd64=5.2-2": "main", "fw:all=1:3": "non-free-firmware"}


def test_the_hook_reads_the_indexes_that_apt_used(tmp_path: Path) -> None:
    """Here with stand-ins for apt: a shell of a real bootstrap runs the same words."""
    index = tmp_path / "main_Packages"
    index.write_text("Package: a\nVersion: 1\nArchitecture: all\nFilename: pool/main/a.deb\n", encoding="utf-8")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apt-get").write_text(f'#!/bin/sh\necho "Debian|main|{index}"\n', encoding="utf-8")
    (programs / "apt-get").chmod(0o755)
    words = hook(tmp_path).replace("/usr/lib/apt/apt-helper cat-file", "cat")
    subprocess.run(["sh", "-c", words], check=True, env={"PATH": f"{programs}:{os.environ['PATH']}"})
    with (tmp_path / FILE).open(encoding="utf-8") as lines:
        assert areas_of(lines, ["a=1"]) == {"a:all=1": "main"}
