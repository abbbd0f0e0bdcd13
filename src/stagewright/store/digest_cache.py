"""Facts that are dear to find and cheap to remember: digests of files, versions of tools.

Both are kept with the size and the times of the file they were read from, and are read again when any of these
changes. Losing the memory loses nothing but time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.run import PATH, run
from stagewright.store.store import write_atomically

SETTLED = 2.0
"""Seconds a file must have been left alone before its digest is remembered (time stamps are only so fine)."""


class DigestMemory:
    """Digests of files by device, inode, size and times, in SQLite. Call it like :func:`file_digest`."""

    def __init__(self, path: Path) -> None:
        try:
            self._database = _open(path)
        except sqlite3.OperationalError:  # the disk is full
            self._database = _open(":memory:")
        except sqlite3.DatabaseError:  # damaged: the next one begins anew
            for end in ("", "-wal", "-shm"):
                path.with_name(path.name + end).unlink(missing_ok=True)
            self._database = _open(":memory:")
        self._new: dict[str, str] = {}

    def __call__(self, path: Path, info: os.stat_result) -> str:
        """The sha256 of a file's content."""
        name = f"{info.st_dev}.{info.st_ino}.{info.st_size}.{info.st_mtime_ns}.{info.st_ctime_ns}"
        row = self._database.execute("SELECT digest FROM digests WHERE id = ?", (name,)).fetchone()
        if row:
            return str(row[0])
        digest = file_digest(path)
        if time.time() - max(info.st_mtime, info.st_ctime) > SETTLED:
            self._new[name] = digest
        return digest

    def __enter__(self) -> DigestMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(sqlite3.DatabaseError):  # the disk is full: next time is soon enough
            self._database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?)", self._new.items())
        self._database.close()


def _open(path: Path | str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=30, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE IF NOT EXISTS digests (id TEXT PRIMARY KEY, digest TEXT) WITHOUT ROWID")
    return database


class ToolVersions:
    """Versions of the host's programs, asked of each program once as long as its file stays the same.

    ``remedy`` says for a program what to do when it is not installed.
    """

    def __init__(self, path: Path, remedy: Callable[[str], str], search: str = PATH) -> None:
        self._path = path
        self._remedy = remedy
        self._search = search
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            known = None
        self._known: dict[str, str] = known if isinstance(known, dict) else {}

    def __call__(self, tool: str) -> str:
        """The version a program prints. Raises ``MISSING_TOOL`` when it is not installed."""
        program = shutil.which(tool, path=self._search)
        if program is None:
            raise StagewrightError(Reason.MISSING_TOOL, f"{tool} is not installed", hint=self._remedy(tool))
        info = Path(program).stat()
        name = f"{program} {info.st_size} {info.st_mtime_ns}"
        if name not in self._known:
            self._known[name] = _ask(program)
            write_atomically(self._path, json.dumps(self._known, indent=1))
        return self._known[name]


def _ask(program: str) -> str:
    for option in ("--version", "-version"):
        result = run([program, option], check=False)
        found = re.search(r"\d+(\.\d+)+\S*", result.stdout + result.stderr)
        if found:
            return found.group().rstrip(",;:)")
    return file_digest(Path(program))
