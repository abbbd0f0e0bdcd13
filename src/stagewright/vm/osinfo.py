"""Names of systems in libosinfo, which virt-install and other programs choose devices by."""

from __future__ import annotations

import shutil

from stagewright import run
from stagewright.errors import Reason, StagewrightError, nearest

PROGRAM = "osinfo-query"

GENTOO, GENTOO_ID = "gentoo", "http://gentoo.org/gentoo/rolling"
"""The short name of Gentoo, and its full name."""


def system_id(name: str) -> str:
    """Return the full name of a system, which is given by its short name; "" if libosinfo is not installed.

    Raises: UNKNOWN_NAME if libosinfo does not know it.
    """
    if shutil.which(PROGRAM, path=run.PATH) is None:
        return GENTOO_ID if name == GENTOO else ""
    known = _systems()
    if name not in known:
        hint = f"{nearest(name, known)}; all names: osinfo-query os"
        raise StagewrightError(Reason.UNKNOWN_NAME, f"--os-variant {name}: unknown to libosinfo", hint=hint)
    return known[name]


def _systems() -> dict[str, str]:
    """Return the full names of all systems by their short names."""
    listed = run.run([PROGRAM, "--fields=short-id,id", "os"]).stdout
    rows = [[cell.strip() for cell in line.split("|")] for line in listed.splitlines() if "://" in line]
    return {short: full for names, full in rows for short in names.split(", ")}
