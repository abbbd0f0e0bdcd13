"""Test whether this computer can run guests under KVM by running one.

``/dev/kvm`` can exist and not work: in some clouds QEMU aborts because of a register, or real mode works and the first
x87 instruction fails with "KVM internal error". So a guest of one boot sector switches from real to 64-bit mode with
paging, and ends QEMU with a code that it computes in floating point.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from pathlib import Path

import pydantic

from stagewright import run
from stagewright.arch import host_machine
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.temporary import temporary_folder

LIMIT = 15.0
"""Time limit of the guest in seconds. It needs 0.1 s if KVM works."""

SECTOR = bytes.fromhex(
    "fa 31c0 8ed8 8ec0"  #               cli; ds = es = 0
    "bf0010 6631c0 b9000c 66f3ab"  #     clear three pages from 0x1000
    "c70600100320 c70600200330"  #       PML4[0] = 0x2003; PDPT[0] = 0x3003
    "c70600308300"  #                    PD[0] = 0x83: the first 2 MiB, mapped to themselves
    "66b800100000 0f22d8"  #             cr3 = 0x1000
    "66b820060000 0f22e0"  #             cr4 = PAE, OSFXSR, OSXMMEXCPT
    "66b9800000c0 66b800010000"  #       ecx = EFER; eax = LME
    "6631d2 0f30"  #                     wrmsr
    "66b833000080 0f22c0"  #             cr0 = PG, NE, ET, MP, PE
    "0f0116907c ea5b7c0800"  #           lgdt [0x7c90]; jump to 64-bit code at 0x7c5b
    "dbe3 9b"  #                         fninit; fwait: broken KVMs fail here
    "b806000000 f20f2ac0"  #             xmm0 = 6.0
    "b807000000 f20f2ac8"  #             xmm1 = 7.0
    "f20f59c1 f20f2cc0"  #               eax = xmm0 * xmm1
    "e6f4 f4 ebfd 0f1f00"  #             out 0xf4, al: isa-debug-exit; endless hlt
    "0000000000000000 00000000009a2000"  # GDT: null, 64-bit code
    "0f00 807c0000"  #                   its limit and address
)
PROBED = "x86_64"
"""Architecture of the guest."""

PROVEN = 42 << 1 | 1
"""QEMU's exit code if the guest wrote 42 to isa-debug-exit (hw/misc/debugexit.c: ``(value << 1) | 1``)."""

_FATAL = "KVM internal error"

_TEST_MACHINE = "-machine q35 -m 64 -no-user-config -nodefaults -no-reboot -display none -serial none -monitor none"


@dataclass(frozen=True)
class Acceleration:
    """The way guests run: ``name`` is ``kvm`` or ``tcg``, ``arguments`` are QEMU's, ``why`` is the reason for users."""

    name: str
    arguments: tuple[str, ...]
    why: str


class _Entry(pydantic.BaseModel):
    works: bool
    why: str


def kvm(why: str) -> Acceleration:
    """Return the acceleration where the processor runs the guest."""
    return Acceleration("kvm", ("-accel", "kvm", "-cpu", "max"), why)


