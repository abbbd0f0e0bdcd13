"""The store: a folder with layers, artifacts, caches and logs. A result appears completely or not at all.

::

    CACHEDIR.TAG                 the mark of a cache, which backup programs skip
    format                       the version of this layout
    layers/<key>/tree/           what one root adds to the roots below it, plain files that overlayfs can stack
    layers/<key>/ids             whose ids own the files (ids.py); no other ids can use the layer
    layers/<key>/binpkgs/        the binary packages that it contains, hard links to those of the cache
    layers/<key>/packages.gz     records about the packages that it adds (kinds/common/records.py)
    layers/<key>/content.gz      a list of all files, with digests (store/content.py)
    layers/<key>/meta.json       written last: a layer without it does not exist
    artifacts/<key>/tree/        files for users or for other nodes
    artifacts/<key>/packages.gz  records about the packages that it was made of, for some kinds
    artifacts/<key>/content.gz
    artifacts/<key>/meta.json
    damaged/<key>.<id>/          results that are not what their list says (store/integrity.py), and layers with other
                                 ids that were built again; until gc
    work/<key>.<id>/             one attempt at building a node: overlay upper, /var/tmp/portage, job.json
    failed/<project>/<node>/     the work folder of the last failed attempt, for ``stagewright shell``;
                                 <project> is its name with a digest of its folder (Project.records)
    locks/<key>.lock             flock(2): held by the run that builds this node
    locks/failed-<node>.lock     flock(2): held by the shell in the root of a failed attempt
    locks/use-<id>.keys          keys that a running process uses (store/in_use.py); also locks/collection.lock
    cache/distfiles              shared by all nodes, which see them read-only (portage/distfiles.py)
    cache/repos                  downloaded repositories (repos/repository_cache.py)
    cache/binpkgs                shared by all nodes, by what they were built from (portage/binpkgs.py)
    cache/binhosts               packages of other machines, by host and keys (portage/binhosts.py)
    cache/seeds                  tarballs and images of seeds, by digest (fetch/download.py, seeds/oci_image.py)
    cache/*.db, *.json           known digests, tool versions, acceleration
    logs/<project>/<node>/       <time>.log, newest last
    events/<run>.jsonl           the events of each run
    history/<project>/<node>.json  the key of the last build of each node, to explain a rebuild
    history/<project>/<node>.seconds  how long that took, for the order of the next run
    history/<project>/<node>.keys  the digests of its last keys, newest in the last line, for ``diff NAME@previous``
    contents/<digest>            results by the contents of their inputs (store/same_content.py)
    projects/<id>.json           keys that a project needed when it was last planned, for collection

A tree is moved into place with rename(2) after all of it is on disk; then ``meta.json`` is renamed into place. An
interrupted build leaves a folder without ``meta.json``, or a work folder whose lock no process holds; the next run
removes both. Files of artifacts are read-only, because the output folders of projects have hard links to them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from stagewright import ids
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.keys import Key, KeyData
from stagewright.graph.node import Yields
from stagewright.locks import locked
from stagewright.permissions import REFUSALS, user_name
from stagewright.run import run
from stagewright.store.content import ANY_OWNER, NO_NAMESPACE, PARTS, KnownDigest, write_content
from stagewright.store.content import FILE_NAME as CONTENT
from stagewright.store.durable import sync_folder, write_atomically
from stagewright.store.meta import Meta
from stagewright.store.names import failed_lock, file_name
from stagewright.store.place import cannot_open, refused
from stagewright.trees import remove_tree
from stagewright.untrusted import is_utf8

FORMAT = "1"

CLOSED = ("cache", "layers", "failed", "work", "history", "damaged")
"""Folders that only the owner of the store can enter.

