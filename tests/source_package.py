"""The source package of this checkout, for the tests that install it as an ebuild."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def install_backend(folder: Path) -> Path:
    """Install a setuptools that is newer than Debian 12's, and pip, into a folder. Return the folder."""
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "setuptools>=77", "pip"]
    subprocess.run(words, check=True)
    return folder


def make_source_package(checkout: Path, dist: Path, backend: Path) -> Path:
    """Copy the checkout, as git knows it, into an empty folder, and make its source package in ``dist``."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    there = b"\0".join(name for name in files.split(b"\0") if name and (ROOT / name.decode()).exists())
    packed = subprocess.run(["tar", "-c", "--null", "-T", "-"], cwd=ROOT, input=there, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(checkout)], input=packed.stdout, check=True)
    words = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--skip-dependency-check"]
    done = subprocess.run(
        [*words, "--outdir", str(dist), str(checkout)],
        env={**os.environ, "PYTHONPATH": str(backend)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = dist.glob("*.tar.gz")
    return made
