"""Overlay mounts: the layers of a root and a writable folder become one file system, in a few milliseconds.

Mounts are made in the mount namespace of the worker and end with it. The options keep layers plain: a layer contains
complete files, whiteouts and opaque folders, and no reference to its location, so it can be stacked and moved. See
Documentation/filesystems/overlayfs.rst of the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stagewright import ids
from stagewright.run import run


def opaque_attribute() -> str:
    """Return the extended attribute of a folder that hides the folder of the same name in the layers below.

    In layers that are made in a user namespace it is a user attribute, because trusted ones cannot be set there.
    """
    return "trusted.overlay.opaque" if ids.as_host_root() else "user.overlay.opaque"


def options_of_overlays() -> str:
    """Return the mount options. ``userxattr`` implies ``redirect_dir=off`` and ``metacopy=off``."""
    return "redirect_dir=off,metacopy=off,index=off" if ids.as_host_root() else "index=off,userxattr"


def mount_overlay(lowers: Sequence[Path], upper: Path, target: Path) -> None:
    """Mount ``lowers`` (topmost first) with ``upper`` on top at ``target``, making missing folders.

    The work folder of overlayfs is made next to ``upper``, because both must be on one file system. This file system
    must not be an overlay. Paths are relative to their common folder, because mount options are limited to one page.
    """
    work = upper.with_name(f"{upper.name}.work")
    if not upper.exists():
        upper.mkdir(parents=True)
        upper.chmod(0o755)  # overlayfs shows this mode as that of /
    for folder in (upper, work, target):
        folder.mkdir(parents=True, exist_ok=True)
    base = Path(os.path.commonpath([upper.parent, *(lower.parent for lower in lowers)]))
    stack = ":".join(os.path.relpath(lower, base) for lower in lowers)
    inner = f"upperdir={os.path.relpath(upper, base)},workdir={os.path.relpath(work, base)}"
    run(
        ["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={stack},{inner},{options_of_overlays()}", target],
        cwd=base,
    )


def unmount(target: Path) -> None:
    """Unmount a file system of this mount namespace."""
    run(["umount", target])


def mount_layers(layers: Sequence[Path], target: Path) -> Path:
    """Return a folder with a root to read: its layers (topmost first), mounted read-only at ``target``.

    A root with a single layer is that layer.
    """
    if len(layers) == 1:
        return layers[0]
    target.mkdir(parents=True, exist_ok=True)
    base = Path(os.path.commonpath([layer.parent for layer in layers]))
    stack = ":".join(os.path.relpath(layer, base) for layer in layers)
    run(["mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={stack},{options_of_overlays()}", target], cwd=base)
    return target


def make_scaffold(folder: Path, targets: Sequence[str], files: Sequence[str] = ()) -> Path:
    """Make the lowest layer, of empty mount points. So they do not become part of the layer that a build adds."""
    for target in targets:
        (folder / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        if target == "/tmp":
            (folder / "tmp").chmod(0o1777)
    for name in files:
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder
