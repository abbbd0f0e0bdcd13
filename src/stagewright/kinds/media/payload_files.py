"""Files of a payload that come from its environment, where commands of the build may have changed them."""

from __future__ import annotations

import os
from pathlib import Path

from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.find import LARGEST_IMAGE
from stagewright.root.root import Root


def take_over(output: Path, target: Path) -> Path:
    """Move the output of commands into the payload, and return its place. Raises: BUILD_FAILED for special files."""
    for entry in os.scandir(output):
        if not entry.is_file(follow_symlinks=False):
            message = f"{entry.name}: a command in the environment made it, and it is not a regular file"
            raise StagewrightError(Reason.BUILD_FAILED, message)
    target.parent.mkdir(parents=True, exist_ok=True)
    return output.rename(target)


def copy_modules(root: Root, version: str, target: Path) -> None:
    """Copy modules, without the kernel image and without links to the sources. Kernels of one version share them."""
    if target.exists():
        return
    tree, folder = Tree(root.path), f"lib/modules/{version}"
    if not tree.is_dir(folder):
        message = f"/{folder} in the environment: not a folder, so there are no modules for this kernel"
        raise StagewrightError(Reason.BUILD_FAILED, message)

    def is_ignored(path: str) -> bool:
        return path == "vmlinuz" or ("/" not in path and tree.is_link(f"{folder}/{path}"))

    tree.copy_tree_out(folder, target, is_ignored, LARGEST_IMAGE)
