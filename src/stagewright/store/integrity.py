"""Integrity of results: looks for differences between a result and its list, and sets damaged results aside.

A result that was made from a damaged one may contain the damage, so it is set aside, too::

    damaged/<key>.<id>/         the folder of the result, as it was found
    damaged/<key>.<id>/why.json the differences

The next build makes these results again. ``stagewright gc`` removes the folder.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from stagewright import ids as build_ids
from stagewright.errors import StagewrightError
from stagewright.graph.file_digest import FileDigest
from stagewright.graph.node import Yields
from stagewright.id_ranges import SIZE
from stagewright.store.content import (
    ANY_OWNER,
    NO_NAMESPACE,
    PACKAGES,
    PARTS,
    Damage,
    Entry,
    Ids,
    ListDamagedError,
    Reader,
    compare,
    read_content,
)
from stagewright.store.content import FILE_NAME as CONTENT
from stagewright.store.durable import sync_folder, write_atomically
from stagewright.store.in_use import collecting
from stagewright.store.meta import Meta
from stagewright.store.store import Store, ids_of

MOST = 1000
"""Largest number of differences that are kept for one result."""

FOLDER = "damaged"

_SECOND = 1_000_000_000


class State(enum.StrEnum):
    """The state of a result after a check."""

    WHOLE = "whole"
    DAMAGED = "damaged"
    SUSPECT = "suspect"  # made from a damaged result
    UNKNOWN = "unknown"  # without a list: a former version of Stagewright made it
    UNREADABLE = "unreadable"  # a layer with ids that this user cannot take


@dataclass(frozen=True)
class Finding:
    """The outcome of a check of one result.

    ``size`` is the number of bytes that were read. ``seal`` is the seal of the description, empty if that is damaged.
    ``origins`` are the keys of damaged and suspect results from which this one was made.
    """

    yields: Yields
    key: str
    node: str
    state: State
    damages: tuple[Damage, ...] = ()
    size: int = 0
    seal: str = ""
    origins: frozenset[str] = frozenset()

    @property
    def place(self) -> str:
        """The folder of the result, relative to the store."""
        return f"{self.yields.folder}/{self.key}"


@dataclass(frozen=True)
class Moved:
    """The findings whose results were set aside, and those whose results stay because they are in use."""

    moved: tuple[Finding, ...] = ()
    staying: tuple[Finding, ...] = ()


def results(store: Store, keys: Iterable[str] | None = None) -> list[tuple[Yields, str]]:
    """Return the results in the store, sorted; only those with one of some keys, if these are given.

    Layers whose files have other ids than builds have now are among them.
    """
    names = {yields: set(keys) if keys is not None else _names(store, yields) for yields in Yields}
    return [(yields, key) for yields in Yields for key in sorted(names[yields]) if store.is_complete(yields, key)]


def _names(store: Store, yields: Yields) -> set[str]:
    return {folder.name for folder in (store.path / yields.folder).iterdir()}


def examine(store: Store, yields: Yields, key: str, ids: Ids | None = None) -> Finding:
    """Read a whole result and compare it with its list.

    ``ids`` are those of the build that made it; the default is those that the result names.
    """
    return _examined(store, yields, key, ids, None)


def _examined(store: Store, yields: Yields, key: str, ids: Ids | None, digest: FileDigest | None) -> Finding:
    folder = store.folder(yields, key)
    if ids is None:
        ids = _ids_on_disk(folder) if yields is Yields.LAYER else ANY_OWNER
    meta = read_meta(store, yields, key)
    if isinstance(meta, Damage):
        return Finding(yields, key, key[:12], State.DAMAGED, (meta,))
    if not meta.content:
        return Finding(yields, key, meta.node, State.UNKNOWN)
    if yields is Yields.LAYER and os.geteuid() != 0:
        return Finding(yields, key, meta.node, State.UNREADABLE, seal=meta.seal)
    reader = Reader(ids, lambda error: f"unreadable ({error.strerror})", times=yields is Yields.LAYER, digest=digest)
    damages: list[Damage] = []
    with _failures(folder, damages):
        for damage in compare(read_content(folder / CONTENT, meta.content), _entries(reader, folder)):
            if len(damages) < MOST:
                damages.append(damage)
    state = State.DAMAGED if damages else State.WHOLE
    return Finding(yields, key, meta.node, state, tuple(damages), reader.size, meta.seal)


@contextlib.contextmanager
def _failures(folder: Path, damages: list[Damage]) -> Iterator[None]:
    """Add errors of a damaged list and of a broken disk to the damages of a result."""
    try:
        yield
    except ListDamagedError as error:
        damages.append(Damage(CONTENT, "content", "the list of the build", str(error)))
    except OSError as error:
        path = os.path.relpath(str(error.filename or folder), folder)
        damages.append(Damage(path, "content", "a readable file or folder", error.strerror or str(error)))


def _ids_on_disk(folder: Path) -> Ids:
    """Return the ids that own the files of a layer. A copy of a layer may belong to the host's ids."""
    found = build_ids.range_of(ids_of(folder))
    if found is None or not os.path.lexists(folder / "tree"):
        return NO_NAMESPACE
    ids = Ids(found.uid, SIZE, found.gid)
    return ids if 0 <= (folder / "tree").lstat().st_uid - ids.first < ids.count else NO_NAMESPACE


