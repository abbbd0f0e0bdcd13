"""Architectures: programs of all machines are distinguished, and the tables agree with Debian's registrations."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stagewright.arch import HEADER, MACHINES, Arch, Machine, host_machine

REGISTERED = {  # magic and mask of Debian's package qemu-user-static, /usr/lib/binfmt.d
    "aarch64": ("7f454c460201010000000000000000000200b700", "ffffffffffffff00fffffffffffffffffeffffff"),
    "arm": ("7f454c4601010100000000000000000002002800", "ffffffffffffff00fffffffffffffffffeffffff"),
    "alpha": ("7f454c4602010100000000000000000002002690", "ffffffffffffff00fffffffffffffffffeffffff"),
    "hppa": ("7f454c460102010000000000000000000002000f", "ffffffffffffff00fffffffffffffffffffeffff"),
    "loongarch64": ("7f454c4602010100000000000000000002000201", "fffffffffffffffc00fffffffffffffffeffffff"),
    "m68k": ("7f454c4601020100000000000000000000020004", "ffffffffffffff00fffffffffffffffffffeffff"),
    "mips": (
        "7f454c46010201000000000000000000000200080000000000000000000000000000000000000000",
        "ffffffffffffff00fefffffffffffffffffeffff0000000000000000000000000000000000000020",
    ),
    "mipsn32el": (
        "7f454c46010101000000000000000000020008000000000000000000000000000000000020",
        "ffffffffffffff00fefffffffffffffffeffffff0000000000000000000000000000000020",
    ),
    "ppc": ("7f454c4601020100000000000000000000020014", "fffffffffffffffcfffffffffffffffffffeffff"),
    "ppc64le": ("7f454c4602010100000000000000000002001500", "fffffffffffffffcfffffffffffffffffeffff00"),
    "riscv32": ("7f454c460101010000000000000000000200f300", "ffffffffffffff00fffffffffffffffffeffffff"),
    "s390x": ("7f454c4602020100000000000000000000020016", "fffffffffffffffcfffffffffffffffffffeffff"),
    "sparc64": ("7f454c460202010000000000000000000002002b", "fffffffffffffffcfffffffffffffffffffeffff"),
}


@pytest.mark.parametrize("name", REGISTERED)
def test_headers_are_those_that_debian_registers(name: str) -> None:
    magic, mask = (bytes.fromhex(text) for text in REGISTERED[name])
    machine = Machine.of(magic.ljust(HEADER, b"\0"))
    assert machine and machine.qemu == name
    assert all((one ^ other) & bits == 0 for one, other, bits in zip(machine.magic[0], magic, mask, strict=False))


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.qemu)
def test_no_two_machines_are_taken_for_each_other(machine: Machine) -> None:
    magic, _ = machine.magic
    assert len(magic) == HEADER
    assert Machine.of(magic) is machine
    movable = bytearray(magic)
    movable[17 if machine.big else 16] = 3  # ET_DYN
    movable[7:9] = b"\x03\x01"  # another ABI
    assert Machine.of(bytes(movable)) is machine
    movable[17 if machine.big else 16] = 1  # ET_REL: no program
    assert Machine.of(bytes(movable)) is None


@pytest.mark.parametrize("header", [b"", b"#!/bin/sh\n".ljust(HEADER), b"\x7fELF", b"\x7fELF".ljust(HEADER, b"\0")])
def test_a_file_that_is_not_a_program_has_no_machine(header: bytes) -> None:
    assert Machine.of(header) is None


def test_this_computer_runs_its_own_programs() -> None:
    assert host_machine().qemu == {"armv7l": "arm", "i686": "i386"}.get(os.uname().machine, os.uname().machine)
    assert not host_machine().is_foreign
    assert Machine.of(Path("/bin/sh").read_bytes()) == host_machine()


def machine(name: str) -> Machine:
    return next(one for one in MACHINES if one.qemu == name)


def test_who_runs_whose_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    def native(host: str) -> set[str]:
        monkeypatch.setattr("stagewright.arch.host_machine", lambda: machine(host))
        return {one.qemu for one in MACHINES if not one.is_foreign}

    assert native("x86_64") == {"x86_64", "i386"}
    assert native("i386") == {"i386"}
    assert native("aarch64") == {"aarch64", "arm"}
    assert native("ppc64") == {"ppc64", "ppc"}
    assert native("ppc64le") == {"ppc64le"}
    assert native("riscv64") == {"riscv64", "riscv32"}


@pytest.mark.parametrize(
    ("name", "relatives"),
    [
        ("riscv64", {"riscv64", "riscv32"}),
        ("mips", {"mips", "mipsn32", "mips64"}),
        ("mips64el", {"mipsel", "mipsn32el", "mips64el"}),
        ("s390x", {"s390x"}),
    ],
)
def test_what_a_multilib_root_may_hold(name: str, relatives: set[str]) -> None:
    found = machine(name).relatives
    assert found[0].qemu == name
    assert {one.qemu for one in found} == relatives


@pytest.mark.parametrize("arch", Arch)
def test_ports_are_for_machines_of_their_architecture(arch: Arch) -> None:
    assert arch.port.machine.arch is arch
    assert len(arch.port.chost.split("-", 2)) == 3
    assert arch.port.triplet.partition("-")[2].startswith("linux-gnu")


def test_ports_as_debian_and_gentoo_write_them() -> None:
    known = {arch.value: (arch.port.name, arch.port.chost) for arch in Arch}
    assert known["amd64"] == ("amd64", "x86_64-pc-linux-gnu")
    assert known["arm64"] == ("arm64", "aarch64-unknown-linux-gnu")
    assert known["arm"] == ("armhf", "armv7a-unknown-linux-gnueabihf")
    assert known["riscv"] == ("riscv64", "riscv64-unknown-linux-gnu")
    assert known["ppc64"] == ("ppc64el", "powerpc64le-unknown-linux-gnu")
    assert known["mips"] == ("mips64el", "mips64el-unknown-linux-gnu")
