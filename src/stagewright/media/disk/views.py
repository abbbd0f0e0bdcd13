"""The folders of a root that partitions are made of: some folders hidden, others added, without a copy of any file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.media.disk.definitions import Definition
from stagewright.root.devices import DeviceNode
from stagewright.root.overlay import mount_layers, opaque_attribute

_EARLY = ("/var/tmp",)
"""Empty folders that stay in a root without the rest of /var: services with PrivateTmp= start before /var is mounted,
and systemd cannot make the folder in a read-only root (systemd.exec(5))."""


def hidden_folders(one: Definition, definitions: Sequence[Definition]) -> list[str]:
    """Return the folders whose contents a partition does not get: excluded ones, and those of other partitions."""
    sources = [copy.source for copy in one.copy_files]
    others = [copy.source for other in definitions if other != one for copy in other.copy_files]
    inner = [path for path in others if path not in sources]
    return sorted({path for path in (*inner, *one.exclude_files) if any(_is_below(path, folder) for folder in sources)})


def early_folders(tree: Tree, hidden: Sequence[str]) -> list[str]:
    """Return folders in hidden ones that stay in the root, empty."""
    return [path for path in _EARLY if any(_is_below(path, folder) for folder in hidden) and _is_folder(tree, path)]


def _is_below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def view_of(root: Path, one: Definition, hidden: Sequence[str], work: Path, epoch: int) -> Path | None:
    """Return the folder that becomes the content of a partition; None if it has none.

    ``root`` is a mounted root. ``work`` is a new folder for this partition. Raises: BUILD_FAILED for a missing folder.
    """
    source = one.copy_files[0].source if one.copy_files else None
    made = [*one.make_directories, *one.subvolumes]
    if source is None:
        return _Mask(None, work / "tree", epoch).with_folders(made) if made else None
    tree = Tree(root, links=False)  # a link could lead out of the root
    if not _is_folder(tree, source):
        hint = "make the folder in the root, or change CopyFiles="
        what = f"layout: the root has no folder {source}, or a link in its place"
        raise StagewrightError(Reason.BUILD_FAILED, what, place=one.place, hint=hint)
    hidden = [path for path in hidden if _is_folder(tree, path)]
    if not hidden and not made:
        return root / source.lstrip("/")
    mask = _Mask(tree, work / "mask", epoch)
    for path in hidden:
        os.setxattr(mask.add(path), opaque_attribute(), b"y")
    mask.with_folders([*(f"{source.rstrip('/')}{path}" for path in made), *early_folders(tree, hidden)])
    return mount_layers([mask.folder, root], work / "view") / source.lstrip("/")


def _is_folder(tree: Tree, path: str) -> bool:
    try:
        return tree.is_dir(path)
    except OSError:
        return False


@dataclass(frozen=True)
class _Mask:
    """A layer of folders above the root. Those of the root keep their attributes, since the topmost folder counts."""

    tree: Tree | None
    folder: Path
    epoch: int

    def with_folders(self, paths: Sequence[str]) -> Path:
        """Add folders and return the layer."""
        for path in paths:
            self.add(path)
        return self.folder

    def add(self, path: str) -> Path:
        """Add a folder and those above it. Return its place in the layer."""
        self.folder.mkdir(exist_ok=True)
        inside = Path(path.lstrip("/"))
        chain = [parent for parent in [*reversed(inside.parents), inside] if parent != Path()]
        for one in [Path(), *chain]:
            (self.folder / one).mkdir(exist_ok=True)
        for one in [*reversed(chain), Path()]:  # the time of a folder changes with its entries
            self._like(one)
        return self.folder / inside

    def _like(self, path: Path) -> None:
        made = self.folder / path
        if self.tree is None or not _is_folder(self.tree, str(path)):
            made.chmod(0o755)
            os.utime(made, (self.epoch, self.epoch))
            return
        with self.tree.descriptor(path, os.O_RDONLY | os.O_DIRECTORY) as original:
            info = os.fstat(original)
            os.chown(made, info.st_uid, info.st_gid)
            made.chmod(info.st_mode & 0o7777)
            for name in os.listxattr(original):
                if not name.startswith(("trusted.overlay", "user.overlay")):
                    os.setxattr(made, name, os.getxattr(original, name))
            os.utime(made, ns=(info.st_mtime_ns, info.st_mtime_ns))


def devices_below(devices: Sequence[DeviceNode], one: Definition, hidden: Sequence[str]) -> list[DeviceNode]:
    """Return the device nodes that a partition gets, with paths in it."""
    source = one.copy_files[0].source.rstrip("/") if one.copy_files else None
    if source is None:
        return []
    found = [node for node in devices if node.path.startswith(f"{source}/")]
    found = [node for node in found if not any(_is_below(node.path, path) for path in hidden)]
    return [node.model_copy(update={"path": node.path.removeprefix(source)}) for node in found]
