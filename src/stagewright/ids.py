"""The ids of builds: each build runs in a user namespace, so its root is an unprivileged user of this computer.

::

    inside          outside, started by root                 outside, started by an ordinary user
    0..65535        a range of 65536 ids (id_ranges.py)      the range of the user in /etc/subuid and /etc/subgid
    65536           root                                     the user
    65537...        all other users                          -

The worker is process 1 of the namespace. It has capabilities over the files of all mapped ids, and therefore reads the
project, writes into the store, and hands artifacts over to the user who started it (:func:`hand_over`). The commands of
a build run in a second namespace below that one, which maps only 0..65535 (:func:`commands_namespace`). So the ids that
worker and commands see are those of the result: nothing translates them. See user_namespaces(7), subuid(5).

``--as-host-root`` (``STAGEWRIGHT_AS_HOST_ROOT``) switches the namespaces off.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.id_ranges import SIZE, IdRange, is_mapped, private_range
from stagewright.interpreter import NO_BYTECODE
from stagewright.run import PIPE, inherit, run, spawn

INVOKER = SIZE
"""Id of the user who started Stagewright, inside of the namespace of a worker."""

SWITCH = "STAGEWRIGHT_AS_HOST_ROOT"
"""Variable of the environment that switches the namespaces off."""

WARNING = "warning: --as-host-root: commands of a build run as root of this computer, and can take it over"

MARK = "STAGEWRIGHT_IDS"
"""Variable of the environment of workers, with the name of their ids (:func:`mark`)."""

_PROFILE = (
    "echo 'abi <abi/4.0>, profile unshare /usr/bin/unshare flags=(unconfined) { userns, }'"
    " > /etc/apparmor.d/unshare; apparmor_parser --replace /etc/apparmor.d/unshare"
)
"""Command that lets unshare(1) make user namespaces if AppArmor forbids that to programs without a profile."""

_ENOUGH = 10000

_SYSCTLS = (
    ("user.max_user_namespaces", range(10), f"sysctl -w user.max_user_namespaces={_ENOUGH}", True),
    ("kernel.unprivileged_userns_clone", range(1), "sysctl -w kernel.unprivileged_userns_clone=1", False),
    ("kernel.apparmor_restrict_unprivileged_userns", range(1, 2), _PROFILE, False),
)
"""Settings of kernels: name, values that forbid user namespaces, the remedy, and if it applies to root, too."""

_LAST = (1 << 32) - 2  # the largest valid id
_HOST = "host"
_WITH_ROOT, _WITHOUT_ROOT, _VERSION = 0x03000000, 0x02000000, 0xFF000000


def as_host_root() -> bool:
    """True if builds run with the ids of this computer."""
    return os.environ.get(MARK) == _HOST or os.environ.get(SWITCH, "") not in ("", "0")


@contextlib.contextmanager
def switched_off() -> Iterator[None]:
    """Run builds with the ids of this computer for the length of a block."""
    former = os.environ.get(SWITCH, "")
    os.environ[SWITCH] = "1"
    try:
        yield
    finally:
        os.environ[SWITCH] = former


def mark() -> str:
    """Return the name of the ids that this process builds with. Layers with another mark cannot be used.

    It is ``host``, the first user id and group id of the range, or an empty string if there is no range.
    """
    if MARK in os.environ:
        return os.environ[MARK]
    if as_host_root():
        return _HOST
    try:
        found = private_range()
    except StagewrightError:
        return ""
    return f"{found.uid}:{found.gid}"


def owner() -> IdRange | None:
    """Return the ids outside that own the files of layers as root; None if they are those of this computer."""
    return range_of(mark())


def range_of(mark: str) -> IdRange | None:
    """Return the range that a mark names; None if it is the ids of this computer."""
    uid, _, gid = mark.partition(":")
    return IdRange(int(uid), int(gid)) if uid.isdecimal() and gid.isdecimal() else None


@functools.cache
def is_private() -> bool:
    """True if this process is a worker in its user namespace."""
    first = Path("/proc/self/uid_map").read_text(encoding="ascii").split()[:3]
    return os.environ.get(MARK, _HOST).partition(":")[0] == first[1] and first[::2] == ["0", str(SIZE)]


def enter() -> list[str]:
    """Return the first words of a command that runs as id 0 in the namespace of workers; empty with ``as_host_root``.

    Raises ``HOST_FEATURE`` if the namespace cannot be made, and what :func:`stagewright.id_ranges.private_range` does.
    """
    if as_host_root():
        return []
    return _entering(_workers_namespace(private_range()))


def _entering(handle: int) -> list[str]:
    return ["nsenter", f"--user=/proc/{os.getpid()}/fd/{handle}", "--setuid", "0", "--setgid", "0", "--"]


def marked() -> list[str]:
    """Return words in front of a Python program that set its ids.

    It writes no bytecode: an id of builds must not own code that other users run.
    """
    return ["env", f"{MARK}={mark()}", f"{NO_BYTECODE}=1"]


@functools.cache
def _workers_namespace(ids: IdRange) -> int:
    """Make the namespace of workers. It lasts until this process ends, which holds the descriptor."""
    if os.geteuid() == 0:
        return _namespace(_root_map(ids.uid, "uid"), _root_map(ids.gid, "gid"))
    both = [[(0, first, SIZE), (INVOKER, own, 1)] for first, own in ((ids.uid, os.getuid()), (ids.gid, os.getgid()))]
    handle = _namespace(*both, by_tools=True)
    tried = run([*_entering(handle), "unshare", "--mount", "true"], check=False)
    if tried.code:  # AppArmor lets a program make the namespace, and then refuses all rights in it
        raise _unavailable(tried.stderr.strip())
    return handle


def _root_map(first: int, what: str) -> list[tuple[int, int, int]]:
    """Return the map of root's workers: the range, and all other ids moved up by :data:`SIZE`."""
    found = [(0, first, SIZE)]
    for line in Path(f"/proc/self/{what}_map").read_text(encoding="ascii").splitlines():
        start, _, count = map(int, line.split())
        end = min(start + count, _LAST - SIZE)
        for low, high in ((start, min(first, end)), (max(start, first + SIZE), end)):
            if low < high:
                found.append((SIZE + low, low, high - low))
    return found


