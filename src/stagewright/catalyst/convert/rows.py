"""The table that drives conversion: for each key of each target, what becomes of it."""

from __future__ import annotations

import functools

from stagewright.catalyst.convert import common, disks, kernels, media, netboot, roots
from stagewright.catalyst.convert.row import Row, Status, refused, row, without_effect
from stagewright.catalyst.keys import Key, Target

_IGNORED = row(
    "", Status.NO_EFFECT, "", "Catalyst takes it for this target and makes nothing of it. So do we.", without_effect
)

_INTERNAL = refused("", "this target has no kernel here", "leave it out")

ROWS: tuple[Row, ...] = (*common.ROWS, *roots.ROWS, *media.ROWS, *disks.ROWS, *kernels.ROWS, *netboot.ROWS)


@functools.cache
def row_of(key: Key, target: Target) -> Row:
    """What becomes of a key of a target."""
    if target not in key.effective and key.name != "target":
        return _IGNORED
    found = next((row for row in ROWS if row.covers(key, target)), None)
    if found is None and target is Target.EMBEDDED:
        return _INTERNAL
    assert found, f"{target} has a key {key.name} without a row"
    return found
