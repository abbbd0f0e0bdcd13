"""diffoscope(1), which compares two files by their format, if this computer has it."""

from __future__ import annotations

import shutil
from pathlib import Path

from stagewright.errors import StagewrightError
from stagewright.root.sandbox import run_host_program

LONGEST = 20_000
"""Largest number of characters of a report that is kept."""


def diffoscope(old: Path, new: Path) -> str:
    """Return the report about two files; empty without diffoscope, or if it fails. It runs in a sandbox."""
    if shutil.which("diffoscope") is None:
        return ""
    command: list[str | Path] = ["diffoscope", "--no-progress", "--text", "-", old, new]
    try:
        result = run_host_program(command, reads=[old, new], check=False)
    except StagewrightError:
        return ""
    return result.stdout[:LONGEST] if result.code == 1 else ""  # 1: the files differ
