"""Integrity of results: looks for differences between a result and its list, and sets damaged results aside.

A result that was made from a damaged one may contain the damage, so it is set aside, too::

    damaged/<key>.<id>/         the folder of the result, as it was found
    damaged/<key>.<id>/why.json the differences

The next build makes these results again. ``stagewright gc`` removes the folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import StagewrightError
from stagewright.graph.file_digest import FileDigest
from stagewright.graph.node import Yields
from stagewright.store.content import FILE_NAME as CONTENT
from stagewright.store.content import NO_NAMESPACE, Damage, Entry, Ids, ListDamagedError, Reader, compare, read_content
from stagewright.store.in_use import collecting
from stagewright.store.meta import Meta
from stagewright.store.store import PARTS, Store, sync_folder, write_atomically

MOST = 1000
"""Largest number of differences that are kept for one result."""

FOLDER = "damaged"


class State(enum.StrEnum):
    """The state of a result after a check."""

    WHOLE = "whole"
    DAMAGED = "damaged"
    SUSPECT = "suspect"  # made from a damaged result
    UNKNOWN = "unknown"  # without a list: a former version of Stagewright made it


@dataclass(frozen=True)
class Finding:
    """The outcome of a check of one result. ``size`` is the number of bytes that were read."""

    yields: Yields
    key: str
    node: str
    state: State
    damages: tuple[Damage, ...] = ()
    size: int = 0

    @property
    def place(self) -> str:
        """The folder of the result, relative to the store."""
        return f"{self.yields.folder}/{self.key}"


def results(store: Store, keys: Iterable[str] | None = None) -> list[tuple[Yields, str]]:
    """Return the results in the store, sorted; only those with one of some keys, if these are given."""
    names = {yields: set(keys) if keys is not None else _names(store, yields) for yields in Yields}
    return [(yields, key) for yields in Yields for key in sorted(names[yields]) if store.has(yields, key)]


def _names(store: Store, yields: Yields) -> set[str]:
    return {folder.name for folder in (store.path / yields.folder).iterdir()}


def examine(store: Store, yields: Yields, key: str, ids: Ids = NO_NAMESPACE) -> Finding:
    """Read a whole result and compare it with its list. ``ids`` are those that builds have on disk."""
    folder = store.folder(yields, key)
    meta = _meta(store, yields, key)
    if isinstance(meta, Damage):
        return Finding(yields, key, key[:12], State.DAMAGED, (meta,))
    if not meta.content:
        return Finding(yields, key, meta.node, State.UNKNOWN)
    reader = Reader(ids, lambda error: f"unreadable ({error.strerror})", times=yields is Yields.LAYER)
    damages: list[Damage] = []
    try:
        for damage in compare(read_content(folder / CONTENT, meta.content), _entries(reader, folder)):
            if len(damages) < MOST:
                damages.append(damage)
    except ListDamagedError as error:
        damages.append(Damage(CONTENT, "content", "the list of the build", str(error)))
    except OSError as error:
        path = os.path.relpath(str(error.filename or folder), folder)
        damages.append(Damage(path, "content", "a readable file or folder", error.strerror or str(error)))
    return Finding(yields, key, meta.node, State.DAMAGED if damages else State.WHOLE, tuple(damages), reader.size)


def _entries(reader: Reader, folder: Path) -> Iterator[Entry]:
    for name in PARTS:
        if os.path.lexists(folder / name):
            yield from reader.entries(folder / name)


def _meta(store: Store, yields: Yields, key: str) -> Meta | Damage:
    """Return the description of a result, or how it differs from what was written."""
    try:
        meta = store.meta(yields, key)
    except (StagewrightError, OSError) as error:
        return Damage("meta.json", "content", "the description of the build", str(error).splitlines()[0])
    if meta.seal and meta.sealed() != meta:
        return Damage("meta.json", "content", meta.seal, meta.sealed().seal)
    if key != meta.key:
        return Damage("meta.json", "key", key, meta.key)
    return meta


def glance(store: Store, yields: Yields, key: str, digest: FileDigest) -> Finding | None:
    """Return what is wrong with a result, as far as that costs little; None if nothing is.

    Of an artifact, the content of each file is compared; ``digest`` remembers files by their times. Of a layer, only
    its folder "/" is looked at: a change below it, or in a file, is not found.
    """
    meta = _meta(store, yields, key)
    if isinstance(meta, Damage):
        return Finding(yields, key, key[:12], State.DAMAGED, (meta,))
    if not meta.content:
        return None
    folder = store.folder(yields, key)
    try:
        damages = tuple(_artifact(folder, meta, digest) if yields is Yields.ARTIFACT else _top(folder, meta))
    except ListDamagedError as error:
        damages = (Damage(CONTENT, "content", "the list of the build", str(error)),)
    except OSError as error:
        damages = (Damage(str(error.filename), "content", "a readable file", error.strerror or str(error)),)
    return Finding(yields, key, meta.node, State.DAMAGED, damages) if damages else None


def _artifact(folder: Path, meta: Meta, digest: FileDigest) -> Iterator[Damage]:
    """Compare the files of an artifact with its list, by content. Attributes and modes are not compared."""
    above: list[Path] = []
    for entry in read_content(folder / CONTENT, meta.content):
        del above[entry.depth :]
        path = (above[-1] if above else folder) / entry.name
        above.append(path)
        if not os.path.lexists(path):
            yield Damage(str(path.relative_to(folder)), "missing", f"a {entry.type}", "nothing")
        elif entry.type == "file" and not entry.is_again:
            info = path.lstat()
            found = digest(path, info) if stat.S_ISREG(info.st_mode) else "another type"
            if found != entry.content:
                yield Damage(str(path.relative_to(folder)), "content", entry.content, found)


def _top(folder: Path, meta: Meta) -> Iterator[Damage]:
    try:
        info = (folder / "tree").lstat()
    except FileNotFoundError:
        yield Damage("tree", "missing", "a folder", "nothing")
        return
    if meta.top and meta.top != [stat.S_IMODE(info.st_mode), info.st_mtime_ns]:
        yield Damage("tree", "mode or time", str(meta.top), str([stat.S_IMODE(info.st_mode), info.st_mtime_ns]))


def with_suspects(store: Store, damaged: Iterable[Finding]) -> list[Finding]:
    """Return damaged results, and all results that were made from them, directly or not."""
    found = {finding.key: finding for finding in damaged}
    metas = [(yields, meta) for yields, key in results(store) if isinstance(meta := _meta(store, yields, key), Meta)]
    more = True
    while more:
        more = False
        for yields, meta in metas:
            origins = {*meta.stack, *dict(meta.data.get("inputs", {})).values()} & found.keys() - {meta.key}
            if origins and meta.key not in found:
                names = tuple(
                    Damage("", "made from", "a whole result", f"a damaged one ({found[origin].node})")
                    for origin in sorted(origins)
                )
                found[meta.key] = Finding(yields, meta.key, meta.node, State.SUSPECT, names)
                more = True
    return list(found.values())


def set_aside(store: Store, findings: Iterable[Finding], report: Callable[[str], None]) -> int:
    """Move results out of the way, and return how many. One that a running process uses is reported and stays."""
    moved = 0
    with collecting(store) as noted:
        used = with_layers(store, noted)
        for finding in findings:
            name = f"{finding.node} ({finding.key[:12]})"
            with store.locked(finding.key) as mine:
                if not mine or finding.key in used:
                    report(f"{name} is {finding.state}, but in use by another process: it stays")
                    continue
                place = _move(store, finding)
            moved += 1
            report(f"{name} is {finding.state}; it was moved to {place}, and the next build makes it again")
    return moved


def with_layers(store: Store, keys: set[str]) -> set[str]:
    """Return keys and those of the layers below, as far as they can be read."""
    metas = [_meta(store, Yields.LAYER, key) for key in keys if store.has(Yields.LAYER, key)]
    return keys.union(*(meta.stack for meta in metas if isinstance(meta, Meta)))


def _move(store: Store, finding: Finding) -> Path:
    _forget_packages(store, finding)
    target = store.path / FOLDER / f"{finding.key}.{secrets.token_hex(4)}"
    target.parent.mkdir(mode=0o700, exist_ok=True)
    store.folder(finding.yields, finding.key).rename(target)
    why = {
        "node": finding.node,
        "state": finding.state,
        "damages": [dataclasses.asdict(one) for one in finding.damages],
    }
    write_atomically(target / "why.json", json.dumps(why, indent=1), mode=0o600)
    sync_folder(target.parent)
    return target


def _forget_packages(store: Store, finding: Finding) -> None:
    """Remove damaged binary packages from the cache, which has links to the same files."""
    folder = store.folder(finding.yields, finding.key)
    for path in {damage.path for damage in finding.damages if damage.path.startswith("binpkgs/")}:
        with contextlib.suppress(OSError):
            info = (folder / path).lstat()
            category, name, file = Path(path).parts[1:]
            for cached in store.cache("binpkgs").glob(f"{category}/{name}/*/*/{file}"):
                if os.path.samestat(cached.lstat(), info):
                    cached.unlink()
