"""OpenRC's runlevels: a service is in a runlevel if /etc/runlevels/LEVEL has a link to its script (rc-update(8)).

Everything here runs inside the root.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stagewright.root.files import names_in
from stagewright.root.requirements import MissingRequirement

SCRIPTS = "/etc/init.d"
RUNLEVELS = "/etc/runlevels"
DEFAULT = "default"
USUAL = (DEFAULT, "boot", "sysinit", "shutdown", "nonetwork")
"""Runlevels that every OpenRC has, even if their empty folder is missing in a root."""


def exists(name: str) -> bool:
    """Return True if a script of this name exists."""
    return os.access(f"{SCRIPTS}/{name}", os.X_OK) and not name.endswith(".sh")


def known() -> tuple[str, ...]:
    """Return the names of all scripts."""
    return tuple(name for name in names_in(SCRIPTS) if exists(name))


def missing(runlevels: Mapping[str, Sequence[str]]) -> Iterator[MissingRequirement]:
    """Yield missing runlevels and services."""
    levels = tuple(dict.fromkeys([*names_in(RUNLEVELS), *USUAL]))
    for level, names in runlevels.items():
        if level not in levels:
            hint = f"to create it, add the folder {RUNLEVELS.lstrip('/')}/{level} to an overlay"
            yield MissingRequirement(f"services.runlevels: runlevel {level} not found", hint, level, levels)
        for name in names:
            if not exists(name):
                message = f"services.runlevels.{level}: no executable script {SCRIPTS}/{name}"
                yield MissingRequirement(
                    message,
                    "add the package that has it, or put it into an overlay",
                    name,
                    known(),
                    overlay=(f"{SCRIPTS[1:]}/{name}",),
                    short=f"service {name}",
                )


def apply(enable: Sequence[str], disable: Sequence[str], runlevels: Mapping[str, Sequence[str]], epoch: int) -> None:
    """Add services to runlevels and remove others from all of them."""
    for level in names_in(RUNLEVELS):
        for name in disable:
            if Path(f"{RUNLEVELS}/{level}/{name}").is_symlink():
                Path(f"{RUNLEVELS}/{level}/{name}").unlink()
    wanted = [(DEFAULT, name) for name in enable if exists(name)]
    wanted += [(level, name) for level, names in runlevels.items() for name in names]
    for level, name in wanted:
        Path(f"{RUNLEVELS}/{level}").mkdir(parents=True, exist_ok=True)
        link = f"{RUNLEVELS}/{level}/{name}"
        if not os.path.lexists(link):
            Path(link).symlink_to(f"{SCRIPTS}/{name}")
            os.utime(link, (epoch, epoch), follow_symlinks=False)
