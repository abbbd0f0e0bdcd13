"""The size of a root, and its largest folders and packages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

from stagewright.errors import Reason, StagewrightError
from stagewright.project.fields import Matching
from stagewright.trees import walk_tree
from stagewright.units import parse_size, size_hint

SHOWN = 8
"""Number of packages and folders that an error lists."""

Size = Annotated[
    str, Matching(r"[0-9]+(\.[0-9]+)?[KMGT]?", "a number of bytes, or one with K, M, G or T: 500M", size_hint)
]
"""A size in bytes, or with K, M, G, T for powers of 1024."""


def measure(tree: Path) -> Counter[str]:
    """Return the bytes in files by folder (two levels deep). Hard links count once."""
    sizes: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()
    for step in walk_tree(tree):
        folder = "/" + "/".join(step.names[:2])
        for file in step.files:
            info = file.stat(follow_symlinks=False)
            if info.st_nlink > 1 and (info.st_dev, info.st_ino) in seen:
                continue
            seen.add((info.st_dev, info.st_ino))
            sizes[folder] += info.st_size
    return sizes


def check_size(tree: Path, limit: Size, packages: Counter[str]) -> int:
    """Return the size of a root in bytes. Raises: BUILD_FAILED if it exceeds the limit."""
    folders = measure(tree)
    total, allowed = folders.total(), parse_size(limit)
    if total <= allowed:
        return total
    lines = [f"  {_shown(size):>10}  {name}" for name, size in folders.most_common(SHOWN)]
    if packages:
        lines += ["", *(f"  {_shown(size):>10}  {name}" for name, size in packages.most_common(SHOWN))]
    raise StagewrightError(
        Reason.BUILD_FAILED,
        f"the root has {_shown(total)}, which is {_shown(total - allowed)} more than size = {limit!r}",
        detail="\n".join(lines),
        hint="remove something (unmerge, rm, install_mask), or raise the limit",
    )


def _shown(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB" if size >= 1024**2 / 10 else f"{size} B"
