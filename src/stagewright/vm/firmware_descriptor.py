"""Read one firmware descriptor (docs/interop/firmware.json in QEMU's sources).

A descriptor is checked as libvirt checks it (src/qemu/qemu_firmware.c), and the files that it names as QEMU does. All
problems are collected, and the parts without problems are kept for a corrected descriptor.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections import Counter
from dataclasses import field
from pathlib import Path
from typing import Any

from stagewright.lazy_dataclass import dataclass
from stagewright.vm.firmware_images import Flash, check_files
from stagewright.vm.firmware_problems import Cause, Problem

LARGEST = 1 << 20
"""Most bytes of a descriptor. Real ones have less than 2 KiB. libvirt reads up to 1 MiB (DOCUMENT_SIZE)."""

INTERFACES = ("bios", "openfirmware", "uboot", "uefi")
DEVICES = ("flash", "kernel", "memory", "igvm")
MODES = ("split", "combined", "stateless")
FORMATS = ("raw", "qcow2")
ARCHITECTURES = (
    *("aarch64", "arm", "i386", "loongarch64", "riscv64", "x86_64", "riscv32", "ppc", "ppc64", "s390x", "sparc"),
    *("sparc64", "mips", "mipsel", "mips64", "mips64el", "alpha", "hppa", "m68k", "sh4", "xtensa", "microblaze"),
)
FEATURES = (
    *("acpi-s3", "acpi-s4", "amd-sev", "amd-sev-es", "amd-sev-snp", "intel-tdx", "enrolled-keys", "host-uefi-vars"),
    *("requires-smm", "secure-boot", "verbose-dynamic", "verbose-static"),
)
"""Features of QEMU 10. libvirt ignores other ones, so they are not problems."""

_TYPES: dict[type[Any], str] = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}


@dataclass(frozen=True)
class Target:
    """An architecture, and patterns of its machine types."""

    architecture: str
    machines: tuple[str, ...]


@dataclass
class Descriptor:
    """The content of a descriptor, with the problems that were found. Parts with problems are empty or missing."""

    document: dict[str, Any] = field(default_factory=dict)
    interfaces: tuple[str, ...] = ()
    device: str = ""
    mode: str = "split"
    code: Flash | None = None
    variables: Flash | None = None
    targets: tuple[Target, ...] = ()
    features: frozenset[str] = frozenset()
    problems: list[Problem] = field(default_factory=list)

    @property
    def architectures(self) -> frozenset[str]:
        """The architectures of the targets."""
        return frozenset(target.architecture for target in self.targets)

    @property
    def notes(self) -> list[str]:
        """Oddities of the features that do no harm."""
        unknown = sorted(self.features.difference(FEATURES))
        notes = [f"unknown features are ignored: {', '.join(unknown)}"] if unknown else []
        if {"verbose-dynamic", "verbose-static"} <= self.features:
            notes.append("verbose-dynamic and verbose-static exclude each other")
        if "enrolled-keys" in self.features and "secure-boot" not in self.features:
            notes.append("enrolled-keys has no effect without secure-boot")
        if self.variables and self.variables.format != "raw":
            notes.append(f"libvirt before 9.2 refuses the format {self.variables.format}")
        return notes


def read_descriptor(path: Path) -> Descriptor:
    """Read and check a descriptor, and the files that it names."""
    text = _text_of(path)
    if isinstance(text, Problem):
        return Descriptor(problems=[text])
    found = Descriptor()
    document = _document(text, found.problems)
    if document is None:
        return found
    found.document = document
    reader = _Reader(found.problems)
    found.interfaces = reader.choices(document, "interface-types", INTERFACES)
    _read_mapping(reader, document, found)
    found.targets = _read_targets(reader, document)
    features = reader.strings(document, "features")
    found.features = frozenset(features or ())
    if found.code:
        uefi, keys = "uefi" in found.interfaces, "enrolled-keys" in found.features
        found.problems += check_files(found.code, found.variables, found.architectures, uefi=uefi, keys=keys)
    return found


def _text_of(path: Path) -> bytes | Problem:
    """Return the bytes of a descriptor. Nothing but a regular file is opened: a FIFO would block."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Problem(Cause.NOT_REGULAR, "not a regular file, so libvirt skips it")
        if status.st_size > LARGEST:
            return Problem(Cause.TOO_LARGE, f"{status.st_size} bytes; descriptors have at most {LARGEST}")
        return path.read_bytes()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return Problem(Cause.LINK_LOOP, "a symbolic link that leads back to itself")
        if error.errno == errno.ENOENT and path.is_symlink():
            return Problem(Cause.DANGLING_LINK, f"a symbolic link to {path.readlink()}, which does not exist")
        return Problem(Cause.UNREADABLE, f"cannot be read: {error.strerror}")


