"""The program that the kernel starts as process 1 of a root.

The kernel and dracut look in these places (kernel_init() in init/main.c; dracut's modules.d/99base/init.sh). They start
a shell if none exists, so a shell does not count here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from stagewright.chroot import inside

PLACES = ("/sbin/init", "/usr/sbin/init", "/etc/init", "/bin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd")

_ARGUMENT = "init="


def without_init(root: Path, arguments: Iterable[str] = ()) -> str:
    """Return what is wrong with a root that has no init; empty if it has one.

    ``arguments`` are kernel arguments: one of them can name another program.
    """
    named = [word.removeprefix(_ARGUMENT) for word in arguments if word.startswith(_ARGUMENT)]
    places = tuple(named[-1:] or PLACES)
    if inside(root, _found, places):
        return ""
    looked_for = f"{places[0]} not found" if named else f"no init found, such as {PLACES[0]}"
    return f"{looked_for}: the system does not start; install sys-apps/openrc or sys-apps/systemd in the root"


def _found(places: tuple[str, ...]) -> bool:
    return any(os.access(place, os.X_OK) for place in places)
