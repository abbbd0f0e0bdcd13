"""The files passwd(5), group(5), shadow(5) and gshadow(5) of a root, as tables of fields. Other lines stay unchanged.

Everything here runs inside the root (see :func:`stagewright.chroot.inside`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.untrusted import number, read_root_text

SHADOW_GROUP = "shadow"


@dataclass
class Table:
    """One of these files: rows of fields. The first field is a name."""

    path: str
    mode: int  # of a new file; an existing file keeps its mode
    width: int
    rows: list[list[str]] = field(default_factory=list)
    present: bool = False

    @classmethod
    def read(cls, path: str, mode: int, width: int) -> Table:
        """Return the table in a file; empty if the file is missing."""
        try:
            lines = read_root_text(path, errors="surrogateescape").splitlines()
        except FileNotFoundError:
            return cls(path, mode, width)
        return cls(path, mode, width, [line.split(":") for line in lines], present=True)

    def get(self, name: str) -> list[str] | None:
        """Return the row of this name; None if there is none."""
        return next((row for row in self._whole() if row[0] == name), None)

    def names(self) -> tuple[str, ...]:
        """Return all names."""
        return tuple(row[0] for row in self._whole())

    def numbers(self) -> dict[int, str]:
        """Return the names by number, which is the third field of users and groups."""
        return {found: row[0] for row in reversed(list(self._whole())) if (found := number(row[2])) is not None}

    def add(self, row: list[str]) -> list[str]:
        """Add a row and return it."""
        self.rows.append(row)
        return row

    def _whole(self) -> Iterator[list[str]]:
        return (row for row in self.rows if len(row) == self.width)

    def write(self, epoch: int, group: int = 0) -> None:
        """Replace the file in one step. Owner and permissions stay. A new file belongs to root and ``group``."""
        target = os.path.realpath(self.path)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        text = "".join(":".join(row) + "\n" for row in self.rows)
        new = f"{target}.new"
        with contextlib.suppress(FileNotFoundError):
            Path(new).unlink()
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", errors="surrogateescape", encoding="utf-8") as stream:
            stream.write(text)
            self._dress(stream.fileno(), target, group)
        os.utime(new, (epoch, epoch))
        Path(new).rename(target)

    def _dress(self, descriptor: int, target: str, group: int) -> None:
        try:
            info = Path(target).stat()
            os.fchown(descriptor, info.st_uid, info.st_gid)
            os.fchmod(descriptor, info.st_mode & 0o7777)
        except FileNotFoundError:
            os.fchown(descriptor, 0, group)
            os.fchmod(descriptor, self.mode)


def identifier(field_text: str) -> int:
    """Return the number of a user or group. Raises BUILD_FAILED if a root's file has something else there."""
    found = number(field_text, limit=(1 << 32) - 2)
    if found is None:
        message = f"invalid number in passwd or group of the root (found {field_text[:40]!r})"
        raise StagewrightError(Reason.BUILD_FAILED, message, hint="correct /etc/passwd and /etc/group in the root")
    return found


@dataclass
class Tables:
    """The four tables of a root."""

    passwd: Table
    group: Table
    shadow: Table
    gshadow: Table

    @classmethod
    def read(cls) -> Tables:
        """Return the tables of the root that this process is in."""
        return cls(
            Table.read("/etc/passwd", 0o644, 7),
            Table.read("/etc/group", 0o644, 4),
            Table.read("/etc/shadow", 0o640, 9),
            Table.read("/etc/gshadow", 0o640, 4),
        )

    def write(self, epoch: int) -> None:
        """Write all tables. A root without gshadow(5) does not get one."""
        row = self.group.get(SHADOW_GROUP)
        readers = identifier(row[2]) if row else 0
        self.passwd.write(epoch)
        self.group.write(epoch)
        self.shadow.write(epoch, readers)
        if self.gshadow.present:
            self.gshadow.write(epoch, readers)

    def new_group(self, name: str, gid: int) -> None:
        """Add a group."""
        self.group.add([name, "x", str(gid), ""])
        if self.gshadow.present:
            self.gshadow.add([name, "!", "", ""])

    def join(self, user: str, group: str) -> None:
        """Make a user a member of an existing group."""
        for table in (self.group, self.gshadow):
            row = table.get(group)
            members = row[3].split(",") if row and row[3] else []
            if row and user not in members:
                row[3] = ",".join([*members, user])

    def set_password(self, user: str, word: str | None, day: int) -> None:
        """Set the password field of a user. None locks a new user and keeps that of an existing user."""
        row = self.shadow.get(user)
        if row is None:
            self.shadow.add([user, "!" if word is None else word, str(day), "0", "99999", "7", "", "", ""])
        elif word is not None and row[1] != word:
            row[1], row[2] = word, str(day)
        passwd = self.passwd.get(user)
        if passwd:
            passwd[1] = "x"
