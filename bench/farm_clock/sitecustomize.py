"""A wrong clock for Python programs that have this folder in ``PYTHONPATH``, which import this module first (site(7)).

The file that ``FARM_CLOCK`` names has the seconds by which ``time.time`` and ``time.time_ns`` are wrong. It is read at
each call, so a clock can jump. Clocks for waiting, times of files, and OpenSSL's check of certificates stay right.
"""

from __future__ import annotations

import os
import pathlib
import time

_right = time.time_ns


def _wrong() -> int:
    with pathlib.Path(os.environ["FARM_CLOCK"]).open(encoding="ascii") as file:
        return _right() + int(file.read()) * 1_000_000_000


if "FARM_CLOCK" in os.environ:
    time.time_ns = _wrong
    time.time = lambda: _wrong() / 1e9
