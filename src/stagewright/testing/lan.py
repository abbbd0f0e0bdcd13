"""A network switch for the machines of one test, without root, interfaces or a namespace.

Each machine has a network card on a stream socket, whose other end is here. QEMU sends a frame as its length (4 bytes,
big-endian) and its bytes (``-netdev socket``). A frame goes to the machine that has its address, or to all others.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from dataclasses import field
from types import TracebackType
from typing import Self

from stagewright.lazy_dataclass import dataclass
from stagewright.vm.machine import Card

ROOM = 4 << 20
"""Bytes that wait for one machine. More frames are lost, as on every switch."""

_HEAD = struct.Struct(">I")
_LARGEST = 1 << 17  # bytes of a frame; QEMU has 68 KiB at most


@dataclass
class _Port:
    """The switch's end of one cable."""

    name: str
    end: socket.socket
    heard: bytearray = field(default_factory=bytearray)
    waiting: bytearray = field(default_factory=bytearray)
    blocked: bool = False

    def frames(self) -> list[bytes]:
        """Remove the complete frames from what was heard, and return them."""
        found, start = [], 0
        while len(self.heard) - start >= _HEAD.size:
            (size,) = _HEAD.unpack_from(self.heard, start)
            if size > _LARGEST:
                raise ValueError(f"a frame of {size} bytes")
            if len(self.heard) - start < _HEAD.size + size:
                break
            found.append(bytes(self.heard[start + _HEAD.size : start + _HEAD.size + size]))
            start += _HEAD.size + size
        del self.heard[:start]
        return found

    def queue(self, frame: bytes) -> None:
        """Add a frame to those that wait for the machine, unless there are too many."""
        if not self.blocked and len(self.waiting) < ROOM:
            self.waiting += _HEAD.pack(len(frame)) + frame

    def write(self) -> None:
        """Write as much as the socket takes."""
        with contextlib.suppress(BlockingIOError):
            while self.waiting:
                sent = self.end.send(memoryview(self.waiting)[: 1 << 16])
                del self.waiting[:sent]


class Lan:
    """The switch, while its context lasts."""

    def __init__(self) -> None:
        self._ports: dict[str, _Port] = {}
        self._names: list[str] = []
        self._places: dict[bytes, str] = {}  # by the address of a card
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="network switch")
        self._ends = False

    def __enter__(self) -> Self:
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends = True
        self._wake.send(b"x")
        self._thread.join()
        self._selector.close()
        for end in (self._wake, self._woken, *(port.end for port in self._ports.values())):
            end.close()

    def card(self, name: str) -> Card:
        """Return a new network card for a machine, on a new cable. Its old cable is pulled.

        The address of the card is the same for every start of a machine: 52:54:00:00:01:NN.
        """
        ours, its = socket.socketpair()
        ours.setblocking(False)
        with self._lock:
            if name not in self._names:
                self._names.append(name)
            old = self._ports.pop(name, None)
            if old:
                self._remove(old)
            self._ports[name] = port = _Port(name, ours)
            self._selector.register(ours, selectors.EVENT_READ, port)
        self._wake.send(b"x")
        return Card(its, f"52:54:00:00:01:{self._names.index(name) + 1:02x}")

    def block(self, name: str) -> None:
        """Lose all frames from and to a machine from now on."""
        with self._lock:
            self._ports[name].blocked = True

    def unblock(self, name: str) -> None:
        """Transport the frames of a machine again."""
        with self._lock:
            self._ports[name].blocked = False

    def _serve(self) -> None:
        while not self._ends:
            ready = self._selector.select()
            with self._lock:
                for key, events in ready:
                    self._handle(key, events)
                for port in self._ports.values():
                    self._send(port)

    def _handle(self, key: selectors.SelectorKey, events: int) -> None:
        port: _Port | None = key.data
        if port is None:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(4096)
        elif self._ports.get(port.name) is port and events & selectors.EVENT_READ:
            self._receive(port)

    def _receive(self, port: _Port) -> None:
        try:
            data = port.end.recv(1 << 18)
            port.heard += data
            frames = port.frames() if data else None
        except BlockingIOError:
            return
        except (OSError, ValueError):
            frames = None
        if frames is None:  # the machine has ended
            self._remove(self._ports.pop(port.name))
            return
        for frame in frames:
            self._transport(port, frame)

    def _transport(self, source: _Port, frame: bytes) -> None:
        """Queue a frame for the machine with its address, or for all others; addresses are learned from frames."""
        if source.blocked:
            return
        self._places[frame[6:12]] = source.name
        target = self._ports.get(self._places.get(frame[:6], ""))
        for port in [target] if target else self._ports.values():
            if port is not source:
                port.queue(frame)

    def _send(self, port: _Port) -> None:
        with contextlib.suppress(OSError):  # its end is noticed when it is read
            port.write()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if port.waiting else 0)
        if self._selector.get_key(port.end).events != events:
            self._selector.modify(port.end, events, port)

    def _remove(self, port: _Port) -> None:
        self._selector.unregister(port.end)
        port.end.close()
