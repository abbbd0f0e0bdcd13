"""Every benchmark runs to its end on tiny inputs; only ``make bench`` judges the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.__main__ import BENCHMARKS
from bench.measure import Setting

pytestmark = pytest.mark.real


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs_on_tiny_inputs(name: str, tmp_path: Path, demo: Path, fresh: Callable[..., Path]) -> None:
    rows = BENCHMARKS[name].measure(Setting(tmp_path, fresh("seed:debian", "boot"), tiny=True, demo=demo))
    assert rows
    for row in rows:
        assert math.isfinite(row.value) and row.value >= 0, row
        assert row.limit > 0 and row.what
