"""Tiny signed releases for tests, written by the code of releases but without any build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from integration.signing import Minisigner, Signer

from stagewright.release.pointer import Pointer, pointer_name
from stagewright.release.project_source import ProjectSource
from stagewright.release.provenance import Making, Origins, write_provenance
from stagewright.release.release_folder import (
    DESCRIPTION,
    LISTS,
    Description,
    ReleasedArtifact,
    digest_file,
    sizes_of,
    write_lists,
    write_text,
)

DAY = 86400
DATE = 20_000 * DAY
FAR = 4_000_000_000
"""A time long after every test (seconds since 1970)."""

FILES = {
    "demo.iso": b"an image of version %b",
    "demo.iso.manifest.json": b'{"format": 1, "packages": []}',
    "pxe/boot.ipxe": b"#!ipxe\nimgfetch boot/gentoo\n",
    "pxe/boot/gentoo": b"kernel %b",
}


PROVENANCE = {"iso": "demo.iso.provenance.json", "pxe": "pxe/pxe.provenance.json"}
"""Paths of the statements about the artifacts, by stage."""

DOCUMENTS = [f"pxe/image.squashfs.{suffix}" for suffix in ("bill.json", "spdx.json", "cdx.json", "files.gz")]
"""Files that a release adds to the folder of an artifact, so that its provenance does not name them."""

COUNT = len(FILES) + len(PROVENANCE) + len(DOCUMENTS)
"""The number of files of a version, without description, lists and signatures."""

ORIGINS = Origins(source=ProjectSource(url="https://example.org/demo.git", commit="c" * 40), lock="10" * 32)


@dataclass(frozen=True)
class Keys:
    """The keys of releases: OpenPGP and minisign."""

    openpgp: Signer
    minisign: Minisigner


def write_version(
    root: Path,
    version: str,
    release: str = "live",
    *,
    date: int = DATE,
    channel: dict[str, object] | None = None,
    kind: str = "pxeboot",
) -> str:
    """Write the folder of a version without signatures. Return the digest of its SHA256SUMS."""
    folder = root / version
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content % version.encode() if b"%b" in content else content)
    artifacts = [
        _artifact(folder, "iso", "livecd-stage3", "ab" * 32, file="demo.iso"),
        _artifact(folder, "pxe", kind, "cd" * 32, folder="pxe"),
    ]
    for name in DOCUMENTS:
        (folder / name).write_bytes(b"{}")
    description = Description(
        project={"name": "demo", "version": version, "source_date_epoch": date},
        release=release,
        version=version,
        date=date,
        artifacts=artifacts,
        files=sizes_of(folder),
        channel=channel,
    )
    write_text(folder / DESCRIPTION, description.text(), date)
    return write_lists(folder, date)


def _artifact(base: Path, stage: str, kind: str, key: str, **place: str) -> ReleasedArtifact:
    """Write the provenance of an artifact, and return its entry in the description."""
    path, head = PROVENANCE[stage], place.get("folder", "demo.iso")
    files = [digest_file(base, name) for name in sizes_of(base) if name.startswith(head)]
    made = Making({"name": "demo", "version": base.name}, stage, key, "code", [])
    write_provenance(made, [one for one in files if one.file in FILES], ORIGINS, base / path)
    return ReleasedArtifact(stage, kind, key, sum(one.size for one in files), **place, provenance=path)


def write_release(
    root: Path,
    version: str,
    keys: Keys | None = None,
    release: str = "live",
    *,
    date: int = DATE,
    expires: int | None = FAR,
    channel: dict[str, object] | None = None,
    kind: str = "pxeboot",
) -> Path:
    """Write a version, with the pointer to it and all signatures, and return the folder of the pointer.

    ``kind`` is that of its artifact with several files.
    """
    sums = write_version(root, version, release, date=date, channel=channel, kind=kind)
    pointer = Pointer(f"demo/{release}", version, date, sums, expires, {f"{version}/demo.iso": 1})
    path = root / pointer_name(release)
    path.write_text(pointer.text(), encoding="utf-8")
    if keys:
        sign(root, version, path, keys)
    return root


def sign(root: Path, version: str, pointer: Path, keys: Keys, *, pointer_too: bool = True) -> None:
    """Sign the lists of a version and a pointer."""
    for name in LISTS:
        file = root / version / name
        file.with_name(f"{name}.asc").write_bytes(keys.openpgp.detached(file.read_bytes()))
        keys.minisign.sign(file)
    if not pointer_too:
        return
    pointer.write_bytes(keys.openpgp.clearsign(pointer.read_bytes()))
    keys.minisign.sign(pointer)
    keys.openpgp.public(root / "signing-key.asc")
