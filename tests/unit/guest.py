"""Guests for console tests: a scripted one on a socket, and real shells on a separate terminal."""

import fcntl
import os
import pty
import select
import signal
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stagewright.vm.console import Console

Step = bytes | float | str
"""Bytes are sent, a number is a pause in seconds, a string is waited for and echoed like on a terminal."""


class Guest:
    """Guest that plays steps on one end of a socket pair and closes it at the end unless ``stay``."""

    def __init__(self, steps: Sequence[Step], *, stay: bool = True) -> None:
        self.end, self._own = socket.socketpair()
        self.typed = b""
        self._stay = stay
        self._thread = threading.Thread(target=self._play, args=(steps,), daemon=True)
        self._thread.start()

    def _play(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, float):
                time.sleep(step)
            elif isinstance(step, bytes):
                self._own.sendall(step)
            else:
                self._hear(step.encode())
        if not self._stay:
            self._own.close()

    def _hear(self, words: bytes) -> None:
        while words not in self.typed:
            data = self._own.recv(4096)
            if not data:
                return
            self.typed += data
            self._own.sendall(data.replace(b"\n", b"\r\n"))
        self.typed = self.typed.split(words, 1)[1]

    def close(self) -> None:
        self._own.close()


@contextmanager
def playing(tmp_path: Path, *steps: Step, stay: bool = True) -> Iterator[Console]:
    guest = Guest(steps, stay=stay)
    console = Console(guest.end, tmp_path / "console.log")
    try:
        yield console
    finally:
        console.close()
        guest.close()


@contextmanager
def shell(tmp_path: Path, command: Sequence[str], columns: int = 80) -> Iterator[Console]:
    """A shell on a real terminal with echo, narrow enough to wrap typed lines."""
    end, own = socket.socketpair()
    child, terminal = pty.fork()
    if child == 0:
        os.execve(command[0], list(command), {"PATH": os.environ["PATH"], "PS1": "live:/# ", "TERM": "vt100"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))

    def bridge() -> None:
        while True:
            for ready in select.select([terminal, own], [], [])[0]:
                try:
                    data = os.read(terminal, 64) if ready == terminal else own.recv(64)
                except OSError:
                    data = b""
                if not data:
                    own.close()
                    return
                if ready == terminal:
                    own.sendall(data)
                else:
                    os.write(terminal, data)

    thread = threading.Thread(target=bridge, daemon=True)
    thread.start()
    console = Console(end, tmp_path / "console.log")
    try:
        yield console
    finally:
        console.close()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        thread.join()
        os.close(terminal)
