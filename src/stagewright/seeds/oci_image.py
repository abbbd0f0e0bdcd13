"""Images of container registries as roots: fetched by skopeo(1), verified by digests, layers merged by overlayfs.

An image is a manifest that names layers by digest; a tag is a changing reference to a manifest. skopeo writes the
layout of its ``dir:`` transport::

    manifest.json      the manifest
    <sha256>           each layer, named by the hexadecimal digits of its digest

The markers of removed files (whiteouts; OCI image specification, layer.md) are translated to those of overlayfs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.checksums import check_checksums
from stagewright.fetch.download import download_lock
from stagewright.root.devices import DeviceNode
from stagewright.root.overlay import mount_layers, opaque_attribute
from stagewright.root.sandbox import run_host_program
from stagewright.run import network, pipeline, run
from stagewright.seeds.tarscan import Bounds
from stagewright.seeds.unpack import unpack
from stagewright.trees import remove_tree, walk_tree

REFERENCE = r"(?P<image>(localhost|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|[A-Za-z0-9.-]+:\d+)(:\d+)?(/[a-z0-9._-]+)+)"
REFERENCE += r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
"""``registry/path:tag`` or ``registry/path@sha256:...``; the registry is required."""

IMAGE_PLATFORMS = {
    Arch.AMD64: "amd64",
    Arch.ARM: "arm/v7",
    Arch.ARM64: "arm64",
    Arch.LOONG: "loong64",
    Arch.MIPS: "mips",
    Arch.PPC64: "ppc64le",
    Arch.RISCV: "riscv64",
    Arch.S390: "s390x",
    Arch.X86: "386",
}
"""Names of architectures in registries; for arm, with the variant that Debian and Gentoo build for."""

_LARGEST_MANIFEST = 4 << 20
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_LAYER_TYPE = re.compile(
    r"application/vnd\.(oci\.image\.layer\.v1\.tar|docker\.image\.rootfs\.diff\.tar)([.+](gzip|zstd))?"
)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n'
"""The policy of skopeo if this machine has none: digests and TLS authenticate the image."""

_MESSAGES = (
    (r"unauthorized|denied|authentication required", Reason.FETCH_FAILED, "run `skopeo login REGISTRY` and try again"),
    (r"manifest unknown|name unknown|not found", Reason.NOT_FOUND, "check the names of the image and its tag"),
    (
        r"does not match provided manifest digest|[Dd]igest did not match|does not match expected",
        Reason.DIGEST_MISMATCH,
        "the image was discarded: report it to the registry",
    ),
    (r"unexpected EOF|connection reset", Reason.FETCH_CUT, "try again later"),
    (r"no space left on device", Reason.DISK_FULL, "run `stagewright gc` to free space"),
)
"""Error messages of skopeo, with reasons and hints."""


@dataclass(frozen=True)
class ImageRegistry:
    """The images of one name in a registry. Without ``tls``, connections may be unencrypted."""

    image: str
    tls: bool
    folder: Path  # for files that skopeo needs
    log: IO[str]

    def digest(self, reference: str, arch: Arch) -> str:
        """Return the digest of the image with a tag or digest, for an architecture.

        Raises ``INVALID_VALUE`` if there is no image for the architecture, ``BAD_LISTING`` for an invalid manifest.
        """
        raw = self._manifest(reference)
        if _DIGEST.fullmatch(reference):
            _check(raw, reference, self.image)
        data = _parsed(raw, self.image)
        if "manifests" not in data:
            return f"sha256:{hashlib.sha256(raw).hexdigest()}"
        offers = {_platform(one): str(one.get("digest")) for one in reversed(_list(data["manifests"], self.image))}
        digest = choose_image(offers, arch)
        if not _DIGEST.fullmatch(digest):
            have = ", ".join(sorted(offers))
            what = f"{self.image}:{reference}: no image for {arch} (found {have})"
            raise StagewrightError(Reason.INVALID_VALUE, what, hint="set `arch`, or use another image")
        return digest

    def fetch(self, digest: str, target: Path) -> Path:
        """Fetch an image into a folder (layout above) and verify all its digests. Return the folder."""
        with download_lock(target):
            if target.exists():
                return target
            part = target.with_name(f"{target.name}.part")
            remove_tree(part)
            source = f"docker://{self.image}@{digest}"
            options = ["--preserve-digests", f"--src-tls-verify={str(self.tls).lower()}"]
            try:
                self._skopeo("copy", *options, source, f"dir:{part}")
                verified_layers(part, digest, self.image)
            except BaseException:
                remove_tree(part)
                raise
            part.rename(target)
        return target

    def _manifest(self, reference: str) -> bytes:
        mark = "@" if _DIGEST.fullmatch(reference) else ":"
        chunks: list[bytes] = []

        def take(chunk: bytes) -> None:
            chunks.append(chunk)
            if sum(map(len, chunks)) > _LARGEST_MANIFEST:
                raise _invalid(self.image, f"manifest too large (limit {_LARGEST_MANIFEST} bytes)")

        name = f"docker://{self.image}{mark}{reference}"
        words = self._words("inspect", "--raw", f"--tls-verify={str(self.tls).lower()}", name)
        with _translated_errors(self.image):
            pipeline([words], take, log=self.log, env=network())
        return b"".join(chunks)

    def _skopeo(self, *words: str) -> None:
        with _translated_errors(self.image):
            run(self._words(*words), env=network(), log=self.log)

    def _words(self, *words: str) -> list[str]:
        places = (Path("/etc/containers/policy.json"), Path.home() / ".config/containers/policy.json")
        policy = []
        if not any(place.exists() for place in places):
            own = self.folder / "policy.json"
            own.write_text(_POLICY, encoding="utf-8")
            policy = ["--policy", str(own)]
        return ["skopeo", *policy, "--command-timeout", "2h", *words]


def choose_image(offers: Mapping[str, str], arch: Arch) -> str:
    """Return the value of ``offers`` (by platform, such as ``linux/arm/v7``) for an architecture; "" if none fits."""
    platform = f"linux/{IMAGE_PLATFORMS.get(arch, arch.value)}"
    return offers.get(platform) or offers.get("/".join(platform.split("/")[:2]), "")


def split_reference(reference: str) -> tuple[str, str]:
    """Return the name of an image, and its digest or tag (default: ``latest``)."""
    found = re.fullmatch(REFERENCE, reference)
    assert found, "the model has checked it"
    return found["image"], found["digest"] or found["tag"] or "latest"


def verified_layers(folder: Path, digest: str, name: str) -> list[Path]:
    """Verify the manifest of an image in a folder by ``digest``, and its layers. Return the layers, lowest first.

    Raises ``DIGEST_MISMATCH``, or ``BAD_LISTING`` if a layer is not a tarball.
    """
    raw = (folder / "manifest.json").read_bytes()
    _check(raw, digest, name)
    layers = []
    for layer in _list(_parsed(raw, name).get("layers"), name):
        found = _DIGEST.fullmatch(str(layer.get("digest")))
        if not found or not _LAYER_TYPE.fullmatch(str(layer.get("mediaType"))):
            raise _invalid(name, f"unsupported type of a layer ({layer.get('mediaType')})")
        path = folder / found[1]
        if not path.is_file() or path.stat().st_size != layer.get("size"):
            what = f"{name}: layer {found[0]} has another size than in the manifest"
            raise StagewrightError(Reason.WRONG_LENGTH, what, hint="the image was discarded: try again")
        check_checksums(path, f"{name}: layer {found[0]}", {"sha256": found[1]})
        layers.append(path)
    if not layers:
        raise _invalid(name, "no layers")
    return layers


def unpack_layers(
    layers: Sequence[Path], work: Path, target: Path, log: IO[str], bounds: Bounds, name: str
) -> list[DeviceNode]:
    """Unpack layers (lowest first) and merge them into an empty folder. Needs permission to mount.

    Return the device nodes of all layers, which are not made.
    """
    if len(layers) == 1:
        scan = unpack(layers[0], target, log, bounds, name=name)
        translate_whiteouts(target)
        return scan.devices
    trees, devices = [], []
    for number, layer in enumerate(layers):
        tree = work / f"layer{number:03}"
        tree.mkdir()
        trees.append(tree)
        scan = unpack(layer, tree, log, bounds, name=name)
        bounds = bounds.remaining(scan)
        devices += scan.devices
        translate_whiteouts(tree)
    whole = mount_layers(trees[::-1], work / "layers")
    run_host_program(["cp", "--archive", "--no-target-directory", whole, target], reads=[whole], writes=[target])
    run(["umount", whole])
    for tree in trees:
        remove_tree(tree)
    return devices


def translate_whiteouts(tree: Path) -> None:
    """Translate the markers of a layer for overlayfs: device 0/0 for removed files, an attribute for opaque folders."""
    for step in walk_tree(tree):
        markers = [file.name for file in step.files if file.name.startswith(_WHITEOUT)]
        info = os.fstat(step.folder)
        for name in markers:
            os.unlink(name, dir_fd=step.folder)
            hidden = name.removeprefix(_WHITEOUT)
            if name == _OPAQUE:
                os.setxattr(step.folder, opaque_attribute(), b"y")
            elif hidden not in ("", ".", "..") and not hidden.startswith(_WHITEOUT):
                _hide(step.folder, hidden)
        if markers:
            os.utime(step.folder, ns=(info.st_atime_ns, info.st_mtime_ns))


def _hide(folder: int, name: str) -> None:
    """Hide an entry of lower layers. A file of this layer stays; a folder of this layer becomes opaque."""
    try:
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=folder)
        return
    if stat.S_ISDIR(info.st_mode):
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            os.setxattr(inner, opaque_attribute(), b"y")
        finally:
            os.close(inner)


def _check(raw: bytes, digest: str, name: str) -> None:
    found = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    if found != digest:
        what = f"{name}: wrong digest of the manifest (expected {digest}, found {found})"
        raise StagewrightError(Reason.DIGEST_MISMATCH, what, hint="the image was discarded: report it to the registry")


def _parsed(raw: bytes, name: str) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not ({"manifests", "layers"} & set(data)):
        raise _invalid(name, "unsupported manifest")
    return data


def _list(value: Any, name: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _invalid(name, "invalid manifest (a list is missing)")
    return value


def _platform(offer: Mapping[str, Any]) -> str:
    """Return os/architecture of an entry of an index; for arm, with the variant."""
    platform = offer.get("platform")
    if not isinstance(platform, dict):
        return "unknown"
    variant = f"/{platform['variant']}" if platform.get("architecture") == "arm" and platform.get("variant") else ""
    return f"{platform.get('os')}/{platform.get('architecture')}{variant}"


def _invalid(name: str, why: str) -> StagewrightError:
    hint = "use an image of a root file system whose layers are tarballs"
    return StagewrightError(Reason.BAD_LISTING, f"{name}: {why}", hint=hint)


@contextlib.contextmanager
def _translated_errors(name: str) -> Iterator[None]:
    """Translate failures of skopeo to errors with a reason."""
    try:
        yield
    except StagewrightError as error:
        if error.reason is not Reason.COMMAND_FAILED:
            raise
        for pattern, reason, hint in _MESSAGES:
            if re.search(pattern, error.detail):
                raise StagewrightError(
                    reason, f"{name}: {_last_message(error)}", detail=error.detail, hint=hint
                ) from error
        hint = "check the network and the registry"
        raise StagewrightError(
            Reason.FETCH_FAILED, f"{name}: {_last_message(error)}", detail=error.detail, hint=hint
        ) from error


def _last_message(error: StagewrightError) -> str:
    found = re.search(r'level=fatal msg="(.*)"', error.detail)
    return found[1].replace('\\"', '"') if found else "skopeo failed"
