"""``make bench`` passes its variables to the benchmarks, and no other options."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ([], []),
        (["MKOSI=1"], ["--mkosi"]),
        (["CATALYST=a", "DECOMP=b"], ["--catalyst", "a", "--decomp", "b"]),
    ],
)
def test_make_bench_passes_its_variables_on(variables: list[str], options: list[str]) -> None:
    words = ["make", "--dry-run", "bench", *variables]
    done = subprocess.run(words, cwd=ROOT, env={"PATH": os.environ["PATH"]}, check=True, capture_output=True, text=True)
    [line] = [line for line in done.stdout.splitlines() if " -m bench" in line]
    assert line.partition(" -m bench")[2].split() == options
