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
from stagewright.errors import Reason, StagewrightError
from stagewright.root import mount_call
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
    must not be an overlay. Paths are relative to their common folder, because the length of options is limited.
    """
    work = upper.with_name(f"{upper.name}.work")
    if not upper.exists():
        upper.mkdir(parents=True)
        upper.chmod(0o755)  # overlayfs shows this mode as that of /
    for folder in (upper, work, target):
        folder.mkdir(parents=True, exist_ok=True)
    base = Path(os.path.commonpath([upper.parent, *(lower.parent for lower in lowers)]))
    inner = [f"upperdir={os.path.relpath(upper, base)}", f"workdir={os.path.relpath(work, base)}"]
    _mount(base, lowers, inner, target)


def bind(source: Path, target: Path) -> None:
    """Show a folder, with what is mounted in it, at another place of this mount namespace."""
    run(["mount", "--bind", source, target])


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
    _mount(base, layers, [], target, read_only=True)
    return target


def _mount(
    base: Path, lowers: Sequence[Path], options: Sequence[str], target: Path, *, read_only: bool = False
) -> None:
    """Mount an overlay: by fsopen(2) where the kernel can, and by mount(8) otherwise.

    Raises: BUILD_FAILED if there are too many layers for this kernel, COMMAND_FAILED if it refuses the mount.
    """
    names = [os.path.relpath(lower, base) for lower in lowers]
    everything = [*options, *options_of_overlays().split(",")]
    if len(names) <= mount_call.MOST_LAYERS:
        try:
            if mount_call.mount(base, names, everything, target.absolute(), read_only=read_only):
                return
        except OSError as error:
            raise StagewrightError(Reason.COMMAND_FAILED, f"{target}: cannot be mounted ({error.strerror})") from error
    text = ",".join([*(["ro"] if read_only else []), f"lowerdir={':'.join(names)}", *everything])
    if len(names) > mount_call.MOST_LAYERS or len(os.fsencode(text)) > _PAGE:
        what = f"{len(names)} layers: more than this kernel stacks ({mount_call.MOST_LAYERS} from Linux 6.5 on)"
        hint = "pack one of the lower stages as a tarball, and use it as a seed"
        raise StagewrightError(Reason.BUILD_FAILED, what, hint=hint)
    run(["mount", "-t", "overlay", "overlay", "-o", text, target], cwd=base)


_PAGE = 4095
"""Bytes of options that mount(2) takes."""


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
