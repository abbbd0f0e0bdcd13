"""How a build uses a farm."""

from __future__ import annotations

from pathlib import Path

from stagewright.lazy_dataclass import dataclass


@dataclass(frozen=True)
class FarmOptions:
    """The farm that a build uses: the address of its scheduler, the folder of certificates, and the shared remote.

    ``remote`` is a name of ``[remotes]`` or an address; None is the first one that accepts results. ``wait`` are the
    seconds to wait for a machine that can build a node.
    """

    url: str
    certs: Path | None = None
    remote: str | None = None
    wait: float = 60.0
