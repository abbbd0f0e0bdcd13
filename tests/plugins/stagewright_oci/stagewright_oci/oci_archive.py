"""oci-archive: a container image in one file, for skopeo, podman and container registries.

The file is a tar archive of an OCI image layout (https://github.com/opencontainers/image-spec). The image has one
layer, which holds the whole root.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from stagewright.arch import Arch
from stagewright.kinds.common.artifact import FileArtifactKind, Ingredient, mount_to_read
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import ArtifactContext
from stagewright.kinds.common.tools import TAR, Tool
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import Matching, RootRef
from stagewright.release.archive import Compression, pack
from stagewright.release.artifact_digests import digest_artifact
from stagewright.seeds.oci_image import IMAGE_PLATFORMS


class OciContext(ArtifactContext):
    """Context of a container image."""

    platform: str
    """The architecture of the image, by its name in container registries, such as arm64 or arm/v7."""


class OciArchive(FileArtifactKind, kind="oci-archive"):
    """A stage of kind ``oci-archive``."""

    required_tools = (TAR, Tool("cat", "coreutils", "sys-apps/coreutils"))
    key_tools = ("tar",)
    context_model = OciContext

    root: RootRef
    """The stage or seed to pack."""
    tag: Annotated[str, Matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", "letters, digits and _ . -")] = "latest"
    """The tag of the image."""
    command: list[str] = ["/bin/sh"]
    """The command that a container runs by default."""

    def ingredients(self, name: str, scope: Scope) -> list[Ingredient]:
        """Return the root."""
        return [Ingredient(stage=self.root)]

    def file_name(self, node_id: str, scope: Scope) -> str:
        """Return the name of the file: stage, architecture and version."""
        return f"{node_id}-{scope.arch(self.root)}-{scope.project.info.version}.oci.tar"

    def node_context(self, node_id: str, scope: Scope) -> OciContext:
        """Return the name of the file, the project for the manifest, and the architecture of the image."""
        arch = Arch(scope.arch(self.root))
        return OciContext(**dict(super().node_context(node_id, scope)), platform=IMAGE_PLATFORMS.get(arch, arch.value))

    def build(self, work: Work[OciContext]) -> Built:
        """Pack the root as a layer, describe the image, and write both into one file."""
        work.phase("pack")
        root, packages = mount_to_read(work, "root")
        layer = work.folder / "layer.tar"
        pack(root, layer, Compression.NONE.command(0, work.cores), epoch=work.epoch, log=work.log)
        work.phase("assemble")
        target = work.new_folder("tree") / work.context.file_name
        _write_tar(target, self._layout(layer, work), work.epoch)
        layer.unlink()
        work.phase("digest")
        return self.with_manifest(work, target, packages, digest_artifact(target), image={"tag": self.tag})

    def _layout(self, layer: Path, work: Work[OciContext]) -> dict[str, bytes | Path]:
        """Return the files of the image layout by path: their content, or a file with it."""
        digest = f"sha256:{digest_artifact(layer).digests['sha256']}"
        architecture, _, variant = work.context.platform.partition("/")
        config = _json(
            {
                "created": datetime.datetime.fromtimestamp(work.epoch, datetime.UTC).isoformat(),
                "architecture": architecture,
                **({"variant": variant} if variant else {}),
                "os": "linux",
                "config": {"Cmd": self.command},
                "rootfs": {"type": "layers", "diff_ids": [digest]},
            }
        )
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": _descriptor("config.v1+json", _sha256(config), len(config)),
                "layers": [_descriptor("layer.v1.tar", digest, layer.stat().st_size)],
            }
        )
        tagged = {"annotations": {"org.opencontainers.image.ref.name": self.tag}}
        entry = _descriptor("manifest.v1+json", _sha256(manifest), len(manifest)) | tagged
        return {
            "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
            "index.json": _json({"schemaVersion": 2, "manifests": [entry]}),
            _blob(_sha256(config)): config,
            _blob(_sha256(manifest)): manifest,
            _blob(digest): layer,
        }


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True).encode()


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": size}


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _write_tar(target: Path, files: Mapping[str, bytes | Path], epoch: int) -> None:
    """Write files into a tar archive: sorted by name, with one time stamp, so that it is reproducible."""
    with tarfile.open(target, "w") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.mtime = epoch
            entry.size = len(content) if isinstance(content, bytes) else content.stat().st_size
            with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as stream:
                archive.addfile(entry, stream)
