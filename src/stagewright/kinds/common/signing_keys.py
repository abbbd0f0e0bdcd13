"""The keys that the build of a node signs with: those of its settings, and those that its context has from others."""

from __future__ import annotations

from collections.abc import Iterator

from stagewright.graph.node import Node
from stagewright.media.signing import SigningKeys


def signing_keys(node: Node) -> Iterator[SigningKeys]:
    """Yield the keys for files of media."""
    for given in (node.settings, node.context):
        yield from (value for _, value in given if isinstance(value, SigningKeys))  # dict() would call a field `keys`


def needed_variables(node: Node) -> list[str]:
    """Return the names of the environment variables that signing with these keys needs."""
    return [name for keys in signing_keys(node) for name in keys.needed_variables()]
