"""Facts that are slow to find and quick to remember: digests of files, the code of modules, versions of tools.

Each is kept with the size and the times of the file that it was read from, and is found again when one of these
changes. A cache that is lost, damaged, locked or on a full disk costs only time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from stagewright import ids
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.run import PATH, run
from stagewright.store.durable import write_atomically

_DAY = 86400
_REFRESH = 7
"""Days after which the day of a fact that is used is written again."""

SETTLED = 2.0
"""Seconds since the last change of a file before facts about it are stored (time stamps are only so fine)."""


class DigestCache:
    """Facts about files by device, inode, size and times, in SQLite. Call it like :func:`file_digest`.

    It is a context manager: new facts are written in one transaction on leaving. Without a path nothing is remembered.
    ``patience`` is the time in seconds to wait for another process that writes.
    """

    def __init__(self, path: Path | None, patience: float = 5.0) -> None:
        self._path = path
        self._new: dict[str, str] = {}
        self._lock = threading.Lock()
        self._today = int(time.time() // _DAY)
        self._database: sqlite3.Connection | None = None
        with self._tolerant():
            self._database = _open(path, patience) if path else None

    def __call__(self, path: Path, info: os.stat_result) -> str:
        """Return the sha256 of a file's content, in hexadecimal."""
        return self.recall(path, info, "", lambda: file_digest(path))

    def recall(self, path: Path, info: os.stat_result, fact: str, find: Callable[[], str]) -> str:
        """Return a fact about a file, by its name: the stored one, or what ``find`` returns."""
        name = f"{info.st_dev}.{info.st_ino}.{info.st_size}.{info.st_mtime_ns}.{info.st_ctime_ns}"
        name = f"{name}.{fact}" if fact else name
        with self._lock:  # threads read files
            known = self._new.get(name) or self._stored(name)
        if known is not None:
            return known
        begun = time.time()
        value = find()
        if begun - max(info.st_mtime, info.st_ctime) > SETTLED:
            self._new[name] = value
        return value

    def _stored(self, name: str) -> str | None:
        with self._tolerant():
            if self._database:
                row = self._database.execute("SELECT value, day FROM facts WHERE id = ?", (name,)).fetchone()
                if row and row[1] < self._today - _REFRESH:
                    self._new[name] = str(row[0])
                return str(row[0]) if row else None
        return None

    def forget(self, days: float) -> None:
        """Remove the facts that were not used for so many days, and the table of former versions."""
        with self._tolerant():
            if self._database:
                self._database.execute("DELETE FROM facts WHERE day < ?", (self._today - max(days, _REFRESH),))
                self._database.execute("DROP TABLE IF EXISTS digests")
                self._database.execute("VACUUM")

    def __enter__(self) -> DigestCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._tolerant():
            if self._database and self._new:
                self._database.execute("BEGIN IMMEDIATE")
                rows = ((name, value, self._today) for name, value in self._new.items())
                self._database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", rows)
                self._database.execute("COMMIT")
        self._close()

    def _close(self) -> None:
        if self._database:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
        self._database = None

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Continue without the database if it fails, and remove one that is damaged."""
        try:
            yield
        except sqlite3.OperationalError:  # the disk is full, or another process holds the lock for too long
            self._close()
        except sqlite3.DatabaseError:
            self._close()
            assert self._path
            for end in ("", "-wal", "-shm"):
                with contextlib.suppress(OSError):
                    self._path.with_name(self._path.name + end).unlink(missing_ok=True)


def _open(path: Path, patience: float) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS facts (id TEXT PRIMARY KEY, value TEXT, day INTEGER) WITHOUT ROWID"
        )
        with contextlib.suppress(OSError):
            ids.hand_over(path)  # the engine writes into it, too
    except sqlite3.Error:
        database.close()
        raise
    return database


class ToolVersions:
    """Versions of the host's programs. A program is asked again only when its file changes.

    ``remedy`` returns the hint for a program that is not installed. Without a path nothing is remembered.
    """

    def __init__(self, path: Path | None, remedy: Callable[[str], str], search: str = PATH) -> None:
        self._path = path
        self._remedy = remedy
        self._search = search
        try:
            known = json.loads(path.read_text(encoding="utf-8")) if path else None
        except (OSError, ValueError):
            known = None
        self._known: dict[str, str] = known if isinstance(known, dict) else {}

    def __call__(self, tool: str) -> str:
        """Return the version that a program prints. Raises ``MISSING_TOOL`` if it is not installed."""
        program = shutil.which(tool, path=self._search)
        if program is None:
            raise StagewrightError(Reason.MISSING_TOOL, f"{tool} is not installed", hint=self._remedy(tool))
        info = Path(program).stat()
        name = f"{program} {info.st_size} {info.st_mtime_ns}"
        if name not in self._known:
            self._known[name] = _ask(program)
            if self._path:
                with contextlib.suppress(OSError):  # the disk is full
                    write_atomically(self._path, json.dumps(self._known, indent=1))
        return self._known[name]


def _ask(program: str) -> str:
    """Return the version that a program prints, or the digest of a program that prints none."""
    for option in ("--version", "-version"):
        result = run([program, option], check=False)
        found = re.search(r"\d+(\.\d+)+\S*", result.stdout + result.stderr)
        if found:
            return found.group().rstrip(",;:)")
    return file_digest(Path(program))