Roots have setuid programs, device nodes and secrets. The settings in the history have hashes of passwords. Files of the
cache that a worker made have ids of builds as their owners.
"""

CACHES = ("binhosts", "binpkgs", "distfiles", "pypi", "repos", "seeds")
"""Folders of the cache. They belong to the owner of the store, whose engine and workers write into them."""

KEPT = 10
"""Number of former keys of a node that are remembered."""

_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by Stagewright; see bford.info/cachedir\n"


class Store:
    """A store on disk. Opening it creates missing folders.

    Raises: STORE_FORMAT for an unknown layout, USAGE if the path is not UTF-8.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        if not is_utf8(self.path):
            message = f"the path of the store is not UTF-8 (found {os.fsencode(self.path)!r})"
            raise StagewrightError(Reason.USAGE, message, hint="use --store FOLDER with another name")
        try:
            self._open()
        except OSError as error:
            if problem := cannot_open(error, self.path):
                raise problem from error
            if error.errno not in REFUSALS:
                raise
            raise refused(error, self.path, "write to") from error

    def _open(self) -> None:
        stamp = self.path / "format"
        if not stamp.exists():
            for name in ("layers", "artifacts", "work", "failed", "locks", "logs", "events", "history", "projects"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
            (self.path / "CACHEDIR.TAG").write_text(_TAG, encoding="utf-8")
            write_atomically(stamp, FORMAT + "\n")
        elif (found := stamp.read_text(encoding="utf-8").strip()) != FORMAT:
            raise self.unsupported(found)
        elif not os.access(self.path / "work", os.W_OK, effective_ids=True):
            is_read_only = os.statvfs(self.path).f_flag & os.ST_RDONLY
            raise OSError(errno.EROFS if is_read_only else errno.EACCES, "not writable", str(self.path))
        elif (owner := stamp.stat().st_uid) != (ids.INVOKER if ids.is_private() else os.geteuid()):
            raise StagewrightError(
                Reason.NOT_ROOT,
                f"{self.path}: the store belongs to another user ({user_name(ids.outside(owner))})",
                hint="run as that user, or use --store FOLDER",
            )
        for name in CLOSED:
            with contextlib.suppress(FileNotFoundError):  # in a store that another process makes now
                (self.path / name).mkdir(mode=0o700, exist_ok=True)  # stores of former versions lack some
                if stat.S_IMODE((self.path / name).stat().st_mode) != 0o700:
                    (self.path / name).chmod(0o700)
        for name in CACHES:
            with contextlib.suppress(FileNotFoundError):
                self.cache(name).mkdir(exist_ok=True)
                ids.hand_over(self.cache(name))  # a worker of a former version can have made it

    def unsupported(self, found: str) -> StagewrightError:
        """Return the error for a store with another layout."""
        message = f"{self.path}: unsupported store format {found} (this version reads {FORMAT})"
        return StagewrightError(Reason.STORE_FORMAT, message, hint="use --store FOLDER, or remove this folder")

    # results

    def folder(self, yields: Yields, key: str) -> Path:
        """Return the folder of the result with this key, which may not exist yet."""
        return self.path / yields.folder / key

    def tree(self, yields: Yields, key: str) -> Path:
        """Return the folder with the files of a result."""
        return self.folder(yields, key) / "tree"

    def has(self, yields: Yields, key: str) -> bool:
        """Return True if the result with this key is complete, and its files have the ids that builds have now."""
        return self.is_complete(yields, key) and self.is_usable(yields, key)

    def is_complete(self, yields: Yields, key: str) -> bool:
        """Return True if the store has the result with this key, with whatever ids."""
        return (self.folder(yields, key) / "meta.json").exists()

    def is_usable(self, yields: Yields, key: str) -> bool:
        """Return True if the files of a result have the ids that builds have now."""
        return yields is Yields.ARTIFACT or ids_of(self.folder(yields, key)) == ids.mark()

    def meta(self, yields: Yields, key: str) -> Meta:
        """Return the description of a result. Raises: NOT_BUILT if it is not in the store, DAMAGED if it is invalid."""
        file = self.folder(yields, key) / "meta.json"
        try:
            return Meta(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            hint = "stagewright verify --store sets it aside; the next build makes it again"
            raise StagewrightError(Reason.DAMAGED, f"{file}: damaged ({error})", hint=hint) from error
        except FileNotFoundError as error:
            raise StagewrightError(
                Reason.NOT_BUILT, f"key {key[:12]}: not found in the store", hint="stagewright build"
            ) from error

    def find(self, prefix: str) -> list[tuple[Yields, str]]:
        """Return the results whose key begins with a prefix."""
        return [
            (yields, folder.name)
            for yields in Yields
            for folder in (self.path / yields.folder).glob(f"{prefix}*")
            if self.has(yields, folder.name)
        ]

    def stack(self, key: str) -> list[Path]:
        """Return the trees of a root, topmost layer first. Raises: NOT_BUILT if a layer has the ids of other builds."""
        layers = self.meta(Yields.LAYER, key).stack
        for layer in layers:
            if not self.is_usable(Yields.LAYER, layer):
                found = ids_of(self.folder(Yields.LAYER, layer))
                what = f"key {layer[:12]}: its files have the ids of other builds (found {found}, need {ids.mark()})"
                raise StagewrightError(Reason.NOT_BUILT, what, hint="stagewright build")
        return [self.tree(Yields.LAYER, layer) for layer in layers]

    def cache(self, name: str) -> Path:
        """Return a file or folder that all nodes share."""
        return self.path / "cache" / name

    def memory(self, name: str) -> Path | None:
        """Return the file of remembered facts, or None if nothing is to be remembered."""
        return self.cache(name)

    # locks

    @contextlib.contextmanager
    def locked(self, key: str) -> Iterator[bool]:
        """Try to lock a key for the block, without waiting. Yield True if this process has the lock."""
        with locked(self.path / "locks" / f"{key}.lock") as mine:
            yield mine

    # work folders

    def new_work(self, key: str) -> Path:
        """Make a folder for one attempt to build this key. The caller holds the lock of the key."""
        folder = self.path / "work" / f"{key}.{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700)
        return folder

    @contextlib.contextmanager
    def scratch(self, purpose: str) -> Iterator[Path]:
        """Yield a locked work folder for anything but a build, and remove it at the end."""
        name = f"{purpose}-{secrets.token_hex(4)}"
        with self.locked(name):
            folder = self.new_work(name)
            try:
                yield folder
            finally:
                remove_tree(folder)
                (self.path / "locks" / f"{name}.lock").unlink(missing_ok=True)

    def binpkgs(self, key: str) -> list[Path]:
        """Return the binary packages of a root, those of its topmost layer first."""
        folders = (self.folder(Yields.LAYER, layer) / "binpkgs" for layer in self.meta(Yields.LAYER, key).stack)
        return [path for folder in folders for path in sorted(folder.glob("*/*/*.gpkg.tar"))]

    def records(self, yields: Yields, key: str) -> Path:
        """Return the path of a result's records about packages. Not every result has this file."""
        return self.folder(yields, key) / "packages.gz"

    def commit(
        self,
        tree: Path,
        yields: Yields,
        meta: Meta,
        binpkgs: Path | None = None,
        records: Path | None = None,
        *,
        digested: Iterable[KnownDigest] = (),
        again: bool = False,
    ) -> None:
        """Move a finished tree into the store, meta data last. If the key is in the store, remove the tree.

        A layer with other ids is set aside until gc, and with ``again`` any other result of the key; processes that
        have mounted it are not disturbed. The list of the content is made first; ``digested`` are files that need not
        be read for it. Times of an artifact are not in it: it has links in output folders.
        """
        target = self.folder(yields, meta.key)
        if self.has(yields, meta.key) and not again:
            remove_tree(tree)
            return
        if self.is_complete(yields, meta.key):  # another process may use it
            target.rename(self.path / "damaged" / f"{meta.key}.{secrets.token_hex(4)}")
        remove_tree(target)
        target.mkdir()
        tree.rename(target / "tree")
        if binpkgs:
            binpkgs.rename(target / "binpkgs")
        if records:
            records.rename(target / "packages.gz")
        parts = [target / name for name in PARTS if (target / name).exists()]
        layer = yields is Yields.LAYER
        owners = NO_NAMESPACE if layer else ANY_OWNER
        content = write_content(parts, target / CONTENT, times=layer, ids=owners, digested=digested)
        if layer:
            (target / "ids").write_text(ids.mark() + "\n", encoding="ascii")
        run(["sync", "-f", target])
        ids.hand_over(target)
        info = (target / "tree").lstat()
        top = [stat.S_IMODE(info.st_mode), info.st_mtime_ns] if yields is Yields.LAYER else []
        sealed = replace(meta, content=content, top=top).sealed()
        write_atomically(target / "meta.json", sealed.text(indent=1), mode=0o600)
        sync_folder(target.parent)

    def receive(self, folder: Path, yields: Yields, meta: Meta) -> None:
        """Move a result of another store into this one: a work folder with everything except its description.

        ``meta`` is the description that the other store had. The caller has compared the files with their list, and
        holds the lock of the key.
        """
        target = self.folder(yields, meta.key)
        if yields is Yields.LAYER:
            (folder / "ids").write_text(ids.mark() + "\n", encoding="ascii")
        run(["sync", "-f", folder])
        write_atomically(folder / "meta.json", meta.text(indent=1), mode=0o600)
        folder.chmod(0o755)
        if self.is_complete(yields, meta.key):  # with other ids; another process may use it
            target.rename(self.path / "damaged" / f"{meta.key}.{secrets.token_hex(4)}")
        remove_tree(target)
        folder.rename(target)
        sync_folder(target.parent)

    def failed(self, project: str, node: str) -> Path:
        """Return the folder that keeps the root of a node's last failed build."""
        return self.path / "failed" / project / file_name(node)

    def lock_failed(self, project: str, node: str) -> contextlib.AbstractContextManager[bool]:
        """Try to lock the kept root of a node, as :meth:`locked` does. A shell in the root holds the lock."""
        return self.locked(failed_lock(project, file_name(node)))

    def keep_failed(self, work: Path, project: str, node: str) -> bool:
        """Keep a work folder for ``stagewright shell`` instead of an older one of the same node.

        Returns False if a shell is open in the older one: then that stays, and the new one is removed.
        """
        target = self.failed(project, node)
        with self.lock_failed(project, node) as free:
            remove_tree(target if free else work)
            if free:
                target.parent.mkdir(parents=True, exist_ok=True)
                work.rename(target)
        return free

    def discard_failed(self, project: str, node: str) -> bool:
        """Remove the kept root of a node, if there is one. Returns False if a shell is open in it: then it stays."""
        if not self.failed(project, node).exists():
            return True
        with self.lock_failed(project, node) as free:
            if free:
                remove_tree(self.failed(project, node))
        return free

    def sweep(self, report: Callable[[str], None] = lambda _: None) -> list[Path]:
        """Remove work folders and incomplete results whose lock no process holds. Return them.

        A folder that cannot be removed is reported with the reason and stays.
        """
        halves = [
            folder
            for yields in Yields
            for folder in (self.path / yields.folder).iterdir()
            if not (folder / "meta.json").exists()
        ]
        removed = []
        for folder in [*(self.path / "work").iterdir(), *halves]:
            key = folder.name.partition(".")[0]
            with self.locked(key) as mine:
                if mine and (folder.parent.name == "work" or not (folder / "meta.json").exists()):
                    try:
                        remove_tree(folder)
                    except OSError as error:
                        report(not_removed(folder, error))
                        continue
                    removed.append(folder)
        return removed

    @property
    def closed_by(self) -> str:
        """The one user that can read the roots and the history of the store; "" if this user can."""
        return ""

    def hint_if_missing(self, yields: Yields, hint: str) -> str:
        """Return the hint for a result that is missing in the store, as far as this user sees."""
        return hint

    # records of former runs

    def remember(self, project: str, node: str, data: KeyData, seconds: float | None = None) -> None:
        """Record the key with which a node was last built, and how long that took."""
        path = self.path / "history" / project / f"{file_name(node)}.json"
        path.parent.mkdir(exist_ok=True)  # without parents: a store that was moved must not come back
        write_atomically(path, json.dumps(data, indent=1, sort_keys=True), mode=0o600)
        newest = Key.of(data).digest
        keys = [*(key for key in self.former(project, node) if key != newest), newest]
        write_atomically(path.with_name(f"{file_name(node)}.keys"), "\n".join(keys[-KEPT:]) + "\n")
        if seconds is not None:
            path.with_name(f"{file_name(node)}.seconds").write_text(f"{seconds:.1f}\n", encoding="ascii")

    def seconds_of(self, project: str, nodes: Iterable[str]) -> dict[str, float]:
        """Return how long the last builds of some nodes took, in seconds; those that were never built are missing."""
        folder, found = self.path / "history" / project, {}
        for node in nodes:
            with contextlib.suppress(OSError, ValueError):
                found[node] = float((folder / f"{file_name(node)}.seconds").read_text(encoding="ascii"))
        return found

    def former(self, project: str, node: str) -> list[str]:
        """Return the digests of the last different keys of a node, newest last."""
        try:
            return (self.path / "history" / project / f"{file_name(node)}.keys").read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return []

    def last_key_data(self, project: str, node: str) -> KeyData | None:
        """Return the key data of the last build of a node; None if it was never built."""
        try:
            data: KeyData = json.loads(
                (self.path / "history" / project / f"{file_name(node)}.json").read_text(encoding="utf-8")
            )
        except (FileNotFoundError, ValueError):
            return None
        return data

    def last_built(self, project: str, node: str) -> float:
        """Return when a node was last built, in seconds since the epoch; 0 if it never was, or if it cannot be seen."""
        try:
            return (self.path / "history" / project / f"{file_name(node)}.json").stat().st_mtime
        except OSError:  # the folder of another user's store is closed
            return 0.0

    def log_folder(self, project: str, node: str) -> Path:
        """Return the folder with the logs of a node."""
        return self.path / "logs" / project / file_name(node)

    def register(self, project: Path, keys: Mapping[str, str]) -> None:
        """Record the keys that a project needs, so that collection for another project keeps them."""
        data = {"project": str(project), "keys": dict(keys)}
        write_atomically(self.path / "projects" / f"{file_name(str(project))}.json", json.dumps(data, indent=1))


def ids_of(folder: Path) -> str:
    """Return the mark of the ids that own the files of a layer. Layers of former versions have those of the host."""
    try:
        return (folder / "ids").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return "host"


def not_removed(path: Path, error: OSError) -> str:
    """Return the notice for a tree that stays."""
    return f"{path}: cannot be removed, and is skipped ({error.strerror or error})"