def _namespace(
    uids: Sequence[tuple[int, int, int]], gids: Sequence[tuple[int, int, int]], *, by_tools: bool = False
) -> int:
    """Return a descriptor of a new user namespace with these maps (first id inside, first id outside, number)."""
    with spawn(["unshare", "--user", "--", "cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE) as holder:
        assert holder.stdin and holder.stdout and holder.stderr
        with contextlib.suppress(BrokenPipeError):
            holder.stdin.write(b"\n")
            holder.stdin.flush()
        if not holder.stdout.read(1):  # cat answers after unshare(1) has made the namespace
            raise _unavailable(holder.stderr.read().decode(errors="replace").strip())
        for what, ranges in (("uid", uids), ("gid", gids)):
            (_map_by_tool if by_tools else _map)(holder.pid, what, ranges)
        return os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def _map(process: int, what: str, ranges: Sequence[tuple[int, int, int]]) -> None:
    text = "".join(f"{inside} {outside} {count}\n" for inside, outside, count in ranges)
    try:
        Path(f"/proc/{process}/{what}_map").write_text(text, encoding="ascii")
    except OSError as error:
        raise _not_mapped(what, ranges[0][1], error.strerror or str(error)) from error


def _map_by_tool(process: int, what: str, ranges: Sequence[tuple[int, int, int]]) -> None:
    """Write a map by newuidmap(1) or newgidmap(1), which read /etc/subuid and /etc/subgid."""
    numbers = [str(number) for line in ranges for number in line]
    done = run([f"new{what}map", str(process), *numbers], check=False)
    if done.code:
        raise _not_mapped(what, ranges[0][1], done.stderr.strip())


def _not_mapped(what: str, first: int, why: str) -> StagewrightError:
    """Return the error for a map that cannot be written. ``what`` is ``uid`` or ``gid``."""
    found = f"ids {first} to {first + SIZE - 1}: {why}"
    if not is_mapped(what, first):
        found += "; this container does not have them"
        return _unavailable(
            found,
            "give the container more than 200000 ids (a longer range of its user in"
            " /etc/subuid and /etc/subgid of the host), or use --privileged",
        )
    if os.geteuid():
        return _unavailable(found, f"as root: chmod u+s $(command -v new{what}map); log in again after newgrp")
    return _unavailable(found)


def _unavailable(why: str, command: str = "") -> StagewrightError:
    for name, forbidden, remedy, of_root in _SYSCTLS:
        setting = Path("/proc/sys") / name.replace(".", "/")
        if command or (os.geteuid() == 0 and not of_root) or not setting.exists():
            continue
        value = setting.read_text(encoding="utf-8").strip()
        if value.isdecimal() and int(value) in forbidden:
            why, command = f"{name} is {value}", f"as root: {remedy}"
    hint = f"{command}; or use --as-host-root if you trust everything that a build runs".removeprefix("; or ")
    return StagewrightError(Reason.HOST_FEATURE, f"user namespaces: not available ({why})", hint=hint)


@functools.cache
def commands_namespace() -> int | None:
    """Return a descriptor of the namespace for the commands of a build; None if this is not the namespace of a worker.

    Every command that this process starts inherits the descriptor, for ``--userns2`` of bwrap(1).
    """
    if not is_private():
        return None
    only = [(0, 0, SIZE)]
    handle = _namespace(only, only)
    inherit(handle)
    return handle


def hand_over(path: Path) -> None:
    """Make the user who started Stagewright the owner of a file or folder that a worker has made."""
    if is_private():
        os.chown(path, INVOKER, INVOKER, follow_symlinks=False)


def outside(number: int, what: str = "uid") -> int:
    """Return the id that a user (``uid``) or group (``gid``) has outside, given the one that this process sees."""
    if not is_private():
        return number
    for inner, outer, count in _maps(what):
        if inner <= number < inner + count:
            return outer + number - inner
    return number


@functools.cache
def _maps(what: str) -> list[list[int]]:
    lines = Path(f"/proc/self/{what}_map").read_text(encoding="ascii").splitlines()
    return [[int(word) for word in line.split()] for line in lines]


def capability_of(attribute: bytes, root: int) -> bytes:
    """Return the capabilities of a file (the attribute security.capability) without the id of their root.

    The kernel stores them with the id that root of a user namespace has outside (version 3), and shows them without it
    (version 2) in that namespace. Capabilities with another root than ``root`` are returned as they are. See
    capabilities(7).
    """
    if len(attribute) != struct.calcsize("<6I"):
        return attribute
    head, *sets, found = struct.unpack("<6I", attribute)
    if head & _VERSION != _WITH_ROOT or found != root:
        return attribute
    return struct.pack("<5I", head & ~_VERSION | _WITHOUT_ROOT, *sets)
