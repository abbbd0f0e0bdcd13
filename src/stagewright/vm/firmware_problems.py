"""Problems of firmware descriptors, by a name for programs and a sentence for users."""

from __future__ import annotations

import enum

from stagewright.lazy_dataclass import dataclass


class Cause(enum.StrEnum):
    """Cause of a problem, for tests and programs. Causes do not change; sentences can."""

    # the descriptor as a file
    DANGLING_LINK = "dangling-link"
    LINK_LOOP = "link-loop"
    NOT_REGULAR = "not-regular"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too-large"
    # its JSON
    NOT_UTF8 = "not-utf8"
    BAD_JSON = "bad-json"
    DUPLICATE_KEY = "duplicate-key"
    MISSING_KEY = "missing-key"
    WRONG_TYPE = "wrong-type"
    UNKNOWN_VALUE = "unknown-value"
    EMPTY_LIST = "empty-list"
    NO_MACHINES = "no-machines"
    # the files that it names
    RELATIVE_PATH = "relative-path"
    FILE_MISSING = "file-missing"
    FILE_UNREADABLE = "file-unreadable"
    FILE_NOT_REGULAR = "file-not-regular"
    FILE_EMPTY = "file-empty"
    WRONG_FORMAT = "wrong-format"
    WRONG_SIZE = "wrong-size"
    NOT_FIRMWARE = "not-firmware"
    NOT_VARIABLES = "not-variables"
    PAIR_MISMATCH = "pair-mismatch"
    NO_KEYS = "no-keys"


REFUSED_BY_LIBVIRT = frozenset(
    {
        *(Cause.DANGLING_LINK, Cause.LINK_LOOP, Cause.UNREADABLE, Cause.TOO_LARGE, Cause.NOT_UTF8, Cause.BAD_JSON),
        *(Cause.DUPLICATE_KEY, Cause.MISSING_KEY, Cause.WRONG_TYPE, Cause.UNKNOWN_VALUE),
    }
)
"""Causes that end libvirt's search for firmware with an error, for every machine (src/qemu/qemu_firmware.c).

libvirt does not check the files that a descriptor names.
"""


@dataclass(frozen=True)
class Problem:
    """One problem of a descriptor. ``text`` is a sentence without the name of the descriptor."""

    cause: Cause
    text: str

    @property
    def stops_libvirt(self) -> bool:
        """True if libvirt finds no firmware at all while this descriptor is in effect."""
        return self.cause in REFUSED_BY_LIBVIRT
