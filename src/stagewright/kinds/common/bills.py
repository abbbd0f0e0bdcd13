"""Bills of materials of roots: which packages are in a root, where they come from, and which files no package owns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.chroot import inside
from stagewright.confined import Tree
from stagewright.graph.node import Yields
from stagewright.kinds.common.records import read_records
from stagewright.kinds.common.work import Work
from stagewright.portage.ebuild_facts import EbuildFacts
from stagewright.portage.installed import VDB
from stagewright.release.bill import MOST_PATHS, Bill, Component, Image, Unowned
from stagewright.release.owners import DPKG, Owners, files_of_root, has_records
from stagewright.root.overlay import mount_layers
from stagewright.trees import LONGEST_PATH


@dataclass(frozen=True)
class RootRecords:
    """The records of a root: owners of its files, facts about its packages, and its layers.

    ``is_complete`` is False if the root lacks its records, and lower layers have them.
    """

    owners: Owners
    facts: Mapping[str, EbuildFacts]
    layers: Sequence[tuple[str, Tree]]  # ids of the nodes and their trees, topmost first
    is_complete: bool

    @classmethod
    def of(cls, work: Work[Any], role: str, root: Path, own: Iterable[EbuildFacts] = ()) -> RootRecords:
        """Return the records of the root of an input, which is mounted at ``root``.

        ``own`` are facts about packages that this build merged. If upper layers removed the records, as live media do,
        those of the layers below count.
        """
        layers = work.layers(role)
        trees = [work.store.tree(Yields.LAYER, layer.key) for layer in layers]
        named = [(layer.node, Tree(tree, links=False)) for layer, tree in zip(layers, trees, strict=True)]
        source, is_complete = root, inside(root, has_records)
        if not is_complete:
            lowest = next((number for number, tree in enumerate(trees) if inside(tree, has_records)), None)
            source = root if lowest is None else mount_layers(trees[lowest:], work.folder / "records")
        facts = read_records(work.store, layers) | {one.package: one for one in own}
        return cls(inside(source, Owners.read), facts, named, is_complete)

    def component(self, index: int, image: Image, why: str) -> Component:
        """Return the entry of a package in an image."""
        package = self.owners.packages[index]
        update: dict[str, Any] = {"images": (image,), "why": {image.value: why}}
        facts = self.facts.get(f"{package.name}-{package.version}")
        if package.kind == "ebuild" and facts:
            update |= {"sources": facts.sources, "tree": facts.tree, "merged": True}
        return package.model_copy(update=update)

    def origin(self, index: int) -> str:
        """Return the id of the node that added a package."""
        package = self.owners.packages[index]
        full = f"{package.name}-{package.version}"
        if package.kind == "ebuild":
            return self._first(f"{VDB}/{full}/PF")
        names = (package.name, f"{package.name}:{package.arch}")
        return next(filter(None, (self._first(f"{DPKG}/info/{name}.list") for name in names)), "")

    def _first(self, path: str) -> str:
        if len(path) > LONGEST_PATH:
            return ""
        return next((node for node, tree in self.layers if tree.stat(path, follow=False)), "")

    def unowned(self, paths: Iterable[str], image: Image) -> list[Unowned]:
        """Return entries for paths that no package owns, by the node that made them."""
        found: dict[str, list[str]] = {}
        for path in paths:
            found.setdefault(self._first(path.lstrip("/")) or "this artifact", []).append(path)
        return [unowned_files(image, origin, names) for origin, names in sorted(found.items())]


def unowned_files(image: Image, origin: str, paths: Sequence[str]) -> Unowned:
    """Return the entry of files without owner, with the first of their paths."""
    named = [path for path in sorted(paths)[:MOST_PATHS] if len(path) <= LONGEST_PATH]
    shown = [path.encode(errors="replace").decode() for path in named]
    return Unowned(image=image, origin=origin, count=len(paths), paths=tuple(shown))


def root_bill(work: Work[Any], role: str, root: Path) -> Bill:
    """Return the bill of the root of an input, which is mounted at ``root`` without changes."""
    records = RootRecords.of(work, role, root)
    counts, unowned = inside(root, _counted, records.owners)
    components = [
        records.component(index, Image.ROOT, f"installed by {records.origin(index) or 'an unknown node'}")
        for index, package in enumerate(records.owners.packages)
        if records.is_complete or counts.get(index) or not package.files
    ]
    notices = [*_notices(components), *([] if records.owners.packages else ["the root has no records of packages"])]
    return Bill(
        components=tuple(components),
        unowned=tuple(records.unowned(unowned, Image.ROOT)),
        notices=tuple(notices),
    )


def _counted(owners: Owners) -> tuple[dict[int, int], list[str]]:
    return owners.of_paths(files_of_root())


def _notices(components: Iterable[Component]) -> list[str]:
    others = sum(component.kind == "ebuild" and not component.merged for component in components)
    return [f"{others} packages were built elsewhere: the addresses of their sources are unknown"] if others else []
