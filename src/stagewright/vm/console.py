"""Control a guest over its console: read its output, wait for text, type, run commands at a shell.

A thread reads all output from the start, so the log is complete. A wait ends early if the boot has failed (a panic, an
emergency shell, a boot loader's rescue prompt) or if QEMU has ended.
"""

from __future__ import annotations

import bisect
import contextlib
import re
import secrets
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from stagewright.errors import Reason, StagewrightError
from stagewright.vm.console_lines import Line, LineClock
from stagewright.vm.console_text import Cleaner
from stagewright.vm.failures import Failure, first_in
from stagewright.vm.known_failures import FINAL_FAILURES

TAIL_LINES = 30
"""Number of the console's last lines in an error."""

MORE_OUTPUT = 0.5
"""Seconds to wait for more output after the first words of a failure. The reason often follows them."""

_TICK = 0.05  # seconds between searches while output arrives; each search costs time
_LINE = 500  # characters of a command typed in one line: busybox accepts 1024, with echo and markers
_PIECE = 150  # characters of a longer command typed at a time; escapes are up to five times as long
_UNTYPABLE = re.compile(r"[\x00-\x1f\x7f!]")


class Connection(Protocol):
    """A connection to a guest: a connected socket, or an object with the same methods."""

    def recv(self, size: int, /) -> bytes:
        """Wait for output of the guest. Returns empty bytes or raises OSError after its end."""

    def sendall(self, data: bytes, /) -> None:
        """Type."""

    def shutdown(self, how: int, /) -> None:
        """End a wait in ``recv``."""

    def close(self) -> None:
        """Close the connection."""


