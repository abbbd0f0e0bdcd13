"""oci: a root from a container registry, such as Gentoo's images; pinned by the digest of its manifest.

A seed selects it with ``oci = "docker.io/gentoo/stage3:systemd"``. skopeo(1) has the logins: ``skopeo login
REGISTRY``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from stagewright.arch import Arch, host_machine
from stagewright.graph.given import NotInKey
from stagewright.kinds.common.archived import ArchiveSeed, PinnedSeed, SeedPin, cached_file, pin_of
from stagewright.kinds.common.context import SeedContext
from stagewright.kinds.common.tools import Tool
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import Matching
from stagewright.project.lock import Pin
from stagewright.seeds.oci_image import REFERENCE, ImageRegistry, split_reference, unpack_layers, verified_layers


class OciPin(SeedPin):
    """The image that the lock pins, by the digest of its manifest."""

    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class OciSeed(ArchiveSeed, PinnedSeed, kind="oci"):
    """A seed with ``oci``."""

    required_tools = (*ArchiveSeed.required_tools, Tool("skopeo", "skopeo", "app-containers/skopeo"))
    pin_model = OciPin

    oci: Annotated[str, Matching(REFERENCE, "registry/name:tag or registry/name@sha256:..."), NotInKey()]
    """The image: registry, name and tag. If it has several architectures, the one of `arch`."""
    tls: Annotated[bool, NotInKey()] = True
    """Use TLS for the registry; `false` for a registry on this computer."""

    def pin(self, work: Work[SeedContext]) -> Pin:
        """Look up the digest of the tag in the registry, fetch the image and verify it."""
        image, reference = split_reference(self.oci)
        arch = Arch(self.arch or host_machine().arch)
        work.phase("look up the image")
        digest = self._registry(work).digest(reference, arch)
        self._fetch(work, digest)
        return {"arch": arch.value, "image": image, "tag": reference, "digest": digest}

    def build(self, work: Work[SeedContext]) -> Built:
        """Unpack the pinned image. Fetch it again if it is not in the cache."""
        image, _ = split_reference(self.oci)
        digest = pin_of(work, OciPin).digest
        layers = verified_layers(self._fetch(work, digest), digest, image)
        bounds = self.limits.bounds(sum(layer.stat().st_size for layer in layers))

        return self.unpacked(
            work,
            lambda tree: unpack_layers(layers, work.folder, tree, work.log, bounds, image),
            self.oci,
            {"image": image, "digest": digest, "layers": len(layers)},
        )

    def _fetch(self, work: Work[SeedContext], digest: str) -> Path:
        work.phase(f"fetch {self.oci}")
        return self._registry(work).fetch(digest, cached_file(work, digest.partition(":")[2], "image"))

    def _registry(self, work: Work[SeedContext]) -> ImageRegistry:
        return ImageRegistry(split_reference(self.oci)[0], self.tls, work.folder, work.log)
