"""Keys: the digest that names what a node makes.

A key is the sha256 of one printable dictionary with everything that goes in: the format of keys, the kind and the code
that builds it, the options after defaults, the digests of every file that the project names, the keys of the inputs,
and the versions of the host's tools that leave traces. ``plan`` prints the entries that differ from the last build, and
golden files in the tests guard that a key never changes by accident.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.graph.node import Graph, Node

KEY_FORMAT = 1
"""Raised when the meaning of a key changes without any of its entries changing."""

KeyData = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """What goes into one node, and the digest of that."""

    digest: str
    data: KeyData

    @classmethod
    def of(cls, data: KeyData) -> Key:
        """The key of a dictionary: the digest of its JSON with sorted names."""
        text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return cls(hashlib.sha256(text.encode()).hexdigest(), data)


@dataclass(frozen=True)
class KeySources:
    """Where the parts of a key come from that are not written in the node: three functions."""

    code: Callable[[str], str]  # kind -> digest of the code that builds it
    tree: Callable[[Path], str]  # file or folder -> digest of its content
    tool: Callable[[str], str]  # program -> version


def key_of(node: Node, inputs: Mapping[str, str], sources: KeySources) -> Key:
    """The key of one node, given the digests of its inputs by role."""
    return Key.of(
        {
            "format": KEY_FORMAT,
            "kind": node.kind,
            "code": sources.code(node.kind),
            "options": dict(node.options),
            "context": dict(node.context),
            "files": {name: sources.tree(path) for name, path in node.files.items()},
            "inputs": dict(inputs),
            "tools": {name: sources.tool(name) for name in node.tools},
        }
    )


def keys_of(graph: Graph, sources: KeySources) -> dict[str, Key]:
    """The keys of all nodes of a graph, by node id. Files that several nodes name are read once."""
    seen: dict[Path, str] = {}

    def tree(path: Path) -> str:
        if path not in seen:
            seen[path] = sources.tree(path)
        return seen[path]

    once = KeySources(code=sources.code, tree=tree, tool=sources.tool)
    keys: dict[str, Key] = {}
    for node_id in graph.order():
        node = graph.nodes[node_id]
        inputs = {role: keys[source].digest for role, source in node.inputs.items()}
        keys[node_id] = key_of(node, inputs, once)
    return keys


@dataclass(frozen=True)
class Difference:
    """One entry of a key that differs: its dotted name, the value then and the value now (None: not there)."""

    entry: str
    old: Any
    new: Any


def differences(old: KeyData, new: KeyData) -> list[Difference]:
    """The entries in which two key dictionaries differ, in the order of their names."""
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
