"""Comparison of the files of a medium with the digests on it: lists of digests, the root hash, the ISO itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import digest_of
from stagewright.media import verity
from stagewright.media.bootmenu.entry import FoundEntry
from stagewright.media.payload import IMAGE
from stagewright.untrusted import is_file, read_text, real

_SUMS = ("sha512sums", "isoroot_b2sums", "isoroot_checksums")
_DIGEST = {
    128: ("sha512", "blake2b"),
    64: ("sha256",),
    40: ("sha1",),
}  # algorithms by number of digits
_MOST_VALUES = 4  # root hashes of an image that are checked; our media have one


@dataclass(frozen=True)
class DigestCheck:
    """The number of files in a list of digests, and the files that differ or are missing."""

    against: str
    files: int
    wrong: tuple[str, ...]


def list_checks(tree: Path, files: Mapping[str, int]) -> Iterator[DigestCheck]:
    """Compare the files of a medium with the lists of digests on it."""
    for name in (*_SUMS, "DIGESTS"):
        if name in files:
            yield check_list(name, _list(tree / name), tree)


def verity_checks(tree: Path, files: Mapping[str, int], entries: Iterable[FoundEntry]) -> Iterator[DigestCheck]:
    """Compare the image with the root hash in the boot arguments."""
    words = [word.partition("=") for entry in entries for word in entry.arguments.split()]
    values = list(dict.fromkeys(value for name, _, value in words if name == verity.ARGUMENT and IMAGE in files))
    for value in values[:_MOST_VALUES]:
        yield DigestCheck(verity.ARGUMENT, 1, () if verity.proves(value, tree / IMAGE) else (IMAGE,))


def esp_check(
    tree: Path, files: Mapping[str, int], esp_tree: Path, esp: Mapping[str, int], entries: Iterable[FoundEntry]
) -> Iterator[DigestCheck]:
    """Compare the kernels and initramfs on the EFI system partition, which UEFI starts, with those of the ISO."""
    started = dict.fromkeys(name for entry in entries for name in (entry.kernel, *entry.initrds))
    both = [name for name in started if name in files and name in esp]
    wrong = [name for name in both if digest_of(tree / name, "sha256") != digest_of(esp_tree / name, "sha256")]
    if both:
        yield DigestCheck("EFI system partition against the ISO", len(both), tuple(wrong))


def checks_next_to(path: Path) -> Iterator[DigestCheck]:
    """Compare an ISO with the lists of digests in the same folder."""
    for suffix in ("DIGESTS", "sha256"):
        listed = path.with_name(f"{path.name}.{suffix}")
        if listed.is_file():
            yield check_list(listed.name, _list(listed), path.parent, only=path.name)


def _list(path: Path) -> str:
    """Return the text of a list of digests. Raises ``BAD_ARCHIVE`` if it is too large."""
    try:
        return read_text(path, errors="replace")
    except OSError as error:
        message = f"{path.name}: cannot be read: {error.strerror}"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, hint="copy the medium again") from error


def check_list(name: str, text: str, folder: Path, only: str = "") -> DigestCheck:
    """Compare files with a list in the format of sha512sum(1). A path that leads outside the folder is an error."""
    listed: dict[str, list[str]] = {}
    for digest, file in re.findall(r"^([0-9a-f]{40,128}) [ *](?:\./)?(.+)$", text, re.MULTILINE):
        if not only or file == only:
            listed.setdefault(file, []).append(digest)
    wrong = [file for file, digests in listed.items() if not _fits(folder, file, digests)]
    return DigestCheck(name, len(listed), tuple(wrong))


def _fits(folder: Path, file: str, digests: Sequence[str]) -> bool:
    path = folder / file
    if ".." in Path(file).parts or not is_file(path) or not real(path).is_relative_to(real(folder)):
        return False
    names = {name for digest in digests for name in _DIGEST.get(len(digest), ())}
    found = {digest_of(path, name) for name in names}
    return all(digest in found for digest in digests)
