"""Drive a guest over its console: read all it says, wait for words, type, run commands at a shell.

A thread reads from the first moment, so the log is whole even while nobody waits for anything. Known ends of a boot (a
panic, an emergency shell, a boot loader's rescue prompt) and the death of QEMU end a wait at once.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stagewright.errors import Reason, StagewrightError
from stagewright.vm.console_text import Cleaner

TAIL_LINES = 25
"""How many of its last lines an error shows of a console."""

SETTLE = 0.5
"""Seconds a guest gets to say the rest after the first word of a disaster; the reason often stands behind it."""

_TICK = 0.05  # seconds between looks at a console that talks; one look costs a search
_LINE = 500  # characters of a command typed in one line: busybox takes 1024, echo and markers included
_PIECE = 150  # characters of a longer command typed at a time; escapes make five of one
_UNTYPABLE = re.compile(r"[\x00-\x1f\x7f!]")


@dataclass(frozen=True)
class Failure:
    """A line by which a boot tells that it failed: what to call it, and how it looks."""

    what: str
    pattern: re.Pattern[str]


NOTHING_LOADED = Failure("the firmware could not load from a medium", re.compile(r"BdsDxe: failed to load"))
"""Final only on a machine with one thing to boot from."""

FAILURES = (
    Failure("the kernel panicked", re.compile(r"Kernel panic - not syncing")),
    Failure("dracut gave up", re.compile(r"^dracut:/#|dracut: FATAL|dracut: Refusing to continue", re.MULTILINE)),
    Failure("the boot ended in emergency mode", re.compile(r"Entering emergency mode|You are in emergency mode")),
    Failure("the boot ended in a maintenance shell", re.compile(r"(Press Enter|Give root password) for maintenance")),
    Failure("the init gave up", re.compile(r"Freezing execution", re.IGNORECASE)),
    Failure("the firmware found nothing to boot and opened its shell", re.compile(r"^Shell> ?", re.MULTILINE)),
    Failure("the firmware found nothing to boot", re.compile(r"No bootable device|BdsDxe: No bootable option")),
    Failure("GRUB found no configuration", re.compile(r"^grub( rescue)?> ?", re.MULTILINE)),
    NOTHING_LOADED,
)
"""Ends that no boot comes back from. They are looked for behind what was last awaited and found."""


class Connection(Protocol):
    """What leads to a guest: a connected socket, or something used like one."""

    def recv(self, size: int, /) -> bytes:
        """Wait for what the guest says; nothing, or an OSError, once it hung up."""

    def sendall(self, data: bytes, /) -> None:
        """Type."""

    def shutdown(self, how: int, /) -> None:
        """End a wait in ``recv``."""

    def close(self) -> None:
        """Let go of it."""


class Console:
    """The console of one guest.

    ``log`` gets every byte as it comes. ``fate`` is asked for a sentence about the end once the guest hung up.
    """

    def __init__(
        self,
        connection: Connection,
        log: Path,
        *,
        failures: Sequence[Failure] = FAILURES,
        fate: Callable[[], str] = lambda: "the machine closed its serial port",
    ) -> None:
        self.failures = tuple(failures)
        self.started = time.monotonic()
        self._connection = connection
        self._fate = fate
        self._changed = threading.Condition()
        self._text = ""
        self._offsets: list[int] = []  # how long the text was ...
        self._times: list[float] = []  # ... when, for every chunk
        self._ended = False
        self._position = 0
        self._log = log.open("wb", buffering=0)
        self._reader = threading.Thread(target=self._read, daemon=True, name="serial console")
        self._reader.start()

    @property
    def text(self) -> str:
        """All that the guest said so far, without escape sequences."""
        with self._changed:
            return self._text

    @property
    def ended(self) -> bool:
        """Whether the guest hung up."""
        with self._changed:
            return self._ended

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines that are not empty."""
        return "\n".join([line.rstrip() for line in self.text.splitlines() if line.strip()][-lines:])

    def seconds(self, offset: int) -> float:
        """When the character at an offset of :attr:`text` came, in seconds since the console was opened."""
        with self._changed:
            index = min(bisect.bisect_right(self._offsets, offset), len(self._times) - 1)
            return (self._times[index] if index >= 0 else time.monotonic()) - self.started

    def expect(
        self, awaited: str | re.Pattern[str], limit: float, *, what: str = "", again: bool = False
    ) -> re.Match[str]:
        """Wait for words (a string stands for itself) or a pattern behind the last match.

        Offsets of the match count in :attr:`text`. ``what`` names the awaited thing to people; ``again`` looks once
        more at the line of the last match. Raises ``BOOT_FAILED`` with the end of the console when the time is over,
        the guest died, or one of the failures showed.
        """
        pattern = re.compile(re.escape(awaited)) if isinstance(awaited, str) else awaited
        what = what or (repr(awaited) if isinstance(awaited, str) else f"/{awaited.pattern}/")
        match = self.look(pattern, limit, what=what, again=again)
        if match is None:
            raise self.error(f"nothing of the kind came within {max(limit, 0):.0f} seconds", what)
        return match

    def look(self, pattern: re.Pattern[str], limit: float, *, what: str, again: bool = False) -> re.Match[str] | None:
        """As :meth:`expect`, but give back None when the time is over."""
        end = time.monotonic() + limit
        if again:
            self._position = self.text.rfind("\n", 0, self._position) + 1
        line = self._position  # failures are sought from the start of the last line seen
        while True:
            text, ended = self._snapshot()
            match = pattern.search(text, self._position)
            if match:
                self._position = match.end()
                return match
            failure = self._failure(text, line)
            if failure:
                return self._settle(pattern, failure, line, what)
            line = max(text.rfind("\n") + 1, self._position)
            if ended:
                raise self.error(self._fate(), what)
            if time.monotonic() >= end:
                return None
            self._wait(len(text), end)

    def send(self, text: str) -> None:
        """Type text; a line ends with ``\\n``. A guest that died already is found out by the next wait."""
        with contextlib.suppress(OSError):
            self._connection.sendall(text.encode())

    def run(self, command: str, limit: float) -> tuple[int, str]:
        """Run a command at a shell prompt; give back its exit status and what it printed.

        Works at any POSIX shell. The command runs in a subshell of its own, so neither ``exit`` nor a syntax error nor
        ``cd`` outlives it. Markers are typed in two halves, so that the echo of the typed line is never taken for one.
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

    def error(self, why: str, what: str) -> StagewrightError:
        """A ``BOOT_FAILED`` with the end of the console: why it failed, while waiting for what."""
        said = self.tail() or "(the console stayed empty)"
        return StagewrightError(Reason.BOOT_FAILED, f"{why}, while waiting for {what}", detail=said)

    def wait_end(self, limit: float) -> bool:
        """Wait for the guest to hang up; whether it did in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, limit)

    def close(self) -> None:
        """Hang up and close the log."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._connection.close()
        self._log.close()

    def _read(self) -> None:
        cleaner = Cleaner()
        try:
            while data := self._connection.recv(65536):
                self._log.write(data)
                self._add(cleaner.feed(data))
        except OSError:
            pass  # a reset is an end as well; a full disk shows in whatever is written next
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _add(self, text: str) -> None:
        with self._changed:
            self._text += text
            self._offsets.append(len(self._text))
            self._times.append(time.monotonic())
            self._changed.notify_all()

    def _snapshot(self) -> tuple[str, bool]:
        with self._changed:
            return self._text, self._ended

    def _wait(self, seen: int, end: float) -> None:
        """Sleep until there is more than ``seen``, then a moment longer: output comes in drops."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._text) > seen, end - time.monotonic())
            if self._ended:
                return
        time.sleep(min(_TICK, max(end - time.monotonic(), 0)))

    def _failure(self, text: str, start: int) -> Failure | None:
        return next((failure for failure in self.failures if failure.pattern.search(text, start)), None)

    def _settle(self, pattern: re.Pattern[str], failure: Failure, start: int, what: str) -> re.Match[str]:
        """Let the guest finish its line: it may hold what is awaited (a test can await a failure), or the reason."""
        self.wait_end(SETTLE)
        text = self.text
        match = pattern.search(text, self._position)
        if match is None:
            found = failure.pattern.search(text, start)
            line = text[found.start() :].partition("\n")[0].strip() if found else ""
            raise self.error(f"{failure.what} ({line})", what)
        self._position = match.end()
        return match


def _escaped(text: str) -> str:
    """Text as a quoted argument of ``printf %b``, without characters that a line editor or bash's history acts on."""
    safe = text.replace("\\", "\\\\")
    return shlex.quote(_UNTYPABLE.sub(lambda match: f"\\0{ord(match[0]):03o}", safe))


def shorten(command: str) -> str:
    """A command as people name it: its first line, or what fits of it."""
    first, _, rest = command.strip().partition("\n")
    return f"{first[:57]}..." if rest or len(first) > 60 else first
