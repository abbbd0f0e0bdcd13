"""OpenRC's runlevels: a service is in one when /etc/runlevels/LEVEL has a link to its script, see rc-update(8).

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
"""Runlevels that every OpenRC has, even if a root has lost the empty folder."""


def exists(name: str) -> bool:
    """Whether there is a script of this name."""
    return os.access(f"{SCRIPTS}/{name}", os.X_OK) and not name.endswith(".sh")


def known() -> tuple[str, ...]:
    """All scripts."""
    return tuple(name for name in names_in(SCRIPTS) if exists(name))


def missing(runlevels: Mapping[str, Sequence[str]]) -> Iterator[MissingRequirement]:
    """Runlevels and services that are not there."""
    levels = tuple(dict.fromkeys([*names_in(RUNLEVELS), *USUAL]))
    for level, names in runlevels.items():
        if level not in levels:
            hint = f"an overlay with a folder {RUNLEVELS.lstrip('/')}/{level} makes a new one"
            yield MissingRequirement(f"services.runlevels: there is no runlevel {level}", hint, level, levels)
        for name in names:
            if not exists(name):
                message = f"services.runlevels.{level}: there is no script {SCRIPTS}/{name} that can be run"
                yield MissingRequirement(
                    message, "add the package that brings it, or put it into an overlay", name, known()
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