def _entries(reader: Reader, folder: Path) -> Iterator[Entry]:
    for name in PARTS:
        if os.path.lexists(folder / name):
            yield from reader.entries(folder / name)


def read_meta(store: Store, yields: Yields, key: str) -> Meta | Damage:
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

    An artifact is compared with its list. ``digest`` remembers files by their times, so only changed ones are read. Of
    a layer, its folder "/" and its binary packages are looked at: a change below that folder, or in a file, is not
    found.
    """
    if yields is Yields.ARTIFACT:
        finding = _examined(store, yields, key, None, digest)
        return finding if finding.state is State.DAMAGED else None
    meta = read_meta(store, yields, key)
    if isinstance(meta, Damage):
        return Finding(yields, key, key[:12], State.DAMAGED, (meta,))
    if not meta.content:
        return None
    folder = store.folder(yields, key)
    damages: list[Damage] = []
    with _failures(folder, damages):
        damages += _top(folder, meta)
        if (folder / PACKAGES).is_dir():
            damages += _packages(folder, digest)
    return Finding(yields, key, meta.node, State.DAMAGED, tuple(damages), seal=meta.seal) if damages else None


def _top(folder: Path, meta: Meta) -> Iterator[Damage]:
    """Compare "/" of a layer. A copy of a store may lack fractions of a second."""
    try:
        info = (folder / "tree").lstat()
    except FileNotFoundError:
        yield Damage("tree", "missing", "a folder", "nothing")
        return
    found = [stat.S_IMODE(info.st_mode), info.st_mtime_ns]
    if meta.top and (meta.top[0], meta.top[1] // _SECOND) != (found[0], found[1] // _SECOND):
        yield Damage("tree", "mode or time", str(meta.top), str(found))


def _packages(folder: Path, digest: FileDigest) -> Iterator[Damage]:
    """Compare the content of a layer's binary packages: they are files of the cache and of artifacts, too."""
    reader = Reader(NO_NAMESPACE, lambda error: f"unreadable ({error.strerror})", times=False, digest=digest)
    for damage in compare(_listed(folder, PACKAGES), reader.entries(folder / PACKAGES)):
        if damage.what in ("content", "missing", "added", "type"):
            yield damage


def _listed(folder: Path, part: str) -> Iterator[Entry]:
    """Yield the entries of a part that is the first one in a list. The digest of the list is not compared."""
    for entry in read_content(folder / CONTENT):
        if entry.depth == 0 and entry.name != part:
            return
        yield entry


