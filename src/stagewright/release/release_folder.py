"""The folder of a release: the files of its artifacts, a description, and digests of everything.

::

    <version>/                    hard links to the files of the artifacts; an artifact of several files is a folder
    <version>/release.json        the description (below)
    <version>/DIGESTS             BLAKE2B and SHA512 of all files above
    <version>/SHA256SUMS          SHA256 of all files above, in the form of sha256sum(1)
    <version>/*.asc, *.minisig    signatures of DIGESTS and SHA256SUMS
    <version>/<feed>/SHA256SUMS.gpg   the signature of a feed of updates, the one file of it that no list names
    latest-<name>.txt             the newest version (release/pointer.py)
    signing-key.asc, minisign.pub the public keys

``release.json``::

    format      1
    project     name, version, source_date_epoch
    release     name of the release
    version, date  the date in seconds since 1970
    channel     name, distributable, accept_license; null without a channel
    artifacts   stage, kind, key, file or folder, size in bytes, path of the provenance
    files       size in bytes by path, of all files but this one and the lists of digests
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stagewright.errors import Reason, StagewrightError
from stagewright.project.names import NAME
from stagewright.release.artifact_digests import LISTED, FileDigests, digest_artifact
from stagewright.store.links import link
from stagewright.trees import files_below, walk_tree

FORMAT = 1

DESCRIPTION, DIGESTS, SUMS = "release.json", "DIGESTS", "SHA256SUMS"
LATEST = "latest"
"""Name of the link to the folder of the newest version, where releases are published."""
LISTS = (DIGESTS, SUMS)
"""The lists of digests. They are signed, and list all files but themselves."""

FEED = "update-feed"
"""Kind of artifacts whose own list of digests is signed, because machines read it and not the one of the release."""

_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<path>[^\s/][^\n]*)")


@dataclass(frozen=True)
class ReleasedArtifact:
    """An artifact of a release. ``file`` is its main file, and "" if it is a folder, called ``folder``.

    ``provenance`` is the path of the statement where it comes from.
    """

    stage: str
    kind: str
    key: str
    size: int
    file: str = ""
    folder: str = ""
    provenance: str = ""


@dataclass(frozen=True)
class Description:
    """The content of ``release.json``."""

    project: Mapping[str, Any]
    release: str
    version: str
    date: int
    artifacts: Sequence[ReleasedArtifact]
    files: Mapping[str, int]
    channel: Mapping[str, Any] | None = None

    @property
    def identity(self) -> str:
        """The name of the release with that of its project."""
        return f"{self.project['name']}/{self.release}"

    @property
    def feed_lists(self) -> list[str]:
        """The paths of the lists of digests in feeds of updates."""
        return [f"{one.folder}/{SUMS}" for one in self.artifacts if one.kind == FEED and one.folder]

    def text(self) -> str:
        """Return the content of the file."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, text: str | bytes, name: str = DESCRIPTION) -> Description:
        """Return a description. Raises: FORMAT for any other text; ``name`` is the file name."""
        try:
            data = json.loads(text)
            assert data.pop("format") == FORMAT
            artifacts = [_artifact(item) for item in data.pop("artifacts")]
            known = {key: data[key] for key in ("project", "release", "version", "date", "files", "channel")}
            assert isinstance(known["project"]["name"], str) and isinstance(known["date"], int)
            assert all(re.fullmatch(NAME, known[key]) for key in ("release", "version"))
            assert all(is_plain_path(path) and type(size) is int and size >= 0 for path, size in known["files"].items())
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError, RecursionError) as error:
            raise StagewrightError(Reason.FORMAT, f"{name}: not the description of a release") from error
        return cls(artifacts=artifacts, **known)


def _artifact(data: Mapping[str, Any]) -> ReleasedArtifact:
    found = ReleasedArtifact(**{key: data[key] for key in ReleasedArtifact.__dataclass_fields__})
    assert type(found.size) is int
    assert all(isinstance(value, str) for key, value in asdict(found).items() if key != "size")
    return found


def is_plain_path(path: object) -> bool:
    """Return True for a path below a folder, of names that every system and every list of digests can hold."""
    if not isinstance(path, str) or not path.isprintable() or "\\" in path or len(path) > 1024:
        return False
    return all(part not in ("", ".", "..") for part in path.split("/"))


def link_files(tree: Path, folder: Path, inner: str = "") -> list[str]:
    """Link all files below a tree into the folder of a release, or a folder in it. Return their paths in the release.

    Raises: DUPLICATE_NAME for a taken name, BUILD_FAILED for a link, a device or another entry that is not a regular
    file. Links are never followed.
    """
    for step in walk_tree(tree):
        for entry in step.files:
            if not entry.is_file(follow_symlinks=False):
                what = f"{step.path()}/{entry.name}".lstrip("/")
                raise StagewrightError(Reason.BUILD_FAILED, f"{what}: a release has regular files only")
    names = files_below(tree)
    for name in names:
        if not is_plain_path(name):
            raise StagewrightError(Reason.BUILD_FAILED, f"{name!r}: not a name for a file of a release")
        path = f"{inner}/{name}" if inner else name
        if (folder / path).exists() or path in (DESCRIPTION, *LISTS):
            what = f"two artifacts of the release have a file of the same name ({path})"
            raise StagewrightError(Reason.DUPLICATE_NAME, what, hint="give one of them a `name`")
        link(tree / name, folder / path)
    return sorted(f"{inner}/{name}" if inner else name for name in names)


def sizes_of(folder: Path) -> dict[str, int]:
    """Return the sizes of all files below a folder in bytes, by path, sorted."""
    return {name: (folder / name).stat().st_size for name in sorted(files_below(folder))}


def digest_file(folder: Path, name: str) -> FileDigests:
    """Return the digests of a file below a folder, by its path."""
    return replace(digest_artifact(folder / name), file=name)


def write_lists(folder: Path, epoch: int, known: Mapping[str, FileDigests] = MappingProxyType({})) -> str:
    """Write the lists of digests of all files below a folder. Return the SHA256 of ``SHA256SUMS``.

    ``known`` are digests of files by path, which are not computed again.
    """
    digests = [known.get(name) or digest_file(folder, name) for name in sizes_of(folder)]
    write_text(folder / DIGESTS, "".join(file.lines(*LISTED) for file in digests), epoch)
    own = digest_file(folder, DIGESTS)
    write_text(folder / SUMS, sums_text([*digests, own]), epoch)
    return digest_artifact(folder / SUMS).digests["sha256"]


def sums_text(digests: Iterable[FileDigests]) -> str:
    """Return the content of ``SHA256SUMS``."""
    lines = {file.file: f"{file.digests['sha256']}  {file.file}\n" for file in digests}
    return "".join(lines[name] for name in sorted(lines))


def read_sums(text: str, name: str = SUMS) -> dict[str, str]:
    """Return the digests in the content of ``SHA256SUMS``, by path. Raises: BAD_LISTING for any other text."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if not match or not is_plain_path(match["path"]) or match["path"] in found:
            raise StagewrightError(Reason.BAD_LISTING, f"{name}: not a list of digests (line {line[:80]!r})")
        found[match["path"]] = match["digest"]
    return found


def write_text(path: Path, text: str, epoch: int) -> None:
    """Write a file with the time of the release."""
    path.write_text(text, encoding="utf-8")
    os.utime(path, (epoch, epoch))