def tcg(why: str, cpu: str = "max") -> Acceleration:
    """Return the acceleration where QEMU translates the guest's instructions."""
    return Acceleration("tcg", ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", cpu), why)


TCG_CPUS = {"aarch64": "max,pauth-impdef=on"}
"""Emulated processors other than ``max``. Arm's algorithm for signed pointers is several times slower than QEMU's
(QEMU's manual, Arm CPU features)."""


def of(architecture: str, cache: Path | None = None) -> Acceleration:
    """Return the acceleration for guests of an architecture (QEMU's name) on this computer."""
    own, cpu = host_machine().qemu, TCG_CPUS.get(architecture, "max")
    if architecture != own:
        return tcg(f"{architecture} is emulated on {own}", cpu)
    return probe(cache=cache) if own == PROBED else tcg(f"KVM is only supported on {PROBED}", cpu)


def probe(
    qemu: str = "qemu-system-x86_64",
    *,
    cache: Path | None = None,
    device: Path = Path("/dev/kvm"),
    limit: float = LIMIT,
) -> Acceleration:
    """Return the acceleration to use on this computer.

    Certain results are stored in the JSON file ``cache``, by kernel release, processor and QEMU program. A timeout is
    not stored, because a busy computer can cause it. Raises ``MISSING_TOOL`` without QEMU.
    """
    program = shutil.which(qemu, path=run.PATH)
    if program is None:
        raise StagewrightError(Reason.MISSING_TOOL, f"{qemu} is not installed", hint=INSTALL)
    if not device.exists():
        return tcg(f"{device} does not exist")
    if not os.access(device, os.R_OK | os.W_OK):
        return tcg(f"no permission to use {device}; add the user to its group (usually kvm)")
    key = _key(Path(program))
    entry = _recall(cache, key)
    if entry is None:
        entry, proven = _try_kvm(program, limit)
        if cache and proven:
            _remember(cache, key, entry)
    return kvm(entry.why) if entry.works else tcg(entry.why)


INSTALL = (
    "install QEMU: qemu-system-x86 (for arm64: qemu-system-arm) on Debian and Ubuntu; app-emulation/qemu on Gentoo"
)


def _try_kvm(program: str, limit: float) -> tuple[_Entry, bool]:
    """Run a guest under KVM. Return the result, and True if the result is certain."""
    with temporary_folder("kvm") as folder:
        disk = folder / "disk"
        disk.write_bytes(SECTOR.ljust(510, b"\0") + b"\x55\xaa" + bytes((1 << 20) - 512))  # SeaBIOS needs a full track
        command = (
            *("setpriv", "--pdeathsig", "KILL", "--", program, *kvm("").arguments, *_TEST_MACHINE.split()),
            *("-drive", f"file={disk},format=raw,if=none,id=disk", "-device", "virtio-blk-pci,drive=disk"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        )
        said = folder / "said"
        with said.open("wb") as stream:
            process = run.spawn(command, stdout=stream, stderr=run.STDOUT, own_session=True)
        try:
            code = _await_exit(process, said, limit)
        finally:
            process.kill()
            process.wait()
        text = said.read_text(encoding="utf-8", errors="replace")
    if code == PROVEN:
        return _Entry(works=True, why="a guest ran under KVM"), True
    if code in run.KILLED:
        return _Entry(works=False, why=f"KVM exists, but the test guest was {run.describe(code)}"), False
    if code is not None or _FATAL in text:
        return _Entry(works=False, why=f"KVM exists but does not run guests: {_error_line(text, code)}"), True
    return _Entry(works=False, why=f"KVM exists, but a test guest timed out after {limit:g} s"), False


def _error_line(text: str, code: int | None) -> str:
    """Return the first line of QEMU's messages with an error, or else the first line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or [f"QEMU ended with exit code {code}"])[0]


def _await_exit(process: run.Process, said: Path, limit: float) -> int | None:
    """Return QEMU's exit code, or None after the time limit or a fatal error."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        code = process.poll()
        if code is not None or _FATAL in said.read_text(encoding="utf-8", errors="replace"):
            return code
        time.sleep(0.02)
    return None


def _key(program: Path) -> str:
    program = program.resolve()
    return f"{platform.release()} {_processor()} {program} {program.stat().st_mtime_ns}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _recall(cache: Path | None, key: str) -> _Entry | None:
    try:
        return _Entry.model_validate(json.loads(cache.read_bytes())[key]) if cache else None
    except (OSError, ValueError, KeyError, TypeError):  # missing or damaged: probe again
        return None


def _remember(cache: Path, key: str, entry: _Entry) -> None:
    """Write this result and remove those of other kernels and QEMU programs, which are stale."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    part = cache.with_name(f"{cache.name}.{os.getpid()}")
    part.write_text(json.dumps({key: entry.model_dump()}, indent=1) + "\n", encoding="utf-8")
    part.replace(cache)
