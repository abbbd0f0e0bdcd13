"""Bills of materials of roots: which packages are in a root, where they come from, and which files no package owns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.chroot import inside
from stagewright.confined import Tree
from stagewright.graph.node import Yields
from stagewright.kinds.common.parts import read_owners
from stagewright.kinds.common.records import Records
from stagewright.kinds.common.work import Work
from stagewright.portage.installed import VDB
from stagewright.release.bill import MOST_PATHS, Bill, Component, Image, Unowned
from stagewright.release.components import component_of
from stagewright.release.file_list import ListedFile, listed_file
from stagewright.release.generated import is_generated
from stagewright.release.owners import DPKG, Owners, PackageRecord, files_of_root, links_among
from stagewright.trees import LONGEST_PATH


@dataclass(frozen=True)
class Layers:
    """The layers of a root: ids of their nodes, and their trees, topmost first."""

    named: Sequence[tuple[str, Tree]]

    @classmethod
    def of(cls, work: Work[Any], role: str) -> Layers:
        """Return the layers of an input."""
        layers = work.layers(role)
        trees = (Tree(work.store.tree(Yields.LAYER, layer.key), links=False) for layer in layers)
        return cls([(layer.node, tree) for layer, tree in zip(layers, trees, strict=True)])

    def first(self, path: str) -> str:
        """Return the id of the node whose layer has a path (without a slash in front); "" if none has it."""
        if len(path) > LONGEST_PATH:
            return ""
        return next((node for node, tree in self.named if tree.stat(path, follow=False)), "")

    def origin(self, package: PackageRecord) -> str:
        """Return the id of the node that added a package."""
        if package.kind == "ebuild":
            return self.first(f"{VDB}/{package.name}/PF")
        names = (package.name, f"{package.name}:{package.entries.get('Architecture', '')}")
        return next(filter(None, (self.first(f"{DPKG}/info/{name}.list") for name in names)), "")


def root_bill(work: Work[Any], role: str, root: Path) -> tuple[Bill, Owners, list[ListedFile]]:
    """Return the bill of the root of an input, which is mounted at ``root`` without changes, its packages and files."""
    layers = Layers.of(work, role)
    records = Records.of_layers(work.store, work.layers(role))
    owners, is_complete = read_owners(work, role, root)
    paths = inside(root, plain_paths, owners)
    counts, unowned = owners.of_paths(paths)
    ebuilds = records.by_package
    components = [
        component_of(
            package,
            ebuilds,
            records.areas,
            Image.ROOT,
            f"installed by {layers.origin(package) or 'an unknown node'}",
        )
        for index, package in enumerate(owners.packages)
        if is_complete or counts.get(index) or not package.paths
    ]
    notices = [*_notices(components), *([] if owners.packages else ["the root has no records of packages"])]
    links = inside(root, links_among, unowned)
    bill = Bill(
        components=tuple(components),
        unowned=tuple(_unowned(unowned, links, layers)),
        notices=tuple(notices),
    )
    return bill, owners, root_files(owners, paths, unowned)


def plain_paths(owners: Owners) -> list[str]:
    """Return the paths of the files of the root that this thread is in, without links in their folders."""
    return [owners.plain(path) for path in files_of_root()]


def root_files(owners: Owners, paths: Iterable[str], unowned: Iterable[str]) -> list[ListedFile]:
    """Return the entries of files of a root; ``unowned`` are the paths that no package owns."""
    without = set(unowned)
    found = ((path, None if path in without else owners.owner(path)) for path in paths)
    return [listed_file(Image.ROOT, None if index is None else owners.packages[index], path) for path, index in found]


def _unowned(paths: Iterable[str], links: Collection[str], layers: Layers) -> Iterator[Unowned]:
    """Yield entries for paths that no package owns, by the node that made them."""
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(layers.first(path.lstrip("/")) or "this artifact", []).append(path)
    for origin, names in sorted(found.items()):
        yield from unowned_files(Image.ROOT, origin, names, links=links)


def unowned_files(
    image: Image, origin: str, paths: Sequence[str], maker: str = "", links: Collection[str] = ()
) -> Iterator[Unowned]:
    """Yield the entries of files without owner, with the first of their paths: generated files, and others."""
    for generated in (False, True):
        some = sorted(path for path in paths if (path in links or is_generated(path)) is generated)
        if some:
            named = (path for path in some[:MOST_PATHS] if len(path) <= LONGEST_PATH)
            shown = tuple(path.encode(errors="replace").decode() for path in named)
            yield Unowned(image=image, origin=origin, count=len(some), paths=shown, maker=maker, is_generated=generated)


def _notices(components: Iterable[Component]) -> list[str]:
    others = sum(component.kind == "ebuild" and not component.merged for component in components)
    return [f"{others} packages were built elsewhere: the addresses of their sources are unknown"] if others else []
