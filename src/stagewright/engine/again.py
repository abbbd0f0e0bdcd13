"""The second build of a node in a worker: its result is kept for a comparison, or replaces the stored one."""

from __future__ import annotations

from pathlib import Path

from stagewright import ids
from stagewright.graph.node import Yields
from stagewright.kinds.common.work import Built
from stagewright.store.content import ANY_OWNER, FILE_NAME, NO_NAMESPACE, write_content
from stagewright.store.store import Store

AGAIN = "again"
"""The mode of workers that keep the result in the work folder, and the folder with the result."""
REPLACE = "replace"
"""The mode of workers that replace the result in the store."""

BUILDS = ("build", AGAIN, REPLACE)
"""The modes of workers that build the node. A node with a signature needs its secrets in each of them."""


class FreshStore(Store):
    """A store without the caches that keep results of former builds: packages and objects are compiled again."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._fresh = folder  # opening the store makes its caches
        super().__init__(path)

    def cache(self, name: str) -> Path:
        """Return a cache of the store, or an empty one in the work folder."""
        if name not in ("binpkgs", "ccache"):
            return super().cache(name)
        folder = self._fresh / f"fresh-{name}"
        folder.mkdir(exist_ok=True)
        return folder


def keep_result(built: Built, yields: Yields, folder: Path) -> None:
    """Move the tree of a build to ``again/tree`` in the work folder, and list its content as the store does."""
    target = folder / AGAIN
    target.mkdir()
    built.tree.rename(target / "tree")
    layer = yields is Yields.LAYER
    write_content([target / "tree"], target / FILE_NAME, times=layer, ids=NO_NAMESPACE if layer else ANY_OWNER)
    ids.hand_over(target / FILE_NAME)
    ids.hand_over(target)
