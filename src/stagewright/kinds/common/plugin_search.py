"""A search for entry points that does not parse the metadata of all installed packages, as importlib.metadata does."""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

_METADATA = (".dist-info", ".egg-info")
_ENTRIES = "entry_points.txt"


def names_plugins(group: str) -> bool:
    """Return False if no installed package can have an entry point of a group.

    It is True if a file of entry points contains the name of the group, and wherever packages are found in another way
    than in folders of ``sys.path``.
    """
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return True
    return any(_has(folder or ".", group.encode()) for folder in dict.fromkeys(sys.path))


def _has(folder: str, group: bytes) -> bool:
    try:
        names = os.listdir(folder)  # noqa: PTH208  only names
    except NotADirectoryError:  # a zip file
        return True
    except OSError:  # Python skips it, too
        return False
    if folder.lower().endswith(".egg") or any(name.lower().endswith(".egg") for name in names):
        return True
    return any(_mentions(f"{folder}/{name}/{_ENTRIES}", group) for name in names if name.lower().endswith(_METADATA))


def _mentions(file: str, group: bytes) -> bool:
    try:
        with open(file, "rb") as stream:  # noqa: PTH123  for a hundred small files at each start
            return group in stream.read()
    except OSError:  # no entry points
        return False
