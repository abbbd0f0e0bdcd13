"""The ledger of a storedir: for each result the text of the spec that made it.

::

    <storedir>/.stagewright/<rel_type>/<target>-<subarch>-<version_stamp>.json
        format      1
        spec        file and text of the spec that made the result, tokens filled in
        key         of the packed root in the store
        artifacts   path below the storedir -> size, time of change (ns), inode

``catalyst -f`` builds one spec at a time, each from the tarball of the one before. The ledger says which stage in the
store that tarball was packed from. The tarball is not unpacked, and everything built on it has the same key as in a
build of all specs at once. A tarball that was changed afterwards is an ordinary seed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.store.durable import write_atomically

FORMAT = 1
FOLDER = ".stagewright"


@dataclass(frozen=True)
class LedgerEntry:
    """The spec that made a result, and the key of the root that was packed."""

    file: Path
    text: str
    key: str


def remember(storedir: Path, identity: str, record: LedgerEntry, artifacts: Sequence[Path]) -> None:
    """LedgerEntry the spec that made the artifacts of an identity."""
    path = _path(storedir, identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "format": FORMAT,
        "spec": {"file": str(record.file), "text": record.text},
        "key": record.key,
        "artifacts": {os.path.relpath(file, storedir): _stamp(file) for file in artifacts},
    }
    write_atomically(path, json.dumps(data, indent=1), mode=0o600)  # a spec can have a hash of a password


def recall(storedir: Path, identity: str) -> LedgerEntry | None:
    """Return the record of an identity; None if there is no record, or an artifact was changed since."""
    try:
        data = json.loads(_path(storedir, identity).read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            return None
        if any(_stamp(storedir / name) != stamp for name, stamp in data["artifacts"].items()):
            return None
        return LedgerEntry(Path(data["spec"]["file"]), data["spec"]["text"], data["key"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def forget(storedir: Path, identity: str) -> bool:
    """Remove the record of an identity. Returns True if there was one."""
    path = _path(storedir, identity)
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed


def _path(storedir: Path, identity: str) -> Path:
    return storedir / FOLDER / f"{identity}.json"


def _stamp(path: Path) -> list[Any]:
    info = path.stat()
    return [info.st_size, info.st_mtime_ns, info.st_ino]
