"""The tokens of a run: each permits one job of a compiler, and the nodes that compile share them.

Each node has its own FIFO (:mod:`stagewright.root.job_tokens`), and a thread moves tokens between these. A FIFO that
all nodes had in common would be shorter, but a build could then take the tokens of others or flood it, and a killed
build would keep what it held. So the pool believes no FIFO: it knows how many tokens it has given to a node, takes back
at most that many, and forgets them when the node ends (docs/decisions/057).

A node that compiles keeps at least one token until it ends, so that each goes on. A node that does not compile counts
with the cores that it demands.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import termios
import threading
from dataclasses import dataclass
from pathlib import Path

from stagewright.root.job_tokens import FIFO, SPARE, folder_of
from stagewright.trees import remove_tree

LOOK = 0.05
"""Seconds between two looks at the FIFOs."""

_TOKEN = b"+"


@dataclass
class _Share:
    """The FIFO of one node, and the number of tokens that the node has been given.

    ``is_full`` is True if the build has filled the FIFO, so that nothing can be given.
    """

    fifo: int
    spare: int
    given: int = 0
    shown: int = -1
    is_full: bool = False

    @property
    def free(self) -> int:
        """The number of tokens that are not in use in the node; what a build adds to its FIFO does not count."""
        (waiting,) = struct.unpack("i", fcntl.ioctl(self.fifo, termios.FIONREAD, b"\0\0\0\0"))
        return min(int(waiting), self.given)

    @property
    def excess(self) -> int:
        """The number of free tokens that others may have: all but the last token of the node."""
        return max(0, min(self.free, self.given - 1))

    def take(self, count: int) -> int:
        """Take back at most so many tokens, and return how many there were."""
        with contextlib.suppress(BlockingIOError):
            taken = len(os.read(self.fifo, count)) if count > 0 else 0
            self.given -= taken
            return taken
        return 0

    def give(self) -> bool:
        """Give one token. Return False if the build has filled its FIFO."""
        try:
            os.write(self.fifo, _TOKEN)
        except BlockingIOError:
            self.is_full = True
            return False
        self.given += 1
        return True

    def show(self) -> None:
        """Write the number of jobs for a program that knows no tokens."""
        if (jobs := max(1, min(self.given, 1 + self.free))) != self.shown:
            os.pwrite(self.spare, f"{jobs:<6}\n".encode(), 0)
            self.shown = jobs

    def close(self) -> None:
        os.close(self.fifo)
        os.close(self.spare)


class TokenPool:
    """Divides the cores of a run among the nodes that compile. ``cores`` is the number of jobs of all nodes."""

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self._others = 0
        self._shares: dict[Path, _Share] = {}
        self._lock = threading.Lock()
        self._shared = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def tokens(self) -> int:
        """The number of tokens that the nodes have together: those of other nodes' cores are left out."""
        return max(self.cores - self._others, len(self._shares))

    def add(self, work: Path) -> None:
        """Give a node tokens. ``work`` is its work folder, in which a folder with the FIFO is made."""
        folder = folder_of(work)
        folder.mkdir()
        folder.chmod(0o755)  # the work folder keeps all other users out
        os.mkfifo(folder / FIFO)
        (folder / FIFO).chmod(0o666)  # the root's users have other ids
        with contextlib.ExitStack() as undo:
            fifo = os.open(folder / FIFO, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            undo.callback(os.close, fifo)
            spare = os.open(folder / SPARE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            undo.pop_all()
        with self._lock:
            share = self._shares[work] = _Share(fifo, spare)
            share.give()  # at once, whatever the others hold
            self._move()
            self._shared.set()
            if not self._thread:
                self._thread = threading.Thread(target=self._keep_moving, name="tokens", daemon=True)
                self._thread.start()

    def remove(self, work: Path) -> None:
        """Take everything from a node that has ended, whatever its FIFO has. Nothing if it had no tokens.

        The folder is removed: emerge(1) in the shell of a failed stage would wait for tokens.
        """
        with self._lock:
            if share := self._shares.pop(work, None):
                share.close()
                remove_tree(folder_of(work))
                self._move()
            if not self._shares:
                self._shared.clear()

    def use(self, others: int) -> None:
        """Note how many cores the nodes without tokens use."""
        with self._lock:
            self._others = others
            self._move()

    def given(self) -> dict[Path, int]:
        """Return the number of tokens that each node has been given, by its work folder."""
        with self._lock:
            return {work: share.given for work, share in self._shares.items()}

    def _keep_moving(self) -> None:
        """Move tokens to the nodes that use theirs. A node that has to return some is watched for a free one."""
        while True:
            self._shared.wait()
            with self._lock:
                debtors = [os.dup(share.fifo) for share in self._move()]
            poll = select.poll()
            for descriptor in debtors:
                poll.register(descriptor, select.POLLIN)
            poll.poll(LOOK * 1000)
            for descriptor in debtors:
                os.close(descriptor)

    def _move(self) -> list[_Share]:
        """Move tokens. Return the nodes that have more than their part, and all of it in use."""
        shares = list(self._shares.values())
        if not shares:
            return []
        for share in shares:
            share.is_full = False
        self._take_excess(shares)
        while sum(share.given for share in shares) < self.tokens:
            open_ = [share for share in shares if not share.is_full]
            if not open_:
                break
            min(open_, key=lambda share: (share.free > 0, share.given)).give()
        debtors = self._feed_hungry(shares)
        for share in shares:
            share.show()
        if sum(share.given for share in shares) > self.tokens:
            debtors += [share for share in shares if share.given > 1]
        return debtors

    def _take_excess(self, shares: list[_Share]) -> None:
        for share in sorted(shares, key=lambda share: -share.given):
            too_many = sum(share.given for share in shares) - self.tokens
            share.take(min(share.excess, too_many))

    def _feed_hungry(self, shares: list[_Share]) -> list[_Share]:
        """Give free tokens of some nodes to others that use all of theirs. Return those that have too many in use."""
        debtors = []
        for hungry in sorted((share for share in shares if not share.free), key=lambda share: share.given):
            donor = max(shares, key=lambda share: (share.excess > 0, share.given))
            if donor.excess and not hungry.is_full:
                for _ in range(donor.take(max(1, donor.excess // 2))):
                    hungry.give()
            elif donor.given - hungry.given >= 2:
                debtors.append(donor)
        return debtors
