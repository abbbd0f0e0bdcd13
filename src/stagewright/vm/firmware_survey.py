"""All firmware descriptors of this computer: which are in effect, and which ones programs choose.

Three folders have descriptors: of distributions, of the administrator, of the user. A descriptor overrides those of the
same name in more general folders, and an empty file disables them. Programs take the first one that matches in the
order of names. libvirt reads every regular file that is not hidden, whatever its suffix. For system machines it does
not read the folder of the user (src/qemu/qemu_interop_config.c).
"""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase
from pathlib import Path

from stagewright.lazy_dataclass import dataclass
from stagewright.vm.firmware_descriptor import Descriptor, read_descriptor
from stagewright.vm.firmware_problems import Cause, Problem

SYSTEM_DIRECTORIES = (Path("/usr/share/qemu/firmware"), Path("/etc/qemu/firmware"))
"""Folders of descriptors from distributions and administrators, the most general first."""


class State(enum.StrEnum):
    """State of a file in a folder of descriptors."""

    USABLE = "usable"
    MASKED = "masked"  # another one of the same name is in effect
    MASK = "mask"  # an empty file
    BROKEN = "broken"


@dataclass(frozen=True)
class Entry:
    """A file in a folder of descriptors. ``by`` is the file that masks it."""

    path: Path
    state: State
    descriptor: Descriptor = field(default_factory=Descriptor)
    by: Path | None = None

    @property
    def problems(self) -> list[Problem]:
        """The problems of the descriptor."""
        return self.descriptor.problems

    @property
    def stops_libvirt(self) -> bool:
        """True if libvirt finds no firmware because of this file. Links that lead nowhere do so even if masked."""
        links = (Cause.DANGLING_LINK, Cause.LINK_LOOP)
        dead = any(problem.cause in links for problem in self.problems)
        return dead or (self.state is State.BROKEN and any(problem.stops_libvirt for problem in self.problems))


@dataclass(frozen=True)
class Wish:
    """Demands on a firmware, in libvirt's words: features to have, and features not to have."""

    name: str
    has: frozenset[str] = frozenset()
    has_not: frozenset[str] = frozenset()
    mode: str = "split"


WISHES = (
    Wish("no demands"),
    Wish("secure-boot", frozenset({"secure-boot"})),
    Wish("no secure-boot", has_not=frozenset({"secure-boot"})),
    Wish("enrolled-keys", frozenset({"secure-boot", "enrolled-keys"})),
    Wish("no enrolled-keys", frozenset({"secure-boot"}), frozenset({"enrolled-keys"})),
    Wish("requires-smm", frozenset({"requires-smm"})),
    *(Wish(name, frozenset({name})) for name in ("amd-sev", "amd-sev-es", "amd-sev-snp", "intel-tdx")),
    Wish("stateless", mode="stateless"),
)


def directories(environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return the folders of descriptors, the most general first. The last one is the user's, under XDG_CONFIG_HOME."""
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "/root")) / ".config")
    return (*SYSTEM_DIRECTORIES, Path(home) / "qemu" / "firmware")


def survey(folders: Sequence[Path]) -> list[Entry]:
    """Return the files of all folders, sorted by name. The one in effect is first among those of one name."""
    named: dict[str, list[Path]] = {}
    for folder in reversed(folders):
        for path in _files(folder):
            named.setdefault(path.name, []).append(path)
    return [entry for name in sorted(named) for entry in _entries(named[name])]


def in_effect(entries: Sequence[Entry]) -> list[Entry]:
    """Return the usable and the broken entries, in the order in which programs look at them."""
    return [entry for entry in entries if entry.state in (State.USABLE, State.BROKEN)]


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:  # missing, or not for this user: programs skip it
        return []


def _entries(paths: Sequence[Path]) -> Iterator[Entry]:
    """Yield the entries of files of one name, the most specific first."""
    by: Path | None = None
    for path in paths:
        if by is not None:
            yield Entry(path, State.MASKED, read_descriptor(path), by)
            continue
        if _is_empty(path):
            yield Entry(path, State.MASK)
            by = path
            continue
        descriptor = read_descriptor(path)
        yield Entry(path, State.BROKEN if descriptor.problems else State.USABLE, descriptor)
        if not any(problem.cause is Cause.NOT_REGULAR for problem in descriptor.problems):
            by = path


def _is_empty(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and not status.st_size


def mismatch(descriptor: Descriptor, machine: str, architecture: str) -> str:
    """Return why a descriptor is not for UEFI on a machine, or an empty text if it is."""
    if "uefi" not in descriptor.interfaces:
        return "is not UEFI"
    if not any(
        target.architecture == architecture and any(fnmatchcase(machine, pattern) for pattern in target.machines)
        for target in descriptor.targets
    ):
        return f"is not for {architecture} {machine}"
    return ""


def libvirt_choice(entries: Sequence[Entry], machine: str, architecture: str, wish: Wish) -> Entry | None:
    """Return the descriptor that libvirt chooses for UEFI, also if the files that it names are unusable.

    Returns the entry that stops libvirt if there is one.
    """
    for entry in entries:
        if entry.stops_libvirt:
            return entry
    for entry in in_effect(entries):
        found = entry.descriptor
        fits = found.device in ("flash", "memory") and (found.device != "flash" or found.mode == wish.mode)
        if fits and not mismatch(found, machine, architecture) and _grants(found.features, wish):
            return entry
    return None


def _grants(features: frozenset[str], wish: Wish) -> bool:
    return wish.has <= features and not wish.has_not & features
