"""Models of facts, which builds report about their results. Each family of kinds has a model.

The store keeps the facts in ``meta.json``. A model ignores fields that it does not know, because the store can have
results of other versions of Stagewright.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from stagewright.portage.installed import Package
from stagewright.root.devices import DeviceNode
from stagewright.store.meta import Meta

F = TypeVar("F", bound="Facts")


class Facts(BaseModel):
    """Base of all facts."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    records: str | None = None
    """Digest of the file with records about packages (kinds/common/records.py)."""

    @classmethod
    def of(cls: type[F], meta: Meta) -> F:
        """Return the facts of a result in the store."""
        return cls.model_validate(meta.facts)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts that are set, as JSON-able data."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def main_file(self) -> str | None:
        """Name of the one file that users want; None if the result is a root or a folder."""
        return None

    @property
    def remembered(self) -> Sequence[Package]:
        """The packages of the root, if the result does not contain Portage's records of them; otherwise empty."""
        return ()


class BinhostPackages(Facts):
    """The packages of a layer that came from one binary package host."""

    uri: str
    packages: tuple[str, ...]


class LayerFacts(Facts):
    """Facts of a layer."""

    toolchain: str | None = None
    """Key of the stage whose compiler the root has; None if it is that of the lowest layer."""
    package_count: int | None = None
    """Number of packages in the root."""
    bytes: int | None = None
    """Size of the whole root, if the stage limits it."""
    installed: tuple[Package, ...] | None = None
    """The packages of the root, if the layer removes Portage's records of them."""
    binhosts: dict[str, BinhostPackages] | None = None
    """Packages that came from binary package hosts, by host."""
    devices: tuple[DeviceNode, ...] | None = None
    """Device nodes of a seed, which layers do not have."""
    archive: dict[str, str | int] | None = None
    """Origin of a seed: file or image, with digests."""

    @property
    def remembered(self) -> Sequence[Package]:
        """The packages of the root, if the layer removes Portage's records of them; otherwise empty."""
        return self.installed or ()

    def compiler(self, stack: Sequence[str]) -> str:
        """Return the key of the stage whose compiler the root has, given the keys of its layers, topmost first."""
        return self.toolchain or stack[-1]


class ArtifactFacts(Facts):
    """Facts of one file for users."""

    file: str
    bytes: int

    @property
    def main_file(self) -> str | None:
        """The name of the file."""
        return self.file
