"""Whom the files of a root belong to: users and groups that the root itself knows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from stagewright.chroot import inside
from stagewright.errors import Reason, StagewrightError
from stagewright.root.passwd import Table

SHOWN = 10
"""How many files an error names."""


def check_owners(root: Path, also: Iterable[int] = ()) -> None:
    """Check that every file's owner and group are in the root's passwd(5) and group(5), or among ``also`` (R93).

    Raises ``BUILD_FAILED`` with the files for which that is not so: a program that runs as that user would not start.
    """
    strangers = inside(root, _strangers, frozenset(also))
    if strangers:
        more = f"\n  and {len(strangers) - SHOWN} more" if len(strangers) > SHOWN else ""
        raise StagewrightError(
            Reason.BUILD_FAILED,
            "there are files of users or groups that the root does not have",
            detail="\n".join(f"  {line}" for line in strangers[:SHOWN]) + more,
            hint="the package that installs them must depend on the acct-user or acct-group package that makes them",
        )


def _strangers(also: frozenset[int]) -> list[str]:
    users = {0, *also, *Table.read("/etc/passwd", 0o644, 7).numbers()}
    groups = {0, *also, *Table.read("/etc/group", 0o644, 4).numbers()}
    found = []
    for folder, _, names in os.walk("/"):
        for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118  many paths
            info = os.lstat(path)
            if info.st_uid not in users or info.st_gid not in groups:
                found.append(f"{path}: {info.st_uid}:{info.st_gid}")
    return sorted(found)
