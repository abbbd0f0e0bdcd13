"""Values of settings in partition definitions (repart.d(5)). Functions raise ValueError with the remedy as its text."""

from __future__ import annotations

import enum
import re
import uuid as uuids
from typing import NamedTuple

from stagewright.errors import nearest
from stagewright.media.disk.filesystem_types import FileSystem
from stagewright.media.disk.partition_types import BIOS_BOOT, NATIVE, is_type, known_types
from stagewright.units import parse_size

LABEL_LENGTH = 36
"""Longest label of a partition, in units of UTF-16 (UEFI specification 5.3.3)."""

_LARGEST_WEIGHT = 1_000_000


class Encryption(enum.StrEnum):
    """How a partition is encrypted (LUKS2), and what opens it."""

    OFF = "off"
    KEY_FILE = "key-file"
    TPM2 = "tpm2"
    BOTH = "key-file+tpm2"


class Verity(enum.StrEnum):
    """Role of a partition for dm-verity."""

    OFF = "off"
    DATA = "data"
    HASH = "hash"


class Copy(NamedTuple):
    """Files of the root that a partition gets: a file or folder, and its place in the partition."""

    source: str
    target: str


class Mount(NamedTuple):
    """Where a system mounts a partition, and the options."""

    path: str
    options: str = ""


def partition_type(text: str) -> str:
    """Return a type: a name or a GUID."""
    if not is_type(text):
        raise ValueError(f"{nearest(text, [*NATIVE, *known_types()])} GRUB's BIOS boot partition is {BIOS_BOOT}")
    return text


def label(text: str) -> str:
    """Return a label. ``%M`` and ``%A`` in it are the id and the version of the image, ``%%`` is a percent sign."""
    if wrong := re.sub(r"%[MA%]", "", text).count("%"):
        raise ValueError(f"{wrong} specifiers are unknown: write %M (id of the image), %A (its version), or %% for %")
    if len(text.encode("utf-16-le")) > 2 * LABEL_LENGTH or not text.isprintable():
        raise ValueError(f"write at most {LABEL_LENGTH} printable characters")
    return text


def uuid(text: str) -> str:
    """Return a UUID in lower case."""
    try:
        return str(uuids.UUID(text))
    except ValueError:
        raise ValueError("write a UUID, such as the output of uuidgen(1)") from None


def _number(text: str, least: int, most: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,10}", text) or not least <= int(text) <= most:
        raise ValueError(f"write a number from {least} to {most}")
    return int(text)


def priority(text: str) -> int:
    """Return a priority."""
    return _number(text, -(1 << 31), (1 << 31) - 1)


def weight(text: str) -> int:
    """Return a weight."""
    return _number(text, 0, _LARGEST_WEIGHT)


def size(text: str) -> int:
    """Return a size in bytes; units are powers of 1024."""
    if not re.fullmatch(r"[0-9]{1,15}[KMGT]?", text):
        raise ValueError("write a number of bytes, or one with K, M, G or T: 512M")
    return parse_size(text)


def file_system(text: str) -> FileSystem:
    """Return a file system."""
    if text not in list(FileSystem):
        raise ValueError(nearest(text, list(FileSystem)))
    return FileSystem(text)


def path(text: str) -> str:
    """Return an absolute path without `.` and `..`; a / at its end goes."""
    if not text.startswith("/") or {".", ".."} & set(text.split("/")) or "%" in text:
        raise ValueError("write an absolute path without . and .. and %")
    return "/" + "/".join(filter(None, text.split("/")))


def paths(text: str) -> list[str]:
    """Return absolute paths with spaces between them."""
    return [path(word) for word in text.split()]


def copy(text: str) -> Copy:
    """Return `SOURCE` or `SOURCE:TARGET`."""
    source, colon, target = text.partition(":")
    if ":" in target:
        raise ValueError("write SOURCE:TARGET; options after a second colon are not supported")
    return Copy(path(source), path(target) if colon else path(source))


def mount(text: str) -> Mount:
    """Return `PATH` or `PATH:OPTIONS`."""
    place, _, options = text.partition(":")
    if re.search(r"\s", text):
        raise ValueError("write a path and options without spaces")
    return Mount(path(place), options)


def encryption(text: str) -> Encryption:
    """Return a way of encryption."""
    if text not in list(Encryption):
        raise ValueError(f"write one of {', '.join(Encryption)}")
    return Encryption(text)


def verity(text: str) -> Verity:
    """Return what a partition is for dm-verity."""
    if text not in list(Verity):
        raise ValueError(f"write one of {', '.join(Verity)}; signatures of root hashes are not supported")
    return Verity(text)


def word(text: str) -> str:
    """Return a text that is not empty."""
    if not text:
        raise ValueError("write a name that data and hash share")
    return text


def minimize(text: str) -> bool:
    """Return True for `best` and `guess`. Both make partitions as small as the content allows."""
    if text not in ("off", "guess", "best"):
        raise ValueError("write off, guess or best")
    return text != "off"


def boolean(text: str) -> bool:
    """Return a boolean (systemd.syntax(7))."""
    if text.lower() in ("1", "yes", "y", "true", "t", "on"):
        return True
    if text.lower() in ("0", "no", "n", "false", "f", "off"):
        return False
    raise ValueError("write yes or no")
