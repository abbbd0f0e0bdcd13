"""Architectures: what Gentoo calls them, and what that means to ELF, to QEMU and to Debian."""

from __future__ import annotations

import enum
import functools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HEADER = 40
"""Bytes at the beginning of a program that tell what it is for (elf(5)): up to ``e_flags`` of a 32-bit one."""

ELF = b"\x7fELF"


class Arch(enum.StrEnum):
    """An architecture by Gentoo's name, as in ``profiles/arch.list``."""

    ALPHA = "alpha"
    AMD64 = "amd64"
    ARM = "arm"
    ARM64 = "arm64"
    HPPA = "hppa"
    LOONG = "loong"
    M68K = "m68k"
    MIPS = "mips"
    PPC = "ppc"
    PPC64 = "ppc64"
    RISCV = "riscv"
    S390 = "s390"
    SPARC = "sparc"
    X86 = "x86"

    @property
    def port(self) -> Port:
        """Debian's port of it."""
        return _PORTS[self]


@dataclass(frozen=True)
class Machine:
    """A kind of processor, as ELF headers tell it and under the name that QEMU's user emulation has for it.

    ``flags`` are a mask and the value under it that ``e_flags`` of its programs have, where only that tells it from
    another one.
    """

    qemu: str
    arch: Arch
    number: int  # e_machine
    bits: int = 64
    big: bool = False  # the byte order
    flags: tuple[int, int] | None = None

    @classmethod
    def of(cls, header: bytes) -> Machine | None:
        """What the program that begins so is for; None for what is no program, or for no machine known here."""
        return next((machine for machine in MACHINES if matches(header, *machine.magic)), None)

    @functools.cached_property
    def magic(self) -> tuple[bytes, bytes]:
        """The beginning of its programs, and the mask of the bits that count."""
        rest = ">HH16xI" if self.big else "<HH16xI"  # e_type, e_machine, e_flags
        mask, value = self.flags or (0, 0)
        magic = ELF + bytes([self.bits // 32, 2 if self.big else 1, 1]) + bytes(9)
        executable = 2  # and 3 is one that can lie anywhere, which the mask lets pass
        return magic + struct.pack(rest, executable, self.number, value), (
            b"\xff" * 7 + bytes(9) + struct.pack(rest, 0xFFFE, 0xFFFF, mask)
        )

    @property
    def family(self) -> Arch:
        """The architecture by whose processors it is understood too, or its own."""
        return {Arch.X86: Arch.AMD64, Arch.ARM: Arch.ARM64, Arch.PPC: Arch.PPC64}.get(self.arch, self.arch)

    @property
    def relatives(self) -> list[Machine]:
        """Itself, then the machines whose programs a multilib system of it may hold."""
        others = [one for one in MACHINES if one != self and (one.family, one.big) == (self.family, self.big)]
        return [self, *others]

    @property
    def is_foreign(self) -> bool:
        """Whether this computer does not run its programs by itself."""
        host = host_machine()
        return (self.family, self.big) != (host.family, host.big) or self.bits > host.bits


def matches(header: bytes, magic: bytes, mask: bytes) -> bool:
    """Whether a header has the bits of a magic that a mask lets count."""
    return len(header) >= len(magic) and all(
        (one ^ other) & bits == 0 for one, other, bits in zip(header, magic, mask, strict=False)
    )


@functools.cache
def host_machine() -> Machine:
    """The machine that this program is for."""
    with Path("/proc/self/exe").open("rb") as program:
        found = Machine.of(program.read(HEADER))
    assert found, "there is no Gentoo for this processor"
    return found


_N32 = 0x20  # EF_MIPS_ABI2

MACHINES = (
    Machine("alpha", Arch.ALPHA, 0x9026),
    Machine("x86_64", Arch.AMD64, 62),
    Machine("arm", Arch.ARM, 40, 32),
    Machine("aarch64", Arch.ARM64, 183),
    Machine("armeb", Arch.ARM, 40, 32, big=True),
    Machine("aarch64_be", Arch.ARM64, 183, big=True),
    Machine("hppa", Arch.HPPA, 15, 32, big=True),
    Machine("loongarch64", Arch.LOONG, 258),
    Machine("m68k", Arch.M68K, 4, 32, big=True),
    Machine("mips", Arch.MIPS, 8, 32, big=True, flags=(_N32, 0)),
    Machine("mipsn32", Arch.MIPS, 8, 32, big=True, flags=(_N32, _N32)),
    Machine("mips64", Arch.MIPS, 8, big=True),
    Machine("mipsel", Arch.MIPS, 8, 32, flags=(_N32, 0)),
    Machine("mipsn32el", Arch.MIPS, 8, 32, flags=(_N32, _N32)),
    Machine("mips64el", Arch.MIPS, 8),
    Machine("ppc", Arch.PPC, 20, 32, big=True),
    Machine("ppc64", Arch.PPC64, 21, big=True),
    Machine("ppc64le", Arch.PPC64, 21),
    Machine("riscv32", Arch.RISCV, 243, 32),
    Machine("riscv64", Arch.RISCV, 243),
    Machine("s390x", Arch.S390, 22, big=True),
    Machine("sparc", Arch.SPARC, 2, 32, big=True),
    Machine("sparc32plus", Arch.SPARC, 18, 32, big=True),
    Machine("sparc64", Arch.SPARC, 43, big=True),
    Machine("i386", Arch.X86, 3, 32),
)
"""The machines of Gentoo's architectures that QEMU has a user emulation for (elf.h; scripts/qemu-binfmt-conf.sh)."""


@dataclass(frozen=True)
class Port:
    """A port of Debian: its name, the prefix of its compilers, Gentoo's CHOST for the same, and QEMU's name for it."""

    name: str
    triplet: str
    chost: str
    qemu: str

    @property
    def machine(self) -> Machine:
        """The machine it is for."""
        return next(machine for machine in MACHINES if machine.qemu == self.qemu)


def _port(name: str, triplet: str, qemu: str, vendor: str = "unknown", *, cpu: str = "", system: str = "") -> Port:
    own_cpu, _, own_system = triplet.partition("-")
    return Port(name, triplet, f"{cpu or own_cpu}-{vendor}-{system or own_system}", qemu)


_PORTS: Mapping[Arch, Port] = {
    Arch.ALPHA: _port("alpha", "alpha-linux-gnu", "alpha"),
    Arch.AMD64: _port("amd64", "x86_64-linux-gnu", "x86_64", "pc"),
    Arch.ARM: _port("armhf", "arm-linux-gnueabihf", "arm", cpu="armv7a"),
    Arch.ARM64: _port("arm64", "aarch64-linux-gnu", "aarch64"),
    Arch.HPPA: _port("hppa", "hppa-linux-gnu", "hppa", cpu="hppa2.0"),
    Arch.LOONG: _port("loong64", "loongarch64-linux-gnu", "loongarch64"),
    Arch.M68K: _port("m68k", "m68k-linux-gnu", "m68k"),
    Arch.MIPS: _port("mips64el", "mips64el-linux-gnuabi64", "mips64el", system="linux-gnu"),
    Arch.PPC: _port("powerpc", "powerpc-linux-gnu", "ppc"),
    Arch.PPC64: _port("ppc64el", "powerpc64le-linux-gnu", "ppc64le"),
    Arch.RISCV: _port("riscv64", "riscv64-linux-gnu", "riscv64"),
    Arch.S390: _port("s390x", "s390x-linux-gnu", "s390x", "ibm"),
    Arch.SPARC: _port("sparc64", "sparc64-linux-gnu", "sparc64"),
    Arch.X86: _port("i386", "i686-linux-gnu", "i386", "pc"),
}
