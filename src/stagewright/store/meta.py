"""``meta.json``: the description of a result in the store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, field, replace
from typing import Any

from stagewright.graph.keys import KeyData
from stagewright.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Meta:
    """Description of a result in the store.

    ``stack`` are the keys of a root's layers, topmost first, ending with the layer's own base; empty for artifacts.
    ``size`` is in bytes. ``facts`` are findings of the build, such as versions, for manifests and users. ``content``
    is the digest of the list of all files, ``top`` the mode and the time (nanoseconds) of a layer's ``/``, ``seal`` the
    digest of all other fields; these three are empty in results of former versions.
    """

    key: str
    node: str
    kind: str
    created: float
    size: int
    data: KeyData
    stack: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    content: str = ""
    top: list[int] = field(default_factory=list)
    seal: str = ""

    def sealed(self) -> Meta:
        """Return the description with its seal."""
        text = replace(self, seal="").text()
        return replace(self, seal=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")

    def text(self, indent: int | None = None) -> str:
        """Return the description as JSON. It stays the same if it is read and written again."""
        data = json.loads(json.dumps(asdict(self)))  # keys become text before they are sorted
        return json.dumps(data, indent=indent, sort_keys=True)
