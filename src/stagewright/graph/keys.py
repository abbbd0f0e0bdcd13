"""Keys: the digest that names what a node makes.

A key is the sha256 of one printable dictionary. It holds the format of keys, the kind and the digest of the code that
builds it, the settings after defaults, the context, the digest of every file and repository, the keys of the inputs,
and the versions of the host's tools that change the result. ``plan`` prints the entries that differ from the last
build. Golden files in the tests make sure that a key never changes by accident.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stagewright.graph.node import Graph, Node
from stagewright.lazy_dataclass import dataclass

KEY_FORMAT = 1
"""Increase it when the meaning of a key changes without any of its entries changing."""

KeyData = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """The dictionary that decides what a node makes, and its digest."""

    digest: str
    data: KeyData

    @classmethod
    def of(cls, data: KeyData) -> Key:
        """Return the key of a dictionary: the digest of its JSON with sorted names."""
        text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return cls(hashlib.sha256(text.encode()).hexdigest(), data)


@dataclass(frozen=True)
class KeySources:
    """Functions that give the parts of a key that the node does not hold."""

    code: Callable[[str], str]  # kind -> digest of the code that builds it
    tree: Callable[[Path], str]  # file or folder -> digest of its content
    tool: Callable[[str], str]  # program -> version
    repository: Callable[[Path], str] | None = None  # folder of an ebuild repository -> digest; None: as ``tree``


def key_of(node: Node, inputs: Mapping[str, str], sources: KeySources) -> Key:
    """Return the key of one node, given the digests of its inputs by role."""

    def digests(files: Mapping[str, Path], tree: Callable[[Path], str] = sources.tree) -> dict[str, str]:
        return {name: tree(path) for name, path in files.items()}

    return Key.of(
        {
            "format": KEY_FORMAT,
            "kind": node.kind,
            "code": sources.code(node.kind),
            "settings": node.settings.for_key(),
            "context": node.context.for_key(),
            "files": digests(node.files.settings),
            "repos": digests(node.files.repos, sources.repository or sources.tree),
            "binhost_keys": digests(node.files.binhost_keys),
            "inputs": dict(inputs),
            "tools": {name: sources.tool(name) for name in node.tools},
        }
    )


def keys_of(graph: Graph, sources: KeySources) -> dict[str, Key]:
    """Return the keys of all nodes of a graph, by node id. A file that several nodes read is digested once."""
    repository = sources.repository or sources.tree
    once = replace(sources, tree=functools.cache(sources.tree), repository=functools.cache(repository))
    keys: dict[str, Key] = {}
    for node_id in graph.order():
        node = graph.nodes[node_id]
        inputs = {role: keys[source].digest for role, source in node.inputs.items()}
        keys[node_id] = key_of(node, inputs, once)
    return keys


@dataclass(frozen=True)
class Difference:
    """One entry of a key that differs: its dotted name, the old value and the new value; None if it is missing."""

    entry: str
    old: Any
    new: Any


def differences(old: KeyData, new: KeyData) -> list[Difference]:
    """Return the entries in which two key dictionaries differ, sorted by name."""
    before, after = dict(_flat(old)), dict(_flat(new))
    names = sorted(before.keys() | after.keys())
    return [
        Difference(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    ]


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
