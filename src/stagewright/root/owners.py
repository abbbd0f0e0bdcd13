"""Owners of the files of a root, which must be in its own passwd(5) and group(5)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from stagewright.chroot import inside
from stagewright.errors import Reason, StagewrightError
from stagewright.root.passwd import Table
from stagewright.trees import LONGEST_PATH, walk_tree

SHOWN = 10
"""Number of files that an error lists."""

MOST = 1000
"""Number of files after which the search ends."""


def check_owners(root: Path, also: Iterable[int] = ()) -> None:
    """Check that the owner and group of every file are in the root's passwd(5) and group(5), or in ``also``.

    A service that runs as an unknown user would not start.
    Raises: BUILD_FAILED with the files that have an unknown owner or group.
    """
    strangers = inside(root, _strangers, frozenset(also))
    if strangers:
        more = f"\n  and {len(strangers) - SHOWN} more" if len(strangers) > SHOWN else ""
        raise StagewrightError(
            Reason.BUILD_FAILED,
            "files have owners or groups that are not in the passwd and group of the root",
            detail="\n".join(f"  {line}" for line in strangers[:SHOWN]) + more,
            hint="make the package that installs them depend on the acct-user or acct-group package, and give the"
            " account the same number in the root that builds",
        )


def _strangers(also: frozenset[int]) -> list[str]:
    users = {0, *also, *Table.read("/etc/passwd", 0o644, 7).numbers()}
    groups = {0, *also, *Table.read("/etc/group", 0o644, 4).numbers()}
    found = []
    for step in walk_tree(Path("/")):
        own = [("", os.fstat(step.folder))] if not step.left else []
        for name, info in (*own, *((file.name, file.stat(follow_symlinks=False)) for file in step.files)):
            if info.st_uid not in users or info.st_gid not in groups:
                found.append(f"/{step.path(name)[:LONGEST_PATH]}: {info.st_uid}:{info.st_gid}")
                if len(found) == MOST:
                    return sorted(found)
    return sorted(found)
