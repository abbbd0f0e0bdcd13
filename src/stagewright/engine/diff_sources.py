"""The sources of a comparison: what the words of a user stand for, and where that is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stagewright.engine.plan import Plan
from stagewright.engine.session import Session
from stagewright.engine.targets import target_ids
from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.graph.node import Yields
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.registry import facts_of
from stagewright.portage.installed import packages_as_data
from stagewright.release.artifact_digests import companion
from stagewright.release.manifest import SUFFIX, read_manifest
from stagewright.store.store import Store

PREVIOUS = "@previous"

_KEY = re.compile(r"[0-9a-f]{4,64}")
_COMPANIONS = (".CONTENTS.gz", ".DIGESTS", ".sha256", f".{SUFFIX}")


@dataclass(frozen=True)
class DiffSource:
    """One side of a comparison: its name for the user, and where its content is.

    ``layers`` are the trees of a root, topmost first, or the one folder of an artifact; files that end in ``skip`` are
    left out. ``contents`` is the listing of a tarball. ``packages`` are those of a manifest, and ``remembered``
    those of the layers, for a root whose records of packages were removed.
    """

    name: str
    key: str
    layers: Sequence[str] = ()
    skip: Sequence[str] = ()
    contents: str | None = None
    packages: Sequence[Mapping[str, Any]] | None = None
    remembered: Sequence[Sequence[Mapping[str, Any]]] = ()
    is_root: bool = False

    @property
    def is_files(self) -> bool:
        """True if it is an artifact without a listing of what is inside."""
        return bool(self.layers) and not self.is_root

    def to_dict(self) -> dict[str, Any]:
        """Return the source as JSON-able data."""
        return asdict(self)


OpenSession = Callable[[], Session | None]
"""Opens the project, if there is one. It is called only for words that can be names of the project."""


def diff_sources(words: Sequence[str], store: Store, session: OpenSession) -> list[DiffSource]:
    """Return what words stand for: names of the project (``@previous``: the build before), files, beginnings of keys.

    Raises ``UNKNOWN_NAME`` for a word that stands for nothing, ``NOT_BUILT`` for something that is not in the store.
    """
    return [_of_path(Path(word)) if "/" in word else _of_word(word, store, session) for word in words]


def _of_path(path: Path) -> DiffSource:
    artifact = path.with_name(path.name.removesuffix(f".{SUFFIX}"))
    manifest = path if path.name.endswith(SUFFIX) else companion(path, SUFFIX)
    if not manifest.exists():
        hint = f"put {manifest.name} into the same folder"
        raise StagewrightError(Reason.MISSING_FILE, f"{manifest}: manifest not found", hint=hint)
    data = read_manifest(manifest)
    return _of_manifest(str(path), data, companion(artifact, "CONTENTS.gz"))


def _of_manifest(name: str, data: Mapping[str, Any], contents: Path) -> DiffSource:
    listing = str(contents) if contents.exists() else None
    return DiffSource(name, data["key"], contents=listing, packages=data["packages"])


def _of_word(word: str, store: Store, session: OpenSession) -> DiffSource:
    plan = _plan(word.removesuffix(PREVIOUS), session)
    if plan is None:
        return _of_path(Path(word)) if Path(word).is_file() else _of_key(word, store, session)
    (node_id,) = plan.sinks
    step = plan.steps[node_id]
    key = step.key.digest
    if word.endswith(PREVIOUS):
        former = [one for one in store.former(plan.project.records, node_id) if one != key]
        if not former or not store.has(step.node.yields, former[-1]):
            why = "stagewright gc removed it" if former else "it exists after the next build with another key"
            raise StagewrightError(Reason.NOT_BUILT, f"{word}: no earlier build in the store", hint=why)
        key = former[-1]
    elif not store.has(step.node.yields, key):
        former = [one for one in store.former(plan.project.records, node_id) if store.has(step.node.yields, one)]
        hint = f"stagewright build {word}" + (f"; its last build is {word}{PREVIOUS}" if former else "")
        what = f"{word}: not built with the present settings of the project"
        raise StagewrightError(Reason.NOT_BUILT, what, hint=store.hint_if_missing(step.node.yields, hint))
    return _of_result(word, step.node.yields, key, store)


def _plan(name: str, session: OpenSession) -> Plan | None:
    """Return the plan for one name of the project; None if there is no project, or it does not have the name."""
    opened = session()
    ids = target_ids(opened.project, opened.graph) if opened else {}
    return opened.plan([name]) if opened and (name in ids or name in ids.values()) else None


def _of_key(word: str, store: Store, session: OpenSession) -> DiffSource:
    found = store.find(word) if _KEY.fullmatch(word) else []
    if len(found) > 1:
        keys = ", ".join(key[:16] for _, key in found[:5])
        raise StagewrightError(
            Reason.UNKNOWN_NAME, f"{word}: several results begin with it", hint=f"write more of one of {keys}"
        )
    if found:
        return _of_result(word, *found[0], store)
    hint = "give a manifest, an artifact in the same folder as its manifest, or the beginning of a key in the store"
    if opened := session():
        hint = nearest(word.removesuffix(PREVIOUS), opened.graph.targets)
    raise StagewrightError(Reason.UNKNOWN_NAME, f"{word!r}: not a stage, a result or a file", hint=hint)


def _of_result(name: str, yields: Yields, key: str, store: Store) -> DiffSource:
    meta = store.meta(yields, key)
    if yields is Yields.LAYER:
        remembered = [packages_as_data(LayerFacts.of(store.meta(yields, layer)).remembered) for layer in meta.stack]
        return DiffSource(name, key, [str(tree) for tree in store.stack(key)], remembered=remembered, is_root=True)
    tree = store.tree(yields, key)
    artifact = tree / (facts_of(meta).main_file or "")
    manifest, contents = companion(artifact, SUFFIX), companion(artifact, "CONTENTS.gz")
    packages = read_manifest(manifest)["packages"] if manifest.exists() else packages_as_data(facts_of(meta).remembered)
    if contents.exists():
        return DiffSource(name, key, contents=str(contents), packages=packages)
    return DiffSource(name, key, [str(tree)], _COMPANIONS, packages=packages)
