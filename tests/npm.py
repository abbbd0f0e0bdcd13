"""Modules of npm for tests, installed into the virtual environment at their first use."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def npm_module(name: str) -> Path:
    """Return the folder in which node(1) finds a module, such as ``ajv@8``. Skips the test if npm cannot install it."""
    module = name.partition("@")[0]
    folder = Path(sys.prefix) / "npm" / module
    if not (folder / "node_modules" / module).is_dir():
        if shutil.which("npm") is None or shutil.which("node") is None:
            pytest.skip("NOT TESTED: npm is not installed")
        words = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), name]
        if subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip(f"NOT TESTED: npm cannot install {name}")
    return folder
