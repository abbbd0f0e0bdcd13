"""Names of files in the store, made of node ids, names and paths."""

from __future__ import annotations

import hashlib
import os

LONGEST_NAME = 200
"""Longest name in bytes; a digest replaces the end of longer ones. File systems allow 255, endings included."""


def failed_lock(project: str, folder: str) -> str:
    """Return the name of the lock of a kept root, by the names of its project and its folder."""
    return f"failed-{file_name(f'{project}/{folder}')}"


def file_name(name: str) -> str:
    """Return a file name for a node id or a path. Different ids and paths have different names."""
    plain = name.strip("/").replace("%", "%25").replace("/", "%2F").replace(":", "%3A")
    encoded = os.fsencode(plain)
    if len(encoded) <= LONGEST_NAME:
        return plain
    return f"{encoded[:100].decode(errors='ignore')}%{hashlib.sha256(encoded).hexdigest()}"
