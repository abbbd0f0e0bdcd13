"""What made the files of a storedir: the text of the spec, beside each result, for those who start from it later.

::

    <storedir>/.stagewright/<rel_type>/<target>-<subarch>-<version_stamp>.json
        format      1
        spec        file and text of the spec that made it, tokens filled in
        key         of the root in the store that it was packed from
        artifacts   path below the storedir -> size, time of change (ns), inode

``catalyst -f`` builds one spec at a time, each from the tarball that the one before left. By the ledger such a tarball
is known for what it is: a stage that lies in the store already. It is not unpacked, and what is built on it has the
same key as in a build of all specs at once. A tarball that was changed since is a seed like any other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.store.store import write_atomically

FORMAT = 1
FOLDER = ".stagewright"


@dataclass(frozen=True)
class Record:
    """What made one thing: the spec, and the key of the root that was packed."""

    file: Path
    text: str
    key: str


def remember(storedir: Path, identity: str, record: Record, artifacts: Sequence[Path]) -> None:
    """Note what made the artifacts of an identity."""
    path = _path(storedir, identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "format": FORMAT,
        "spec": {"file": str(record.file), "text": record.text},
        "key": record.key,
        "artifacts": {os.path.relpath(file, storedir): _stamp(file) for file in artifacts},
    }
    write_atomically(path, json.dumps(data, indent=1))


def recall(storedir: Path, identity: str) -> Record | None:
    """What made an identity; None when nobody knows, or when its artifacts are not those that were made."""
    try:
        data = json.loads(_path(storedir, identity).read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            return None
        if any(_stamp(storedir / name) != stamp for name, stamp in data["artifacts"].items()):
            return None
        return Record(Path(data["spec"]["file"]), data["spec"]["text"], data["key"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def forget(storedir: Path, identity: str) -> bool:
    """Remove the note on an identity; returns whether there was one."""
    path = _path(storedir, identity)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def _path(storedir: Path, identity: str) -> Path:
    return storedir / FOLDER / f"{identity}.json"


def _stamp(path: Path) -> list[Any]:
    info = path.stat()
    return [info.st_size, info.st_mtime_ns, info.st_ino]
