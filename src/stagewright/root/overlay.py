"""Overlay mounts: the layers of a root and a writable folder become one file system, in a few milliseconds.

Mounts are made in the worker's own mount namespace, so they end with it. The options keep layers plain: a layer holds
whole files, whiteouts and opaque folders, nothing that refers to where it lies, so it can be stacked and moved.
See Documentation/filesystems/overlayfs.rst of the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stagewright.run import run

PLAIN = "redirect_dir=off,metacopy=off,index=off"


def mount_overlay(lowers: Sequence[Path], upper: Path, target: Path) -> None:
    """Mount ``lowers`` (topmost first) with ``upper`` on top at ``target``, making missing folders.

    A work folder for overlayfs is made beside ``upper``, since both must lie on one file system, and that file system
    must not be an overlay itself. Paths go in relative to their common folder: mount options end at one page.
    """
    work = upper.with_name(f"{upper.name}.work")
    for folder in (upper, work, target):
        folder.mkdir(parents=True, exist_ok=True)
    base = Path(os.path.commonpath([upper.parent, *(lower.parent for lower in lowers)]))
    stack = ":".join(os.path.relpath(lower, base) for lower in lowers)
    inner = f"upperdir={os.path.relpath(upper, base)},workdir={os.path.relpath(work, base)}"
    run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={stack},{inner},{PLAIN}", target], cwd=base)


def mount_layers(layers: Sequence[Path], target: Path) -> Path:
    """A root to look at: its layers (topmost first) mounted read-only at ``target``, or the one layer that it is.

    Returns where it is.
    """
    if len(layers) == 1:
        return layers[0]
    target.mkdir(parents=True, exist_ok=True)
    base = Path(os.path.commonpath([layer.parent for layer in layers]))
    stack = ":".join(os.path.relpath(layer, base) for layer in layers)
    run(["mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={stack},{PLAIN}", target], cwd=base)
    return target


def make_scaffold(folder: Path, targets: Sequence[str], files: Sequence[str] = ()) -> Path:
    """A lowest layer of empty folders and files to mount on, so that none of them ends up in what the build adds."""
    for target in targets:
        (folder / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        if target == "/tmp":
            (folder / "tmp").chmod(0o1777)
    for name in files:
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder
