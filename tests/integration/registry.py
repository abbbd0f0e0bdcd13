"""A container registry on loopback (the reference implementation), and images pushed to it by skopeo."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ZSTD = b"(\xb5/\xfd"

TOOLS = ("skopeo", "docker-registry")

_CONFIG = """version: 0.1
log: {{ level: error, accesslog: {{ disabled: true }} }}
storage: {{ filesystem: {{ rootdirectory: {folder} }}, delete: {{ enabled: {delete} }} }}
http: {{ addr: "127.0.0.1:{port}" }}
"""


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


@dataclass(frozen=True)
class Registry:
    """A running registry: its address and the folder of its files."""

    address: str
    folder: Path

    def push(self, image: Path, name: str) -> None:
        """Push an image (a folder in the layout of skopeo's ``oci:``)."""
        words = ["skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", "--all"]
        target = f"docker://{self.address}/{name}"
        subprocess.run([*words, "--dest-tls-verify=false", f"oci:{image}", target], check=True, capture_output=True)

    def blob(self, digest: str) -> Path:
        """Return the file of a blob or manifest."""
        kind, _, digits = digest.partition(":")
        return self.folder / "docker/registry/v2/blobs" / kind / digits[:2] / digits / "data"


@contextlib.contextmanager
def serve(folder: Path, *, delete: bool = False) -> Iterator[Registry]:
    """Run a registry and yield it. With ``delete``, it deletes what it is asked to."""
    folder.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(folder=folder / "data", port=port, delete=str(delete).lower()), encoding="utf-8")
    process = subprocess.Popen(
        ["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(port, process)
        yield Registry(f"127.0.0.1:{port}", folder / "data")
    finally:
        process.terminate()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "the registry has ended"
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5):
            return
        time.sleep(0.1)
    raise AssertionError("the registry does not answer")


def image(folder: Path, layers: Sequence[bytes], *, arch: str = "amd64", others: Sequence[str] = ()) -> str:
    """Write an image of these tarballs (uncompressed or zstd) in the OCI layout, and return the manifest's digest.

    ``others`` adds the same image for other architectures.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes, kind: str) -> dict[str, object]:
        digits = hashlib.sha256(content).hexdigest()
        (blobs / digits).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digits}", "size": len(content)}

    def packed(layer: bytes) -> dict[str, object]:
        if layer.startswith(ZSTD):
            return blob(layer, "layer.v1.tar+zstd")
        return blob(gzip.compress(layer, 1, mtime=0), "layer.v1.tar+gzip")

    def manifest(machine: str) -> dict[str, object]:
        ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
        config = {"architecture": machine, "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}, "config": {}}
        body = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob(json.dumps(config).encode(), "config.v1+json"),
            "layers": [packed(layer) for layer in layers],
        }
        entry = blob(json.dumps(body).encode(), "manifest.v1+json")
        return {**entry, "platform": {"architecture": machine, "os": "linux"}}

    entries = [manifest(machine) for machine in (arch, *others)]
    top = entries[0]
    if others:
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": entries,
        }
        top = blob(json.dumps(index).encode(), "index.v1+json")
    listing = {"schemaVersion": 2, "manifests": [{key: top[key] for key in ("mediaType", "digest", "size")}]}
    (folder / "index.json").write_text(json.dumps(listing), encoding="utf-8")
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="utf-8")
    return str(entries[0]["digest"])
