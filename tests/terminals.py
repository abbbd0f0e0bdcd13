"""A program on a pseudo terminal, and the test as its user."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import time
from collections.abc import Iterator, Sequence

LIMIT = 60.0
"""Seconds after which a test gives up. On a busy machine each step can take seconds."""


class User:
    """A program on a pseudo terminal, of which this test is the user."""

    def __init__(self, words: Sequence[str], *, before: str = "") -> None:
        self.said = b""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execvp("sh", ["sh", "-c", f'{before}exec "$@"', "sh", *words])

    def wait_for(self, word: bytes, limit: float = LIMIT) -> None:
        """Wait until the program has printed a word."""
        end = time.monotonic() + limit
        while word not in self.said:
            assert time.monotonic() < end, self.said
            if select.select([self.terminal], [], [], 1)[0]:
                try:
                    self.said += os.read(self.terminal, 4096)
                except OSError as error:  # the program has ended
                    raise AssertionError(self.said) from error

    def type(self, data: bytes) -> None:
        os.write(self.terminal, data)

    def end(self) -> int:
        """Wait for the end of the program and return its exit code."""
        with contextlib.suppress(AssertionError):
            self.wait_for(b"this is never printed")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextlib.contextmanager
def on_terminal(words: Sequence[str], *, before: str = "") -> Iterator[User]:
    """Start a program on a new terminal, after a line ``before`` for sh."""
    found = User(words, before=before)
    try:
        yield found
    finally:
        os.close(found.terminal)
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(found.pid, signal.SIGKILL)
            os.waitpid(found.pid, 0)
