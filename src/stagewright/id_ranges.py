"""The range of ids for builds of a user, and the reasons against it. See subuid(5)."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.run import run

SIZE = 1 << 16
"""Number of ids of a build."""

DEFAULT_START = 0x7000_0000
"""First id of the range that root uses if no file names one. systemd's list of ids has no use for it."""

LOWEST = 100_000
"""Smallest first id of a range. Distributions give the ids below to users of the computer."""

LARGEST = 1 << 31
"""Smallest id that ranges leave to others: some systems have users with the last ids."""

OWNER = "stagewright"
"""Name of the entries in /etc/subuid and /etc/subgid that give root another range."""

ACCOUNTS = {"uid": Path("/etc/passwd"), "gid": Path("/etc/group")}
"""Files with the ids of users and groups, in the third field of a line."""


@dataclass(frozen=True)
class IdRange:
    """The first user id and the first group id of a range of :data:`SIZE` ids, seen from outside."""

    uid: int
    gid: int


def private_range() -> IdRange:
    """Return the range of ids for builds.

    Raises: NOT_ROOT if the user has none, USAGE if it contains ids of others.
    """
    names = [OWNER, "root", "0"] if os.geteuid() == 0 else _names(os.geteuid())
    found = [_listed(what, names) for what in ACCOUNTS]
    if os.geteuid() == 0:
        found = [_default(what) if start is None else start for what, start in zip(ACCOUNTS, found, strict=True)]
    uid, gid = found
    if uid is None or gid is None:
        first = _free_start()
        range_ = f"{first}-{first + SIZE - 1}"
        raise StagewrightError(
            Reason.NOT_ROOT,
            f"user {names[0]} has no {SIZE} subordinate ids in /etc/subuid and /etc/subgid",
            hint=f"as root: apt-get install uidmap; usermod --add-subuids {range_} --add-subgids {range_} {names[0]}",
        )
    for what, start in (("uid", uid), ("gid", gid)):
        _check(what, start, names)
    return IdRange(uid, gid)


@functools.cache
def _names(user: int) -> list[str]:
    """Return the names of a user in the files. The program id(1) asks for them once, see decision 33."""
    name = run(["id", "--user", "--name", str(user)], check=False).stdout.strip()
    return [name, str(user)] if name else [str(user)]


def _file(what: str) -> Path:
    return Path(f"/etc/sub{what}")


def _entries(file: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, first id and number of ids of each line of /etc/subuid or /etc/subgid."""
    for name, start, count in _lines(file, 3):
        if start.isdecimal() and count.isdecimal():
            yield name, int(start), int(count)


def _accounts(file: Path) -> Iterator[tuple[str, int]]:
    """Yield name and id of each line of /etc/passwd or /etc/group."""
    for name, _, number in _lines(file, 3):
        if number.isdecimal():
            yield name, int(number)


def _lines(file: Path, count: int) -> Iterator[list[str]]:
    with contextlib.suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.strip().split(":")
            if len(words) >= count:
                yield words[:count]


def _listed(what: str, names: Sequence[str]) -> int | None:
    """Return the first id of the first large enough range of a user; None if there is none."""
    entries = _entries(_file(what))
    ranges = [(names.index(name), start) for name, start, count in entries if name in names and count >= SIZE]
    return min(ranges)[1] if ranges else None


def _default(what: str) -> int:
    """Return the first id for root if no file names one. A container has few ids: the last ones are used then."""
    mapped = [(start, start + count) for start, count in _mapped(what) if count >= SIZE]
    if any(start <= DEFAULT_START and end >= DEFAULT_START + SIZE for start, end in mapped):
        return DEFAULT_START
    last = max((end - SIZE for _, end in mapped), default=0)
    return last if last >= LOWEST else DEFAULT_START


def _mapped(what: str) -> list[tuple[int, int]]:
    """Return the ids of this user namespace, as first id and number."""
    lines = Path(f"/proc/self/{what}_map").read_text(encoding="ascii").splitlines()
    return [(int(start), int(count)) for start, _, count in map(str.split, lines)]


def is_mapped(what: str, start: int) -> bool:
    """Return True if this user namespace has all ids of the range (``uid`` or ``gid``) that begins with ``start``."""
    return any(first <= start and start + SIZE <= first + count for first, count in _mapped(what))


def _check(what: str, start: int, names: Sequence[str]) -> None:
    """Raise ``USAGE`` for a range with ids that others have: they could change what builds read and write."""
    wrong = [
        f"{name} has {first} to {first + count - 1}"
        for name, first, count in _entries(_file(what))
        if name not in names and first < start + SIZE and start < first + count
    ]
    wrong += [
        f"{name} in {ACCOUNTS[what]} has {number}"
        for name, number in _accounts(ACCOUNTS[what])
        if start <= number < start + SIZE
    ]
    if start < LOWEST:
        wrong.append(f"ids below {LOWEST} belong to users of the computer")
    if wrong:
        former = f"{names[0]}:{start}:{SIZE}"
        raise StagewrightError(
            Reason.USAGE,
            f"{_file(what)}: {former} cannot be the ids of builds ({wrong[0]})",
            hint=f"write {names[0]}:{_free_start()}:{SIZE} into {_file(what)} instead",
        )


def _free_start() -> int:
    """Return the first id of a range that no user has."""
    ends = [start + count for what in ACCOUNTS for _, start, count in _entries(_file(what))]
    ends += [number + 1 for file in ACCOUNTS.values() for _, number in _accounts(file) if LOWEST <= number < LARGEST]
    return max([LOWEST, *ends])
