"""Architectures: Gentoo's names, and the names and numbers of ELF, QEMU and Debian for them."""

from __future__ import annotations

import enum
import functools
import struct
from collections.abc import Mapping
from pathlib import Path

from stagewright.lazy_dataclass import dataclass

HEADER = 40
"""Size in bytes of the part of an ELF header that identifies the machine (elf(5)): up to ``e_flags`` in 32 bits."""

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
        """Debian's port for this architecture."""
        return _PORTS[self]


MEDIA = (Arch.AMD64, Arch.ARM64)
"""Architectures that media are made for, and booted on in tests."""


def without_media(arch: str) -> tuple[str, str] | None:
    """Return the message and the hint of the error for media of an architecture; None if they are supported."""
    if arch in MEDIA:
        return None
    return f"media for {arch} are not supported", f"use a root of {' or '.join(MEDIA)}"


@dataclass(frozen=True)
class Machine:
    """A kind of processor, as ELF headers identify it, with its name in QEMU's user emulation.

    ``flags`` are a mask and a value of ``e_flags``. They are set if only the flags distinguish the machine from
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
        """Return the machine of a program with this header; None if it is not a program, or the machine is unknown."""
        return next((machine for machine in MACHINES if matches(header, *machine.magic)), None)

    @functools.cached_property
    def magic(self) -> tuple[bytes, bytes]:
        """The header of its programs, and a mask of the bits that identify the machine."""
        rest = ">HH16xI" if self.big else "<HH16xI"  # e_type, e_machine, e_flags
        mask, value = self.flags or (0, 0)
        magic = ELF + bytes([self.bits // 32, 2 if self.big else 1, 1]) + bytes(9)
        executable = 2  # ET_EXEC; the mask also accepts 3 (ET_DYN), a position-independent program
        return magic + struct.pack(rest, executable, self.number, value), (
            b"\xff" * 7 + bytes(9) + struct.pack(rest, 0xFFFE, 0xFFFF, mask)
        )

    @property
    def family(self) -> Arch:
        """The 64-bit architecture whose processors can also run its programs, or its own architecture."""
        return {Arch.X86: Arch.AMD64, Arch.ARM: Arch.ARM64, Arch.PPC: Arch.PPC64}.get(self.arch, self.arch)

    @property
    def relatives(self) -> list[Machine]:
        """This machine, then the machines whose programs a multilib system for it can contain."""
        others = [one for one in MACHINES if one != self and (one.family, one.big) == (self.family, self.big)]
        return [self, *others]

    @property
    def is_foreign(self) -> bool:
        """True if this computer cannot run its programs without an emulator."""
        host = host_machine()
        return (self.family, self.big) != (host.family, host.big) or self.bits > host.bits


def matches(header: bytes, magic: bytes, mask: bytes) -> bool:
    """Return True if a header equals a magic in the bits of a mask."""
    return len(header) >= len(magic) and all(
        (one ^ other) & bits == 0 for one, other, bits in zip(header, magic, mask, strict=False)
    )


@functools.cache
def host_machine() -> Machine:
    """Return the machine of the running Python interpreter."""
    with Path("/proc/self/exe").open("rb") as program:
        found = Machine.of(program.read(HEADER))
    assert found, "Gentoo does not support this processor"
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
"""Machines of Gentoo's architectures with a user emulation in QEMU (elf.h; scripts/qemu-binfmt-conf.sh)."""


@dataclass(frozen=True)
class Port:
    """A Debian port: its name, the prefix of its compilers, the equivalent CHOST of Gentoo, and its name in QEMU."""

    name: str
    triplet: str
    chost: str
    qemu: str

    @property
    def machine(self) -> Machine:
        """The machine of its programs."""
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
