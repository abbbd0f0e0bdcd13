"""Partition types by the names of repart.d(5), and their GUIDs (Discoverable Partitions Specification).

GUIDs of ``root`` and ``usr`` depend on the architecture, so that a machine mounts no root of another architecture.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources

from stagewright.arch import Machine

_ARCHES: Mapping[str, str] = {
    "alpha": "alpha",
    "x86_64": "x86-64",
    "i386": "x86",
    "arm": "arm",
    "aarch64": "arm64",
    "hppa": "parisc",
    "loongarch64": "loongarch64",
    "mips": "mips",
    "mipsel": "mips-le",
    "mips64": "mips64",
    "mips64el": "mips64-le",
    "ppc": "ppc",
    "ppc64": "ppc64",
    "ppc64le": "ppc64-le",
    "riscv32": "riscv32",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
"""The specification's names of architectures, by QEMU's name. It has no types for m68k and sparc."""

BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
"""The partition that GRUB for BIOS keeps its core image in. It has no name in repart.d(5)."""

NATIVE = tuple(f"{what}{suffix}" for what in ("root", "usr") for suffix in ("", "-verity", "-verity-sig"))
"""Names that stand for the type of the image's architecture."""

_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@functools.cache
def known_types() -> Mapping[str, str]:
    """Return all types with an architecture in their name or without one: GUIDs in lower case, by name."""
    text = (resources.files(__package__) / "partition-types.txt").read_text(encoding="utf-8")
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return dict((name, guid) for name, guid in lines)  # noqa: C402  two words a line


def is_type(word: str) -> bool:
    """Return True if a word is a name of repart.d(5) or a GUID."""
    return word in NATIVE or word in known_types() or bool(_GUID.fullmatch(word.lower()))


def is_supported(machine: Machine) -> bool:
    """Return True if the specification has types for the roots of a machine."""
    return machine.qemu in _ARCHES


def guid_of(word: str, machine: Machine) -> str:
    """Return the GUID of a type, in upper case as sfdisk(8) prints it. The caller has checked word and machine."""
    if word in NATIVE:
        what, _, suffix = word.partition("-")
        word = "-".join(filter(None, [what, _ARCHES[machine.qemu], suffix]))
    return known_types().get(word, word).upper()


def role_of(word: str) -> str:
    """Return the name of a type without its architecture: `root-arm64-verity` is `root-verity`. A GUID stays."""
    by_guid = {guid: name for name, guid in known_types().items()}
    name = by_guid.get(word.lower(), word)
    what, _, rest = name.partition("-")
    if what not in ("root", "usr") or name in NATIVE:
        return name
    for suffix in ("-verity-sig", "-verity"):
        if rest.endswith(suffix):
            return f"{what}{suffix}"
    return what
