"""The two sides of a comparison: what the words of a user stand for, and where that lies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stagewright.engine.plan import Plan, make_plan
from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.graph.node import Yields
from stagewright.kinds.registry import graph_of
from stagewright.portage.installed import INSTALLED
from stagewright.project.model import Project
from stagewright.release.artifact_digests import companion
from stagewright.release.manifest import SUFFIX, read_manifest
from stagewright.store.store import Meta, Store

PREVIOUS = "@previous"

_KEY = re.compile(r"[0-9a-f]{4,64}")
_COMPANIONS = (".CONTENTS.gz", ".DIGESTS", ".sha256", f".{SUFFIX}")


@dataclass(frozen=True)
class Side:
    """One side: what a user calls it, and where to look.

    ``layers`` are the trees of a root, topmost first, or the one folder of an artifact, without the files that end in
    ``skip``; ``contents`` is the listing of a tarball; ``packages`` are those of a manifest, and ``facts`` those of the
    layers, in case the root has no records any more.
    """

    name: str
    key: str
    layers: Sequence[str] = ()
    skip: Sequence[str] = ()
    contents: str | None = None
    packages: Sequence[Mapping[str, Any]] | None = None
    facts: Sequence[Mapping[str, Any]] = ()

    def to_dict(self) -> dict[str, Any]:
        """The side as JSON-able data."""
        return asdict(self)


def sides(words: Sequence[str], store: Store, project: Callable[[], Project]) -> list[Side]:
    """What words stand for: names of the project (``@previous`` for the build before), files, beginnings of keys.

    Raises ``UNKNOWN_NAME`` for words that stand for nothing, ``NOT_BUILT`` for what is not in the store.
    """
    return [_of_path(Path(word)) if "/" in word else _of_word(word, store, project) for word in words]


def _of_path(path: Path) -> Side:
    artifact = path.with_name(path.name.removesuffix(f".{SUFFIX}"))
    manifest = path if path.name.endswith(SUFFIX) else companion(path, SUFFIX)
    if not manifest.exists():
        raise StagewrightError(Reason.MISSING_FILE, f"there is no {manifest}", hint=f"get {manifest.name} too")
    data = read_manifest(manifest)
    return _of_manifest(str(path), data, companion(artifact, "CONTENTS.gz"))


def _of_manifest(name: str, data: Mapping[str, Any], contents: Path) -> Side:
    listing = str(contents) if contents.exists() else None
    return Side(name, data["key"], contents=listing, packages=data["packages"])


def _of_word(word: str, store: Store, project: Callable[[], Project]) -> Side:
    plan = _plan(word.removesuffix(PREVIOUS), store, project)
    if plan is None:
        return _of_path(Path(word)) if Path(word).is_file() else _of_key(word, store, project)
    (node_id,) = plan.sinks
    step = plan.steps[node_id]
    key = step.key.digest
    if word.endswith(PREVIOUS):
        former = [one for one in store.former(plan.project.info.name, node_id) if one != key]
        if not former or not store.has(step.node.yields, former[-1]):
            why = "stagewright gc removed it" if former else "each build that differs is remembered from now on"
            raise StagewrightError(Reason.NOT_BUILT, f"no earlier build of {node_id} is in the store", hint=why)
        key = former[-1]
    elif not store.has(step.node.yields, key):
        hint = f"stagewright build {word}; its last build is {word}{PREVIOUS}"
        raise StagewrightError(Reason.NOT_BUILT, f"{word} is not built as the project is now", hint=hint)
    return _of_result(word, step.node.yields, key, store)


def _plan(name: str, store: Store, project: Callable[[], Project]) -> Plan | None:
    """The plan for one name of the project; None when there is no project here or it has no such name."""
    try:
        loaded = project()
    except StagewrightError as error:
        if error.reason is Reason.NO_PROJECT:
            return None
        raise
    return make_plan(loaded, store, [name]) if name in graph_of(loaded).targets else None


def _of_key(word: str, store: Store, project: Callable[[], Project]) -> Side:
    found = store.find(word) if _KEY.fullmatch(word) else []
    if len(found) > 1:
        keys = ", ".join(key[:16] for _, key in found[:5])
        raise StagewrightError(Reason.UNKNOWN_NAME, f"several results begin with {word}", hint=f"they are {keys}")
    if found:
        return _of_result(word, *found[0], store)
    try:
        hint = nearest(word.removesuffix(PREVIOUS), graph_of(project()).targets)
    except StagewrightError:
        hint = "name a manifest, an artifact with one beside it, or the beginning of a key in the store"
    raise StagewrightError(Reason.UNKNOWN_NAME, f"there is no stage, result or file called {word!r}", hint=hint)


def _of_result(name: str, yields: Yields, key: str, store: Store) -> Side:
    meta = store.meta(yields, key)
    if yields is Yields.LAYER:
        facts = [_known(store.meta(yields, layer)) for layer in meta.stack]
        return Side(name, key, [str(tree) for tree in store.stack(key)], facts=facts)
    tree = store.tree(yields, key)
    artifact = tree / str(meta.facts.get("file", ""))
    manifest, contents = companion(artifact, SUFFIX), companion(artifact, "CONTENTS.gz")
    packages = read_manifest(manifest)["packages"] if manifest.exists() else meta.facts.get(INSTALLED, [])
    if contents.exists():
        return Side(name, key, contents=str(contents), packages=packages)
    return Side(name, key, [str(tree)], _COMPANIONS, packages=packages)


def _known(meta: Meta) -> dict[str, Any]:
    return {INSTALLED: meta.facts[INSTALLED]} if INSTALLED in meta.facts else {}
