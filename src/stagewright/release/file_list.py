"""The files in an artifact, with the image and the package of each, for releases with ``file_lists``.

A release has the list as ``<artifact>.files.gz``: UTF-8, compressed by gzip, with a line for each file, sorted. Tabs
separate the image, the package and the path::

    root       sys-apps/busybox-1.36.1         /bin/busybox
    initramfs  kmod:amd64=30+20221128-1        /usr/bin/kmod
    root       -                               /etc/motd

A package of Portage is category/name-version, one of Debian NAME:ARCH=VERSION. Files without owner have ``-``. What is
not printable, and the backslash, are written as tar and mtree do: ``\\ooo`` for each byte, in octal.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from stagewright.release.bill import Image
from stagewright.release.components import deb_id
from stagewright.release.owners import PackageRecord

FILES = "files.gz"
"""The name of a list, or the end of its name."""

NO_PACKAGE = "-"


class ListedFile(NamedTuple):
    """A file of an image. ``package`` is the name that lists have, ``path`` can have lone surrogates."""

    image: Image
    package: str
    path: str

    def line(self) -> str:
        """Return the line of the file in a list."""
        return "\t".join((self.image, _escaped(self.package), _escaped(self.path)))


def listed_file(image: Image, package: PackageRecord | None, path: str) -> ListedFile:
    """Return the entry of a file; ``package`` is None if it has no owner."""
    if package is None:
        return ListedFile(image, NO_PACKAGE, path)
    return ListedFile(image, package.name if package.kind == "ebuild" else deb_id(package.entries), path)


def files_of_index(entries: Iterable[Mapping[str, str]]) -> list[ListedFile]:
    """Return the binary packages in a folder, by the entries of its index. Their paths are those below the folder."""
    return [ListedFile(Image.PACKAGES, one["CPV"], one["PATH"]) for one in entries if "CPV" in one and "PATH" in one]


def write_file_list(files: Iterable[ListedFile], path: Path) -> None:
    """Write the list of files."""
    _write({file.line() for file in files}, path)


def join_file_lists(lists: Iterable[Path], path: Path) -> None:
    """Write one list of several. A file that is in several of them is listed once."""
    _write({line for one in lists for line in read_file_list(one)}, path)


def read_file_list(path: Path) -> list[str]:
    """Return the lines of a list."""
    return gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()


def _write(lines: Iterable[str], path: Path) -> None:
    text = "".join(f"{line}\n" for line in sorted(lines))
    path.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))


def _escaped(text: str) -> str:
    """Return a text that is printable, without backslashes that mean themselves."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(letter if letter.isprintable() and letter != "\\" else _octal(letter) for letter in text)


def _octal(letter: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in letter.encode("utf-8", "surrogateescape"))
