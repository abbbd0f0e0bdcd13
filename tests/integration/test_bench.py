"""Every benchmark runs to its end on tiny inputs; only ``make bench`` judges the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import mkosi
from bench.__main__ import BENCHMARKS
from bench.measure import Row, Setting

pytestmark = pytest.mark.real


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs_on_tiny_inputs(name: str, tmp_path: Path, demo: Path, fresh: Callable[..., Path]) -> None:
    check(BENCHMARKS[name].measure(Setting(tmp_path, fresh("seed:debian", "boot"), tiny=True, demo=demo)))


@pytest.mark.skipif(not mkosi.usable(), reason="NOT TESTED: no mkosi 14 (packages/apt-more.txt)")
def test_the_comparison_with_mkosi_runs_on_tiny_inputs(tmp_path: Path) -> None:
    check(mkosi.measure(Setting(tmp_path, tmp_path / "kept", tiny=True)))


def check(rows: list[Row]) -> None:
    assert rows
    for row in rows:
        assert math.isfinite(row.value) and row.value >= 0, row
        assert row.limit > 0 and row.what
