"""The network switch: frames reach the machine with their address, or all others."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from stagewright.testing.lan import Lan

ALL = b"\xff" * 6


class Machine:
    """QEMU's end of a cable."""

    def __init__(self, lan: Lan, name: str) -> None:
        card = lan.card(name)
        self.end = card.cable
        self.end.settimeout(20)
        self.address = bytes.fromhex(card.address.replace(":", ""))

    def send(self, to: bytes, text: bytes) -> None:
        frame = to + self.address + text
        self.end.sendall(struct.pack(">I", len(frame)) + frame)

    def hear(self) -> bytes:
        (size,) = struct.unpack(">I", self._read(4))
        return self._read(size)[12:]

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.end.recv(size - len(data))
        return data


@pytest.fixture
def lan() -> Iterator[Lan]:
    with Lan() as made:
        yield made


@pytest.fixture
def machines(lan: Lan) -> Iterator[dict[str, Machine]]:
    made = {name: Machine(lan, name) for name in ("a", "b", "c")}
    yield made
    for machine in made.values():
        machine.end.close()


def test_a_frame_for_an_unknown_machine_reaches_all_others(machines: dict[str, Machine]) -> None:
    a, b, c = machines.values()
    a.send(ALL, b"who is there?")
    assert [b.hear(), c.hear()] == [b"who is there?"] * 2


def test_a_frame_for_a_known_machine_reaches_only_it(machines: dict[str, Machine]) -> None:
    a, b, c = machines.values()
    b.send(ALL, b"here is b")
    assert [a.hear(), c.hear()] == [b"here is b"] * 2
    a.send(b.address, b"for b")
    a.send(ALL, b"for all")
    assert [b.hear(), b.hear()] == [b"for b", b"for all"]
    assert c.hear() == b"for all"


def test_large_and_many_frames_arrive_in_order(machines: dict[str, Machine]) -> None:
    a, b, _ = machines.values()
    b.send(ALL, b"here")
    a.hear()
    for number in range(200):
        a.send(b.address, struct.pack(">I", number) + bytes(9000))
    for number in range(200):
        assert b.hear()[:4] == struct.pack(">I", number)


def test_a_pulled_cable_transports_nothing(lan: Lan, machines: dict[str, Machine]) -> None:
    a, b, c = machines.values()
    lan.block("b")
    a.send(ALL, b"lost for b")
    assert c.hear() == b"lost for b"
    lan.unblock("b")
    a.send(ALL, b"arrives")
    assert [b.hear(), c.hear()] == [b"arrives"] * 2


def test_a_machine_that_starts_again_keeps_its_address(lan: Lan, machines: dict[str, Machine]) -> None:
    a, b, c = machines.values()
    b.send(ALL, b"before")
    assert [a.hear(), c.hear()] == [b"before"] * 2
    b.end.close()
    again = Machine(lan, "b")
    assert again.address == b.address
    again.send(ALL, b"after")
    assert [a.hear(), c.hear()] == [b"after"] * 2
    a.send(again.address, b"hello again")
    assert again.hear() == b"hello again"
    again.end.close()


def test_what_is_not_a_frame_disconnects_the_machine(machines: dict[str, Machine]) -> None:
    a, b, c = machines.values()
    a.end.sendall(b"\xff\xff\xff\xff")
    assert a.end.recv(1) == b""
    b.send(ALL, b"still here")
    assert c.hear() == b"still here"


def test_the_cables_are_closed_at_the_end() -> None:
    with Lan() as lan:
        cable = lan.card("a").cable
    with cable:
        assert isinstance(cable, socket.socket)
        assert cable.recv(1) == b""
