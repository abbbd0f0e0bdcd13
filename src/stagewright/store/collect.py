"""Collection: finds and removes what no project needs any more."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from stagewright.graph.node import Yields
from stagewright.ids import mark
from stagewright.project.model import folder_digest
from stagewright.store.in_use import collecting, keys_in_use
from stagewright.store.integrity import read_meta, results, with_layers
from stagewright.store.meta import Meta
from stagewright.store.names import failed_lock
from stagewright.store.store import Store, not_removed
from stagewright.trees import remove_tree, tree_size


@dataclass(frozen=True)
class Garbage:
    """Something that can be removed: its path, a description, its size in bytes, and its key or lock if it has one."""

    path: Path
    what: str
    size: int
    key: str

    @property
    def lock(self) -> str:
        """The name of the lock that a process holds which builds it, or works in it."""
        return self.key or self.path.name


def unneeded(store: Store, needed: set[str], report: Callable[[str], None] = lambda _: None) -> list[Garbage]:
    """Return the results that neither ``needed`` nor any project known to the store nor a running process needs.

    The largest come first. Layers below a needed layer are needed, too. Projects whose folder is gone do not count.
    Layers whose files have other ids than builds have now are needed only by a running process. A result without a
    valid description is reported and left out.
    """
    used = with_layers(store, keys_in_use(store))
    keep = with_layers(store, used | needed | set(_registered(store)))
    found = [
        Garbage(store.folder(yields, meta.key), f"{meta.node} ({meta.kind})", meta.size, meta.key)
        for yields, meta in _all(store, report)
        if meta.key not in (keep if store.is_usable(yields, meta.key) or not mark() else used)
    ]
    return sorted(found, key=lambda garbage: -garbage.size)


def unused_caches(store: Store, days: float) -> list[Garbage]:
    """Return everything in the caches that no build used for so many days, by cache."""
    found = [*unused_packages(store, days), *unused_seeds(store, days), *unused_clones(store, days)]
    return [*found, *unused_debian(store, days)]


def unused_clones(store: Store, days: float) -> list[Garbage]:
    """Return the sources of live packages that no build used for so many days, largest first."""
    limit = time.time() - days * 86400
    found = [
        Garbage(folder, f"source of a live package {folder.name[:12]}", tree_size(folder), "")
        for folder in store.cache("live").glob("*/*")
        if folder.is_dir() and folder.stat().st_mtime < limit
    ]
    return sorted(found, key=lambda garbage: -garbage.size)


def unused_packages(store: Store, days: float) -> list[Garbage]:
    """Return the binary packages and repositories that no build was offered for so many days, largest first."""
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
    """Return the tarballs and images of seeds that no build used for so many days, largest first."""
    limit = time.time() - days * 86400
    found = [
        Garbage(
            folder, f"fetched seed {', '.join(sorted(path.name for path in folder.iterdir()))}", tree_size(folder), ""
        )
        for folder in store.cache("seeds").glob("*")
        if folder.is_dir() and folder.stat().st_mtime < limit
    ]
    return sorted(found, key=lambda garbage: -garbage.size)


def unused_debian(store: Store, days: float) -> list[Garbage]:
    """Return Debian packages and indexes that no seed used for so many days, and leftovers, largest first."""
    cache = store.cache("debian")
    kinds = {"packages/*": "Debian package", "indexes/*": "package indexes", ".new.*": "unfinished copy"}
    found = []
    for pattern, what in kinds.items():
        limit = time.time() - (max(days, 1) if pattern == ".new.*" else days) * 86400
        for folder in cache.glob(pattern):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # a seed is at work
                if folder.stat().st_mtime < limit:
                    name = min((path.name for path in folder.iterdir()), default="")
                    found.append(Garbage(folder, f"{what} {name}", tree_size(folder), ""))
    return sorted(found, key=lambda garbage: -garbage.size)


def leftovers(store: Store, project: Path | None = None) -> list[Garbage]:
    """Return the kept roots of failed builds: of the project in a folder, or of all."""
    projects = f"*-{folder_digest(project)}" if project else "*"
    return [
        Garbage(
            folder,
            f"failed {folder.parent.name}/{unquote(folder.name)}",
            tree_size(folder),
            failed_lock(folder.parent.name, folder.name),
        )
        for folder in (store.path / "failed").glob(f"{projects}/*")
    ]


def damaged_results(store: Store) -> list[Garbage]:
    """Return the results that were set aside: damaged ones, and layers with other ids that were built again."""
    return [
        Garbage(folder, f"set aside, key {folder.name[:12]}", tree_size(folder), "")
        for folder in (store.path / "damaged").glob("*")
    ]


def collect(store: Store, garbage: list[Garbage], report: Callable[[str], None] = lambda _: None) -> int:
    """Remove garbage, except results that a running process uses or builds. Return the number of bytes that were freed.

    A folder that cannot be removed is reported with the reason and stays. Results stop to exist before any of them is
    removed, so running processes wait only for a moment.
    """
    with collecting(store) as used:
        needed = with_layers(store, used)
        going = [item for item in garbage if item.path.name.partition(".")[0] not in needed]  # also what was set aside
        for item in going:
            with store.locked(item.lock) as mine:
                if mine:
                    (item.path / "meta.json").unlink(missing_ok=True)
    freed = 0
    for item in going:
        with store.locked(item.lock) as mine:
            if mine and item.path.exists() and not (item.path / "meta.json").exists():  # else it was built again
                try:
                    remove_tree(item.path)
                except OSError as error:
                    report(not_removed(item.path, error))
                else:
                    freed += item.size
    return freed


def _registered(store: Store) -> Iterator[str]:
    """Yield the keys that the projects of the store needed when they were last planned."""
    for path in (store.path / "projects").glob("*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        if Path(data["project"]).exists():
            yield from data["keys"].values()


def _all(store: Store, report: Callable[[str], None]) -> Iterator[tuple[Yields, Meta]]:
    """Yield all results with their meta data."""
    for yields, key in results(store):
        meta = read_meta(store, yields, key)
        if isinstance(meta, Meta):
            yield yields, meta
        else:
            report(f"{yields.folder}/{key}: damaged, and skipped; stagewright verify --store sets it aside")
