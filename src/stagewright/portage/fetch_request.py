"""A request to fetch the sources of packages."""

from __future__ import annotations

from collections.abc import Sequence

from stagewright.lazy_dataclass import dataclass


@dataclass(frozen=True)
class FetchRequest:
    """Packages whose sources ``Portage.fetch_sources`` fetches, as the build will install them."""

    atoms: Sequence[str]
    target: str = "/"
    options: Sequence[str] = ()
    use: str | None = None
