"""A warning for a time stamp that the clock of this computer does not confirm."""

from __future__ import annotations

import datetime
import time

_TOLERANCE = 60
"""Seconds that the time stamp of a project may be ahead of the clock: clocks differ."""


def clock_warnings(epoch: int) -> list[str]:
    """Return a warning if the time stamp of a project is ahead of the clock."""
    now = time.time()
    if epoch <= now + _TOLERANCE:
        return []
    stamp, clock = (f"{datetime.datetime.fromtimestamp(moment, datetime.UTC):%F %T}" for moment in (epoch, now))
    text = f"source_date_epoch ({stamp} UTC) is ahead of the clock ({clock} UTC): correct the one that is wrong"
    return [f"{text}; new files get the time stamp of the project"]
