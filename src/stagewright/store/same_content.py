"""Early cut-off: results that are found by the contents of their inputs.

A key names the keys of the inputs. If an input was built again with another key, but has the same content as before,
what was made of it would come out the same. So the store also knows each result by a second key, in which the contents
of the inputs stand in place of their keys::

    contents/<digest>    form and key of the result that was made of inputs with these contents

A result that is found in this way gets the planned key: its files are hard links to those of the other result
(docs/decisions/056-early-cut-off.md).
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stagewright import ids
from stagewright.errors import StagewrightError
from stagewright.graph.keys import Key, KeyData
from stagewright.graph.node import Yields
from stagewright.run import run
from stagewright.store.content import FILE_NAME as CONTENT
from stagewright.store.content import PACKAGES, PARTS
from stagewright.store.durable import write_atomically
from stagewright.store.in_use import in_use
from stagewright.store.meta import Meta
from stagewright.store.store import Store
from stagewright.trees import remove_tree

FOLDER = "contents"

Inputs = Mapping[str, tuple[Yields, str]]
"""The inputs of a node by role: their form, and their key in the store."""


def content_of(store: Store, yields: Yields, key: str) -> str:
    """Return the digest of the content of a result with the layers below it, and of the facts about them.

    It is empty for a result without a list. Raises: NOT_BUILT if a part is not in the store.
    """
    parts = []
    for one in store.meta(yields, key).stack if yields is Yields.LAYER else [key]:
        meta = store.meta(yields, one)
        if not meta.content:
            return ""
        parts.append([meta.kind, _listed(store.folder(yields, one) / CONTENT, meta.content), meta.facts])
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@functools.lru_cache(maxsize=4096)
def _listed(path: Path, content: str) -> str:
    """Return the digest of a list without the times of binary packages, which are those of the cache."""
    total = hashlib.sha256()
    with gzip.open(path) as stream:
        packages = False
        for line in stream:
            if line.startswith(b'[0,"'):
                packages = line.startswith(b'[0,"%s"' % PACKAGES.encode())
                if not packages:
                    total.update(line)
                    break
            if packages:
                entry = json.loads(line)
                total.update(json.dumps([*entry[:7], 0, *entry[8:]]).encode())
        while data := stream.read(1 << 20):
            total.update(data)
    return total.hexdigest()


def key_by_contents(data: KeyData, contents: Mapping[str, str]) -> str:
    """Return the second key of a node: its key data with the contents of its inputs, by role. "" if one is unknown."""
    if not contents or not all(contents.values()):
        return ""
    return Key.of({**data, "inputs": {role: f"content:{content}" for role, content in contents.items()}}).digest


def remember_contents(store: Store, yields: Yields, key: Key, inputs: Inputs) -> None:
    """Note which inputs a result was made of."""
    second = _second(store, key, inputs)
    if second:
        (store.path / FOLDER).mkdir(mode=0o700, exist_ok=True)
        write_atomically(store.path / FOLDER / second, json.dumps([yields.value, key.digest]), mode=0o600)


def find_same(store: Store, yields: Yields, key: Key, inputs: Inputs) -> str:
    """Return the key of the result in the store that was made of inputs with the same contents; "" if there is none."""
    second = _second(store, key, inputs)
    return find_by_contents(store, yields, second) if second else ""


def find_by_contents(store: Store, yields: Yields, second: str) -> str:
    """Return the key of the result with a second key; "" if the store does not have it."""
    with contextlib.suppress(OSError, ValueError):
        form, found = json.loads((store.path / FOLDER / second).read_text(encoding="utf-8"))
        if form == yields.value and store.has(yields, found):
            return str(found)
    return ""


def _second(store: Store, key: Key, inputs: Inputs) -> str:
    try:
        contents = {role: content_of(store, yields, source) for role, (yields, source) in inputs.items()}
    except (StagewrightError, OSError, EOFError, ValueError, zlib.error):  # an input is missing or damaged
        return ""
    return key_by_contents(key.data, contents)


def adopt(store: Store, yields: Yields, key: Key, inputs: Inputs, node: str) -> str:
    """Give a result with the same contents of its inputs the planned key. Return its own key; "" if there is none.

    The caller holds the lock of the planned key.
    """
    found = find_same(store, yields, key, inputs)
    if not found or found == key.digest:
        return ""
    with in_use(store, [found]):
        if not store.has(yields, found):
            return ""
        meta = store.meta(yields, found)
        stack = _stack(store, yields, key, inputs, meta)
        if stack is None:
            return ""
        work = store.new_work(key.digest)
        try:
            _link(store.folder(yields, found), work, yields)
            renamed = replace(meta, key=key.digest, node=node, data=key.data, stack=stack).sealed()
            store.receive(work, yields, renamed)
        except (OSError, StagewrightError):  # too many links, or another file system: it is built
            remove_tree(work)
            return ""
    with contextlib.suppress(OSError):
        os.utime(store.path / FOLDER / _second(store, key, inputs))
    return found


def _stack(store: Store, yields: Yields, key: Key, inputs: Inputs, meta: Meta) -> list[str] | None:
    """Return the layers of a root with a planned key; None if it is not built on one of its inputs."""
    if yields is not Yields.LAYER:
        return []
    if len(meta.stack) < 2:
        return [key.digest]
    former = dict(meta.data.get("inputs", {}))
    for role, (form, source) in inputs.items():
        if form is Yields.LAYER and former.get(role) == meta.stack[1]:
            return [key.digest, *store.meta(form, source).stack]
    return None


def _link(source: Path, target: Path, yields: Yields) -> None:
    """Make a folder with hard links to the files of a result. Folders get owner, mode, time and attributes."""
    inside = [*ids.enter(), "setpriv", "--pdeathsig", "KILL", "--"] if yields is Yields.LAYER else []
    for name in PARTS:
        if (source / name).exists():
            run([*inside, "cp", "--archive", "--link", "--", source / name, target / name])
    for name in (CONTENT, "packages.gz"):
        if (source / name).exists():
            os.link(source / name, target / name)
