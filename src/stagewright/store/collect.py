"""Collection: what in the store no project needs any more."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stagewright.graph.node import Yields
from stagewright.store.store import Meta, Store, failed_lock, remove_tree, tree_size


@dataclass(frozen=True)
class Garbage:
    """Something that can go: where it lies, what it is, and its size in bytes."""

    path: Path
    what: str
    size: int
    key: str


def unneeded(store: Store, needed: set[str]) -> list[Garbage]:
    """Results that neither ``needed`` nor any project known to the store asks for, largest first.

    Layers below a needed layer are needed too. Projects whose folder is gone no longer count.
    """
    keep = needed | set(_registered(store))
    keep |= {layer for key in keep if store.has(Yields.LAYER, key) for layer in store.meta(Yields.LAYER, key).stack}
    found = [
        Garbage(store.folder(yields, meta.key), f"{meta.node} ({meta.kind})", meta.size, meta.key)
        for yields, meta in _all(store)
        if meta.key not in keep
    ]
    return sorted(found, key=lambda garbage: -garbage.size)


def unused_packages(store: Store, days: float) -> list[Garbage]:
    """Binary packages and repositories that no build has been offered for some days, largest first."""
    limit = time.time() - days * 86400
    found = [
        Garbage(folder, f"binary package {folder.parent.parent.name}/{folder.parent.name}", tree_size(folder), "")
        for folder in store.cache("binpkgs").glob("*/*/*")
        if folder.is_dir() and folder.stat().st_mtime < limit
    ]
    fetched = {path.parent for path in store.cache("binhosts").rglob("*.gpkg.tar")}
    found += [
        Garbage(folder, f"fetched {folder.parent.name}/{folder.name}", tree_size(folder), "")
        for folder in sorted(fetched)
        if folder.stat().st_mtime < limit
    ]
    found += [
        Garbage(folder, f"repository {folder.parent.name}/{folder.name[:40]}", tree_size(folder), "")
        for folder in store.cache("repos").glob("*/*")
        if folder.is_dir() and folder.stat().st_mtime < limit
    ]
    return sorted(found, key=lambda garbage: -garbage.size)


def unused_seeds(store: Store, days: float) -> list[Garbage]:
    """Tarballs and images of seeds that nothing was made of for some days, largest first."""
    limit = time.time() - days * 86400
    found = [
        Garbage(
            folder, f"fetched seed {', '.join(sorted(path.name for path in folder.iterdir()))}", tree_size(folder), ""
        )
        for folder in store.cache("seeds").glob("*")
        if folder.is_dir() and folder.stat().st_mtime < limit
    ]
    return sorted(found, key=lambda garbage: -garbage.size)


def leftovers(store: Store) -> list[Garbage]:
    """Roots kept of failed builds."""
    return [
        Garbage(
            folder,
            f"failed {folder.parent.name}/{folder.name}",
            tree_size(folder),
            failed_lock(folder.parent.name, folder.name),
        )
        for folder in (store.path / "failed").glob("*/*")
    ]


def collect(store: Store, garbage: list[Garbage]) -> int:
    """Remove garbage; what another run is building is left alone. Returns the bytes that became free."""
    freed = 0
    for item in garbage:
        with store.locked(item.key or item.path.name) as mine:
            if mine:
                (item.path / "meta.json").unlink(missing_ok=True)  # gone at once, even if removal is interrupted
                remove_tree(item.path)
                freed += item.size
    return freed


def _registered(store: Store) -> Iterator[str]:
    for path in (store.path / "projects").glob("*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        if Path(data["project"]).exists():
            yield from data["keys"].values()


def _all(store: Store) -> Iterator[tuple[Yields, Meta]]:
    for yields in Yields:
        for folder in sorted((store.path / yields.folder).iterdir()):
            if (folder / "meta.json").exists():
                yield yields, store.meta(yields, folder.name)
