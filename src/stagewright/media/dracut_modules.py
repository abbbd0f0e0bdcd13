"""Stagewright's own dracut modules: folders of scripts in this package, written into a root before dracut runs."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from stagewright.root import files

if TYPE_CHECKING:
    from stagewright.root.root import Root

_DRACUT = ("/usr/lib/dracut/modules.d", "/lib/dracut/modules.d")


def add_module(root: Root, folder: str, name: str, epoch: int) -> None:
    """Write the module in a folder of this package into the folder of dracut's modules in a root.

    ``name`` has the number that decides the order of modules. ``epoch`` is the time stamp in seconds since 1970.
    """
    modules = next((path for path in _DRACUT if files.exists(root.path, path)), _DRACUT[0])
    for file in (resources.files(__package__) / folder).iterdir():
        if file.name.endswith((".sh", ".conf")):
            text, mode = file.read_text(encoding="utf-8"), 0o755 if file.name.endswith(".sh") else 0o644
            files.write_file(root.path, f"{modules}/{name}/{file.name}", text, epoch=epoch, mode=mode)
