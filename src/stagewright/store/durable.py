"""Files and folders that survive a power failure: complete, or as they were before."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from stagewright import ids


def write_atomically(path: Path, text: str | bytes, mode: int = 0o644) -> None:
    """Write a file so that after a power failure it has either the old or the complete new content."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        stream = temporary.open("wb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # without the name that users do not know
    with stream:
        os.fchmod(stream.fileno(), mode)
        ids.hand_over(temporary)
        stream.write(text.encode() if isinstance(text, str) else text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(path)


def sync_folder(path: Path) -> None:
    """Write the entries of a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