def with_suspects(store: Store, damaged: Iterable[Finding]) -> list[Finding]:
    """Return damaged results, and all results that were made from them, directly or not."""
    found = {finding.key: finding for finding in damaged}
    metas = [(yields, one) for yields, key in results(store) if isinstance(one := read_meta(store, yields, key), Meta)]
    more = True
    while more:
        more = False
        for yields, meta in metas:
            origins = frozenset((set(meta.stack) | set(_inputs(meta))) & found.keys() - {meta.key})
            known = found.get(meta.key)
            if known is None and origins:
                names = tuple(
                    Damage("", "made from", "a whole result", f"a damaged one ({found[origin].node})")
                    for origin in sorted(origins)
                )
                found[meta.key] = Finding(
                    yields, meta.key, meta.node, State.SUSPECT, names, seal=meta.seal, origins=origins
                )
                more = True
            elif known and origins != known.origins:
                found[meta.key] = replace(known, origins=origins)
    return list(found.values())


def _inputs(meta: Meta) -> Iterable[str]:
    return dict(meta.data.get("inputs", {})).values()


def set_aside(store: Store, findings: Iterable[Finding], report: Callable[[str], None]) -> Moved:
    """Move results out of the way. Those that are no longer as they were found are left out.

    A result that a running process uses is reported and stays. So do all that it was made from, and all that were made
    from those: a suspect result that stays alone, or is built from a damaged one, would count as whole afterwards.
    """
    with contextlib.ExitStack() as held, collecting(store) as noted:
        present = {one.key: one for one in findings if _is_as_found(store, one)}
        used = with_layers(store, noted)
        staying = {key for key in present if key in used or not held.enter_context(store.locked(key))}
        _spread(staying, present)
        moved = []
        for finding in present.values():
            name = f"{finding.node} ({finding.key[:12]})"
            if finding.key in staying:
                report(f"{name} is {finding.state}, but in use by another process: it stays")
                continue
            place = _move(store, finding)
            moved.append(finding)
            report(f"{name} is {finding.state}; it was moved to {place}, and the next build makes it again")
    return Moved(tuple(moved), tuple(present[key] for key in present if key in staying))


def _is_as_found(store: Store, finding: Finding) -> bool:
    """Return False for a result that was removed, or built again, since it was examined."""
    if not store.is_complete(finding.yields, finding.key):
        return False
    meta = read_meta(store, finding.yields, finding.key)
    return (meta.seal if isinstance(meta, Meta) else "") == finding.seal


def _spread(staying: set[str], findings: Mapping[str, Finding]) -> None:
    """Add all findings that are connected with one that stays."""
    before = -1
    while before < len(staying):
        before = len(staying)
        for key, finding in findings.items():
            connected = {key, *finding.origins} & findings.keys()
            if connected & staying:
                staying |= connected


def with_layers(store: Store, keys: set[str]) -> set[str]:
    """Return keys and those of the layers below, as far as they can be read."""
    metas = [read_meta(store, Yields.LAYER, key) for key in keys if store.is_complete(Yields.LAYER, key)]
    return keys.union(*(meta.stack for meta in metas if isinstance(meta, Meta)))


def _move(store: Store, finding: Finding) -> Path:
    _forget_packages(store, finding)
    target = store.path / FOLDER / f"{finding.key}.{secrets.token_hex(4)}"
    target.parent.mkdir(mode=0o700, exist_ok=True)
    store.folder(finding.yields, finding.key).rename(target)
    why = {
        "node": finding.node,
        "state": finding.state,
        "damages": [asdict(one) for one in finding.damages],
    }
    write_atomically(target / "why.json", json.dumps(why, indent=1), mode=0o600)
    sync_folder(target.parent)
    return target


def _forget_packages(store: Store, finding: Finding) -> None:
    """Remove binary packages from the cache that are the same files as damaged packages of a layer.

    Packages of a suspect layer may have been compiled in a damaged root, so all of them are removed.
    """
    folder = store.folder(finding.yields, finding.key)
    if finding.origins or len(finding.damages) == MOST:
        paths = {str(path.relative_to(folder)) for path in folder.glob(f"{PACKAGES}/*/*/*")}
    else:
        paths = {damage.path for damage in finding.damages if damage.path.startswith(f"{PACKAGES}/")}
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            info = (folder / path).lstat()
            category, name, file = Path(path).parts[1:]
            for cached in store.cache("binpkgs").glob(f"{category}/{name}/*/*/{file}"):
                if os.path.samestat(cached.lstat(), info):
                    cached.unlink()
