"""Programs of other architectures: the kernel runs them with QEMU's user emulation (binfmt_misc).

Since Linux 6.7 a user namespace has its own binfmt_misc: a worker registers an emulator there, and it ends with the
worker. Before, only the one of the whole computer exists. A worker can neither see nor change it, so an administrator
registers emulators, and the engine shows them to the worker (:func:`of_the_computer`). Builds with the ids of the host
register there, too (docs/decisions/007). The kernel keeps an emulator open (flag ``F``), so no root needs a copy. See
Documentation/admin-guide/binfmt-misc.rst of the kernel.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from stagewright import ids
from stagewright.arch import HEADER, Machine, matches
from stagewright.chroot import inside
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.root.files import exists
from stagewright.run import PATH, run

BINFMT = Path("/proc/sys/fs/binfmt_misc")

VISIBLE = "STAGEWRIGHT_BINFMT"
"""Variable of the environment of a worker with the entries of the whole computer, as JSON by name."""

FLAGS = "POF"
"""P: keep argv[0]. O: open the program for the emulator. F: open the emulator now, for all roots."""

PROGRAMS = ("bin/sh", "lib*/ld*.so*", "bin/*", "usr/bin/*")
"""Patterns of programs that identify the machine of a root, the most common ones first."""

_PT_INTERP = 3


@dataclass(frozen=True)
class Handler:
    """An entry of binfmt_misc: a program that runs files with a certain magic."""

    name: str
    interpreter: str
    flags: str
    magic: bytes
    mask: bytes

    @classmethod
    def read(cls, name: str, text: str) -> Handler | None:
        """Return the entry that a text of the kernel describes; None if it is disabled or matches by file extension."""
        state, *lines = text.splitlines()
        values = {name: value for name, _, value in (line.partition(" ") for line in lines)}
        if state != "enabled" or values.get("offset") != "0":
            return None
        magic = bytes.fromhex(values["magic"])
        mask = bytes.fromhex(values["mask"]) if "mask" in values else b"\xff" * len(magic)
        return cls(name, values["interpreter"], values.get("flags:", ""), magic, mask)

    def serves(self, machine: Machine, root: Path | None) -> bool:
        """Return True if it runs programs of a machine in a root: its emulator is open, or is a file of the root."""
        held = "F" in self.flags or (root is not None and exists(root, self.interpreter))
        return held and matches(machine.magic[0], self.magic, self.mask) and not self._is_stale(machine)

    def _is_stale(self, machine: Machine) -> bool:
        """Return True if Stagewright registered it and the file of the emulator was replaced since."""
        program = find_emulator(machine)
        return bool(program and self.name.startswith(_prefix(machine)) and self.name != _name(machine, program))


def machine_of(root: Path) -> Machine | None:
    """Return the machine of the programs in a root; None for a root without programs."""
    return inside(root, _look)


def _look() -> Machine | None:
    for path in (path for pattern in PROGRAMS for path in sorted(Path("/").glob(pattern))):
        with contextlib.suppress(OSError):
            if path.is_file() and (machine := Machine.of(_head(path, HEADER))):
                return machine
    return None


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as stream:
        return stream.read(size)


def names(machine: Machine) -> tuple[str, str]:
    """Return the names of the emulator of a machine: that of Debian, and that of QEMU."""
    return f"qemu-{machine.qemu}-static", f"qemu-{machine.qemu}"


def find_emulator(machine: Machine) -> Path | None:
    """Return the static emulator of this computer for a machine. A dynamic one would need libraries in the root."""
    found = (shutil.which(name, path=PATH) for name in names(machine))
    return next((Path(path) for path in found if path and _is_static(Path(path))), None)


def _is_static(program: Path) -> bool:
    """Return True if a program has no interpreter (elf(5))."""
    head = _head(program, 4096)
    if Machine.of(head) is None:
        return False
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    (table,) = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", head, 32 if wide else 28)
    size, count = struct.unpack_from(f"{order}HH", head, 54 if wide else 42)
    types = (struct.unpack_from(f"{order}I", head, table + number * size)[0] for number in range(count))
    return _PT_INTERP not in types


def unserved(machines: Iterable[Machine], root: Path | None = None) -> list[Machine]:
    """Return the machines that no registered emulator serves, in any root or in the given one.

    In a user namespace of a kernel before Linux 6.7, the entries of the computer count. If the engine could not see
    them, as in most containers, every emulator counts as registered.
    Raises: HOST_FEATURE if the kernel does not support the registration of emulators.
    """
    foreign = [machine for machine in machines if machine.is_foreign]
    try:
        known = _handlers() if foreign else []
    except StagewrightError:
        if not ids.is_private():
            raise
        if VISIBLE not in os.environ:
            return []
        known = _read(json.loads(os.environ[VISIBLE]))
    return [machine for machine in foreign if not any(handler.serves(machine, root) for handler in known)]


def register(machine: Machine, program: Path) -> None:
    """Register the emulator of a machine with the kernel. Raises: HOST_FEATURE if the kernel rejects it."""
    name = _name(machine, program)
    magic, mask = ("".join(f"\\x{byte:02x}" for byte in data) for data in machine.magic)
    try:
        with contextlib.suppress(FileExistsError):  # another worker was faster
            (BINFMT / "register").write_text(f":{name}:M::{magic}:{mask}:{program}:{FLAGS}", encoding="utf-8")
        for former in BINFMT.glob(f"{_prefix(machine)}*"):
            if former.name != name:
                with contextlib.suppress(FileNotFoundError):
                    former.write_text("-1", encoding="utf-8")
    except OSError as error:
        raise _refused(str(error)) from error


def _prefix(machine: Machine) -> str:
    return f"stagewright-{machine.qemu}-"


def _name(machine: Machine, program: Path) -> str:
    """Return the name of our entry. It differs for each file, because the kernel keeps the file that it has opened."""
    info = program.stat()
    return _prefix(machine) + hashlib.sha256(f"{program} {info.st_ino} {info.st_mtime_ns}".encode()).hexdigest()[:8]


def of_the_computer() -> dict[str, str]:
    """Return the variable :data:`VISIBLE` for a worker; nothing if this process sees no entries of the computer."""
    try:
        return {VISIBLE: json.dumps(_entries())} if (BINFMT / "register").exists() else {}
    except OSError:
        return {}


def _handlers() -> list[Handler]:
    """Return all entries of the kernel. If needed, mount binfmt_misc in the namespace of this process."""
    if not (BINFMT / "register").exists():
        try:
            run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT])
        except StagewrightError as error:
            raise _refused(error.detail) from error
    return _read(_entries())


def _entries() -> dict[str, str]:
    """Return the texts of all entries, by name."""
    found = {}
    for path in BINFMT.iterdir():
        if path.name not in ("register", "status"):
            with contextlib.suppress(FileNotFoundError):  # another worker has removed it
                found[path.name] = path.read_text(encoding="utf-8")
    return found


def _read(entries: Mapping[str, str]) -> list[Handler]:
    return list(filter(None, (Handler.read(name, text) for name, text in entries.items())))


def _refused(detail: str) -> StagewrightError:
    return StagewrightError(
        Reason.HOST_FEATURE,
        "the kernel does not accept emulators for programs of other architectures",
        detail=detail,
        hint="as root: install a static qemu-user that registers itself (flag F); in a container, do so on the host",
    )
