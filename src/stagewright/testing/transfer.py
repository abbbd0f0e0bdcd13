"""Copy files to and from a guest over its console: base64 in pieces, with the digest of each piece or of the file.

This works for every guest with a shell, ``base64`` and ``sha256sum``, and needs neither a network nor a driver. A
megabyte takes some minutes in an emulated machine; machines with SSH copy by it instead.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import shlex
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.testing.shell import Shell, failed

_LINE = 1125
"""Bytes of a typed line: 1500 characters as base64. A terminal takes 4096 characters (termios(3)): two lines."""

_WINDOW = 2
"""Number of lines that are typed before the guest acknowledges the first one."""

_PIECE = 24576
"""Bytes of a piece that the guest prints."""

_ATTEMPTS = 5
"""Number of times that a piece is read. A message of the kernel between its lines destroys it."""


def copy_to(shell: Shell, source: Path, target: str, timeout: float | None = None) -> None:
    """Copy a file of this computer to a path in the guest. Raises ``BOOT_FAILED`` if its digest differs there."""
    data = source.read_bytes()
    place = shlex.quote(target)
    status, output = shell.run(f": > {place}", timeout)
    if status:
        raise failed(f"{target}: cannot be written", output)
    if data:
        _type(shell, data, place)
    expected = hashlib.sha256(data).hexdigest()
    found = _digest(shell, place, timeout)
    if found != expected:
        raise failed(f"{target}: the copy differs (sha256 {found}, expected {expected})")
    if source.stat().st_mode & 0o100:
        shell.run(f"chmod +x {place}", timeout)


def copy_from(shell: Shell, source: str, target: Path, timeout: float | None = None) -> None:
    """Copy a file of the guest to a path of this computer. Raises ``BOOT_FAILED`` if it cannot be read."""
    place = shlex.quote(source)
    status, output = shell.run(f"wc -c < {place}", timeout)
    found = re.search(r"^\s*(\d+)\s*$", output, re.MULTILINE)
    if status or not found:
        raise failed(f"{source}: cannot be read", output)
    size = int(found[1])
    data = b"".join(_piece(shell, place, number, timeout) for number in range(-(-size // _PIECE)))
    digest = hashlib.sha256(data).hexdigest()
    if digest != (expected := _digest(shell, place, timeout)):
        raise failed(f"{source}: changed while it was copied (sha256 {digest}, expected {expected})")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def _type(shell: Shell, data: bytes, place: str) -> None:
    """Type a file into a loop of the guest's shell, which decodes each line and acknowledges it."""
    mark = f"sw{secrets.token_hex(4)}"
    console, what = shell.console, "the shell to take a piece of a file"
    loop = f'while read -r l && [ "$l" != . ]; do printf %s "$l" | base64 -d >> {place}; echo "{mark}""+"; done'
    console.send(f'stty -echo; echo "{mark}""<"; {loop}; stty echo; echo "{mark}"">"\n')
    console.expect(f"{mark}<", 30, what=what)
    lines = [base64.b64encode(data[start : start + _LINE]).decode() for start in range(0, len(data), _LINE)]
    for number, line in enumerate(lines):
        if number >= _WINDOW:
            console.expect(f"{mark}+", 30, what=what)
        console.send(f"{line}\n")
    for _ in lines[-_WINDOW:]:
        console.expect(f"{mark}+", 30, what=what)
    console.send(".\n")
    console.expect(f"{mark}>", 30, what=what)


def _piece(shell: Shell, place: str, number: int, timeout: float | None) -> bytes:
    """Return one piece of a file of the guest."""
    part = f"dd if={place} bs={_PIECE} skip={number} count=1 2>/dev/null"
    output = ""
    for _ in range(_ATTEMPTS):
        _, output = shell.run(f"{part} | base64; {part} | sha256sum", timeout)
        *lines, last = output.splitlines() or [""]
        try:
            data = base64.b64decode("".join(lines), validate=True)
        except (binascii.Error, ValueError):
            continue
        if hashlib.sha256(data).hexdigest() == last.split(maxsplit=1)[0]:
            return data
    raise failed("a piece of the file was damaged on the console, or the guest lacks base64 or sha256sum", output)


def _digest(shell: Shell, place: str, timeout: float | None) -> str:
    status, output = shell.run(f"sha256sum < {place}", timeout)
    found = re.search(r"\b[0-9a-f]{64}\b", output)
    if status or not found:
        raise StagewrightError(Reason.BOOT_FAILED, "the digest of the file is unknown", detail=output)
    return found[0]
