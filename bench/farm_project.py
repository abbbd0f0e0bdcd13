"""A small project for farms: roots with a shell and nothing else, nodes of about a second, and an arm64 root."""

from __future__ import annotations

import random
import shutil
import struct
from pathlib import Path

PROJECT = """
format = 1
[project]
name = "farmed"
version = "1"
source_date_epoch = 2026-11-20
[seeds.small]
file = "tree"
[stages.left]
kind = "stage4"
root = "small"
root_overlay = ["left"]
script = "script"
[stages.right]
kind = "stage4"
root = "small"
root_overlay = ["right"]
script = "script"
[stages.top]
kind = "stage4"
root = "left"
root_overlay = ["right"]
script = "script"
[stages.top-tar]
kind = "tarball"
root = "top"
[stages.right-tar]
kind = "tarball"
root = "right"
compression = "none"
"""

ARM64 = """
[seeds.arm]
file = "tree-arm64"
arch = "arm64"
[stages.arm-root]
kind = "stage4"
root = "arm"
script = "script"
[stages.arm-tar]
kind = "tarball"
root = "arm-root"
"""

NODES = ("seed:small", "left", "right", "top", "top-tar", "right-tar")
ARM64_NODES = ("seed:arm", "arm-root", "arm-tar")

MADE = "made-by-arm64"
"""The file that the program of the arm64 root makes."""

_SCRIPT = "#!/bin/sh\nsleep {seconds}\nsha256sum /data-* > /sums\n"
_ADDRESS = 0x400000


def write(folder: Path, seed: str, *, size: int = 1 << 20, seconds: float = 1.0, arm64: bool = False) -> Path:
    """Write the project. Two ``seed`` differ in all nodes. Roots have random files of ``size`` bytes."""
    chosen = random.Random(seed)
    (folder / "tree/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", folder / "tree/bin/busybox")
    for name in ("sh", "sleep", "sha256sum"):
        (folder / "tree/bin" / name).symlink_to("busybox")
    for name in ("tree", "left", "right"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / f"data-{name}").write_bytes(chosen.randbytes(size))
    _script(folder / "script", _SCRIPT.format(seconds=seconds))
    if arm64:
        _script(folder / "tree-arm64/bin/sh", arm64_program())
        (folder / "tree-arm64/data").write_bytes(chosen.randbytes(size))
    (folder / "stagewright.toml").write_text(PROJECT + (ARM64 if arm64 else ""))
    return folder


def _script(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o755)


def arm64_program() -> bytes:
    """Return a static program for arm64 that makes the empty file :data:`MADE` and ends with exit code 0.

    The instructions are those of the Arm Architecture Reference Manual, the system calls those of Linux for arm64.
    """
    code = [
        0x92800000 | 99 << 5 | 0,  # movn x0, #99: AT_FDCWD
        0,  # adr x1, path
        _movz(2, 0o1101),  # O_WRONLY | O_CREAT | O_TRUNC
        _movz(3, 0o644),
        _movz(8, 56),  # openat
        0xD4000001,  # svc #0
        0xD37FFC00,  # lsr x0, x0, #63: 1 if it failed
        _movz(8, 93),  # exit
        0xD4000001,
    ]
    distance = 4 * (len(code) - 1)
    code[1] = 0x10000000 | (distance & 3) << 29 | (distance >> 2) << 5 | 1
    body = struct.pack(f"<{len(code)}I", *code) + f"/{MADE}\0".encode()
    start = 64 + 56
    size = start + len(body)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, _ADDRESS + start, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _ADDRESS, _ADDRESS, size, size, 0x1000)
    return head + segment + body


def _movz(register: int, value: int) -> int:
    return 0xD2800000 | value << 5 | register