def _document(text: bytes, problems: list[Problem]) -> dict[str, Any] | None:
    """Return the object in a JSON text, or None after a problem."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for key, count in Counter(key for key, _ in items).items() if count > 1]
        problems.extend(Problem(Cause.DUPLICATE_KEY, f"the key {key!r} is there twice") for key in twice)
        return dict(items)

    try:
        document = json.loads(text.decode("utf-8"), object_pairs_hook=pairs)
    except UnicodeDecodeError as error:
        problems.append(Problem(Cause.NOT_UTF8, f"not UTF-8 at byte {error.start}"))
        return None
    except json.JSONDecodeError as error:
        problems.append(Problem(Cause.BAD_JSON, f"invalid JSON at {error.lineno}:{error.colno}: {error.msg}"))
        return None
    except (RecursionError, ValueError) as error:  # also numbers with thousands of digits
        problems.append(Problem(Cause.BAD_JSON, f"invalid JSON: {error}"))
        return None
    if not isinstance(document, dict):
        problems.append(Problem(Cause.WRONG_TYPE, f"the file is {_type(document)}, not an object"))
        return None
    return document


def _read_mapping(reader: _Reader, document: dict[str, Any], found: Descriptor) -> None:
    mapping = reader.value(document, "mapping", dict)
    if mapping is None:
        return
    found.device = reader.choice(mapping, "device", DEVICES, "mapping.") or ""
    if found.device in ("kernel", "memory", "igvm"):
        name = reader.file_name(mapping, "mapping.")
        found.code = Flash(Path(name)) if name else None
        found.mode = ""
    if found.device != "flash":
        return
    if "mode" in mapping:
        found.mode = reader.choice(mapping, "mode", MODES, "mapping.") or "split"
    found.code = _read_file(reader, mapping, "executable")
    if found.mode == "split":
        found.variables = _read_file(reader, mapping, "nvram-template")


def _read_file(reader: _Reader, mapping: dict[str, Any], key: str) -> Flash | None:
    value = reader.value(mapping, key, dict, "mapping.")
    if value is None:
        return None
    prefix = f"mapping.{key}."
    name = reader.file_name(value, prefix)
    kind = reader.choice(value, "format", FORMATS, prefix)
    return Flash(Path(name), kind or "raw") if name else None


def _read_targets(reader: _Reader, document: dict[str, Any]) -> tuple[Target, ...]:
    found = []
    for number, item in enumerate(reader.value(document, "targets", list) or ()):
        prefix = f"targets[{number}]."
        if not isinstance(item, dict):
            reader.problems.append(Problem(Cause.WRONG_TYPE, f"targets[{number}] is {_type(item)}, not an object"))
            continue
        architecture = reader.choice(item, "architecture", ARCHITECTURES, prefix)
        machines = reader.strings(item, "machines", prefix)
        if machines == ():
            reader.problems.append(Problem(Cause.NO_MACHINES, f"{prefix}machines is empty, so no machine matches"))
        if architecture and machines:
            found.append(Target(architecture, machines))
    if document.get("targets") == []:
        reader.problems.append(Problem(Cause.NO_MACHINES, "targets is empty, so no machine matches"))
    return tuple(found)


class _Reader:
    """Take values out of JSON objects, and collect what is wrong with them."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems

    def value(self, source: dict[str, Any], key: str, kind: type[Any], prefix: str = "") -> Any:
        """Return a value of a type, or None after a problem."""
        if key not in source:
            self.problems.append(Problem(Cause.MISSING_KEY, f"{prefix}{key} is missing"))
            return None
        value = source[key]
        if not isinstance(value, kind):
            wanted = _TYPES[kind]
            self.problems.append(Problem(Cause.WRONG_TYPE, f"{prefix}{key} is {_type(value)}, not {wanted}"))
            return None
        return value

    def choice(self, source: dict[str, Any], key: str, known: tuple[str, ...], prefix: str = "") -> str | None:
        """Return one of several known strings, or None after a problem."""
        value: str | None = self.value(source, key, str, prefix)
        if value is None or value in known:
            return value
        text = f"{prefix}{key} is unknown (found {value!r}, known are {', '.join(known[:6])})"
        self.problems.append(Problem(Cause.UNKNOWN_VALUE, text))
        return None

    def file_name(self, source: dict[str, Any], prefix: str) -> str | None:
        """Return ``filename``, or None after a problem."""
        value: str | None = self.value(source, "filename", str, prefix)
        try:
            if value is None or (value and b"\0" not in os.fsencode(value)):
                return value
        except UnicodeEncodeError:
            pass
        self.problems.append(Problem(Cause.WRONG_TYPE, f"{prefix}filename cannot be the name of a file"))
        return None

    def strings(self, source: dict[str, Any], key: str, prefix: str = "") -> tuple[str, ...] | None:
        """Return a list of strings, or None after a problem."""
        value = self.value(source, key, list, prefix)
        if value is None:
            return None
        for item in value:
            if not isinstance(item, str):
                text = f"{prefix}{key} has {_type(item)}; all items must be strings"
                self.problems.append(Problem(Cause.WRONG_TYPE, text))
                return None
        return tuple(value)

    def choices(self, source: dict[str, Any], key: str, known: tuple[str, ...]) -> tuple[str, ...]:
        """Return a list of known strings, without those that are unknown."""
        values = self.strings(source, key)
        if values == ():
            self.problems.append(Problem(Cause.EMPTY_LIST, f"{key} is empty"))
        for value in values or ():
            if value not in known:
                text = f"{key} has an unknown value (found {value!r}, known are {', '.join(known)})"
                self.problems.append(Problem(Cause.UNKNOWN_VALUE, text))
        return tuple(value for value in values or () if value in known)


def _type(value: object) -> str:
    """Return the JSON type of a value, with its article."""
    return _TYPES.get(type(value), "null" if value is None else "a number")