class Console:
    """The console of a guest.

    Every byte is written to ``log``, and its lines with their times to a second file (console_lines.py). A guest that
    starts again has a new console: with ``append`` both files go on, and ``started`` is the time of the first start.
    ``failures`` end a wait. ``fate`` returns a sentence about the end of the guest, for errors after it.
    """

    def __init__(
        self,
        connection: Connection,
        log: Path,
        *,
        failures: Sequence[Failure] = FINAL_FAILURES,
        fate: Callable[[], str] = lambda: "the machine closed its serial port",
        append: bool = False,
        started: float | None = None,
    ) -> None:
        self.failures = tuple(failures)
        self.started = time.monotonic() if started is None else started
        self._connection = connection
        self._fate = fate
        self._changed = threading.Condition()
        self._text = ""
        self._offsets: list[int] = []  # length of the text after each chunk
        self._times: list[float] = []  # time of each chunk
        self._observer: Callable[[bytes], None] = _ignore
        self._ended = False
        self._position = 0
        self._log = log.open("ab" if append else "wb", buffering=0)
        self._clock = LineClock(log.with_suffix(".timed.log"), append=append)
        self._reader = threading.Thread(target=self._read, daemon=True, name="serial console")
        self._reader.start()

    @property
    def text(self) -> str:
        """All output of the guest so far, without escape sequences."""
        with self._changed:
            return self._text

    @property
    def ended(self) -> bool:
        """True if the guest closed the connection."""
        with self._changed:
            return self._ended

    @property
    def lines(self) -> list[Line]:
        """All lines so far since the first start, without escape sequences, each with the time when it began."""
        with self._changed:
            return self._clock.lines

    def tail(self, lines: int = TAIL_LINES) -> str:
        """Return the last non-empty lines."""
        return "\n".join([line.rstrip() for line in self.text.splitlines() if line.strip()][-lines:])

    def seconds(self, offset: int) -> float:
        """Return the time of the character at an offset of :attr:`text`, in seconds since the console was opened."""
        with self._changed:
            index = min(bisect.bisect_right(self._offsets, offset), len(self._times) - 1)
            return (self._times[index] if index >= 0 else time.monotonic()) - self.started

    def expect(
        self, awaited: str | re.Pattern[str], limit: float, *, what: str = "", again: bool = False
    ) -> re.Match[str]:
        """Wait for a literal text or a pattern after the last match.

        Offsets of the match refer to :attr:`text`. ``what`` describes the text in errors. With ``again`` the search
        starts at the line of the last match. Raises ``BOOT_FAILED`` with the end of the console after ``limit``
        seconds, if the guest ended, or if one of the failures appeared.
        """
        pattern = re.compile(re.escape(awaited)) if isinstance(awaited, str) else awaited
        what = what or (repr(awaited) if isinstance(awaited, str) else f"/{awaited.pattern}/")
        match = self.look(pattern, limit, what=what, again=again)
        if match is None:
            raise self.error(f"timed out after {max(limit, 0):.0f} s", what)
        return match

    def look(self, pattern: re.Pattern[str], limit: float, *, what: str, again: bool = False) -> re.Match[str] | None:
        """Wait as :meth:`expect` does, but return None after ``limit`` seconds."""
        end = time.monotonic() + limit
        if again:
            self._position = self.text.rfind("\n", 0, self._position) + 1
        line = self._position  # the search for failures starts at the last incomplete line
        while True:
            text, ended = self._snapshot()
            match = pattern.search(text, self._position)
            if match:
                self._position = match.end()
                return match
            failure = first_in(self.failures, text, line)
            if failure:
                return self._failed(pattern, failure, line, what)
            line = max(text.rfind("\n") + 1, self._position)
            if ended:
                raise self.error(self._fate(), what)
            if time.monotonic() >= end:
                return None
            self._wait(len(text), end)

    def skip(self) -> None:
        """Have the next wait start at the end of the present output."""
        self._position = len(self.text)

    def send(self, text: str | bytes) -> None:
        """Type text. A line ends with ``\\n``. If the guest has ended, the next wait reports it."""
        with contextlib.suppress(OSError):
            self._connection.sendall(text.encode() if isinstance(text, str) else text)

    @contextlib.contextmanager
    def observed(self, observer: Callable[[bytes], None]) -> Iterator[None]:
        """Pass all output of the guest to a function during the block. It runs in another thread."""
        self._observer = observer
        try:
            yield
        finally:
            self._observer = _ignore

    def run(self, command: str, limit: float) -> tuple[int, str]:
        """Run a command at a shell prompt. Return its exit status and its output.

        Works with any POSIX shell. The command runs in a subshell, so ``exit``, a syntax error or ``cd`` do not affect
        later commands. Markers are typed in two halves, so that the echo of the typed line does not contain them.
        """
        shown = repr(shorten(command))
        mark = f"sw{secrets.token_hex(4)}"
        plain = not _UNTYPABLE.search(command)
        evaluated = shlex.quote(command) if plain else f'"$(printf %b {_escaped(command)})"'
        if len(evaluated) > _LINE:
            self._type_in_pieces(command, mark)
            evaluated = f'"${mark}"'
        self.send(f'echo "{mark}""<"; (eval {evaluated}); echo "{mark}"">$?;"\n')
        end = time.monotonic() + limit
        begin = self.expect(f"{mark}<", limit, what=f"the shell to start {shown}")
        done = self.expect(re.compile(rf"{mark}>(\d+);"), end - time.monotonic(), what=f"the end of {shown}")
        return int(done[1]), self.text[begin.end() : done.start()].strip("\n")

    def _type_in_pieces(self, command: str, variable: str) -> None:
        """Type a long command into a shell variable, a piece a line."""
        self.send(f"{variable}=\n")
        for start in range(0, len(command), _PIECE):
            piece = _escaped(command[start : start + _PIECE] + "x")  # $() would eat line ends at a cut
            grown = f"{variable}=${variable}$(printf %b {piece}); {variable}=${{{variable}%x}}"
            self.send(f'{grown}; echo "{variable}""+{start};"\n')
            self.expect(f"{variable}+{start};", 30, what=f"the shell to take {shorten(command)!r}")

    def error(self, why: str, what: str, hint: str = "") -> StagewrightError:
        """Return a ``BOOT_FAILED`` error with the end of the console: the cause, and what was waited for."""
        said = self.tail() or "(no output on the console)"
        return StagewrightError(Reason.BOOT_FAILED, f"{why} while waiting for {what}", detail=said, hint=hint)

    def wait_end(self, limit: float) -> bool:
        """Wait up to ``limit`` seconds for the end of the guest. Return True if it ended."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, limit)

    def close(self) -> None:
        """Close the connection and the log."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._connection.close()
        self._log.close()
        self._clock.close()

    def _read(self) -> None:
        cleaner = Cleaner()
        try:
            while data := self._connection.recv(65536):
                self._log.write(data)
                self._observer(data)
                self._add(cleaner.feed(data))
        except OSError:
            pass  # a reset also ends the connection; the next write reports a full disk
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _add(self, text: str) -> None:
        with self._changed:
            self._text += text
            self._offsets.append(len(self._text))
            now = time.monotonic()
            self._times.append(now)
            self._clock.feed(text, now - self.started)
            self._changed.notify_all()

    def _snapshot(self) -> tuple[str, bool]:
        with self._changed:
            return self._text, self._ended

    def _wait(self, seen: int, end: float) -> None:
        """Sleep until there is more text than ``seen``, then wait for the rest of it: output comes in small pieces."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._text) > seen, end - time.monotonic())
            if self._ended:
                return
        time.sleep(min(_TICK, max(end - time.monotonic(), 0)))

    def _failed(self, pattern: re.Pattern[str], failure: Failure, start: int, what: str) -> re.Match[str]:
        """Wait for the rest of the line, then raise ``BOOT_FAILED``. Return the match if the line has the text.

        A test can wait for a failure, and the rest of the line often has the reason.
        """
        self.wait_end(MORE_OUTPUT)
        text = self.text
        match = pattern.search(text, self._position)
        if match is None:
            failure = first_in(self.failures, text, start) or failure  # the rest of the line may say more
            raise self.error(f"{failure.meaning} ({failure.line_in(text, start)})", what, failure.hint)
        self._position = match.end()
        return match


def _ignore(_: bytes) -> None:
    """Observe nothing."""


def _escaped(text: str) -> str:
    """Return text as a quoted argument of ``printf %b``. Characters special to line editors and history are escaped."""
    safe = text.replace("\\", "\\\\")
    return shlex.quote(_UNTYPABLE.sub(lambda match: f"\\0{ord(match[0]):03o}", safe))


def shorten(command: str) -> str:
    """Return a short name of a command: its first line, cut at 60 characters."""
    first, _, rest = command.strip().partition("\n")
    return f"{first[:57]}..." if rest or len(first) > 60 else first
