"""Emulation: what roots are for, and what the kernel knows already, are read right."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from stagewright import ids
from stagewright.arch import Arch, Machine, host_machine
from stagewright.errors import Reason, StagewrightError
from stagewright.root import emulation
from stagewright.root.emulation import Handler, find_emulator, machine_of, unserved

ARM64 = Arch.ARM64.port.machine
RISCV = Arch.RISCV.port.machine

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: changing into a root needs root")

DEBIAN = """enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""  # as the kernel shows what Debian's package registers


def handler(text: str) -> Handler:
    found = Handler.read("qemu-aarch64", text)
    assert found
    return found


def test_an_entry_serves_the_machine_that_its_magic_is_for() -> None:
    assert handler(DEBIAN).serves(ARM64, None)
    assert not handler(DEBIAN).serves(RISCV, None)
    assert not handler(DEBIAN).serves(Arch.ARM.port.machine, None)


@needs_root
def test_an_interpreter_that_is_not_held_open_must_lie_in_the_root(tmp_path: Path) -> None:
    entry = handler(DEBIAN.replace("POF", "").replace("aarch64-binfmt-P", "run"))
    assert not entry.serves(ARM64, None)
    assert not entry.serves(ARM64, tmp_path)
    place = tmp_path / "usr/libexec/qemu-binfmt/run"
    place.parent.mkdir(parents=True)
    place.touch()
    assert entry.serves(ARM64, tmp_path)


OTHERS = {
    "switched off": DEBIAN.replace("enabled", "disabled"),
    "elsewhere in the file": DEBIAN.replace("offset 0", "offset 4"),
    "by the ending": "enabled\ninterpreter /usr/bin/java\nflags: \nextension .jar\n",
    "not an entry": "enabled\n",
}


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_entries_that_serve_no_machine(text: str) -> None:
    assert Handler.read("it", text) is None


def test_a_magic_without_a_mask_counts_whole() -> None:
    text = "".join(line + "\n" for line in DEBIAN.splitlines() if not line.startswith("mask"))
    assert handler(text).mask == b"\xff" * 20
    assert handler(text).serves(ARM64, None)


@needs_root
def test_a_replaced_emulator_is_registered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel keeps the old file open, so entries are named after the file's digest."""
    program = tmp_path / "qemu-aarch64-static"
    program.write_bytes(host_machine().magic[0].ljust(64, b"\0"))
    program.chmod(0o755)
    monkeypatch.setattr(emulation, "PATH", str(tmp_path))
    kernel = tmp_path / "kernel"
    kernel.mkdir()
    (kernel / "register").touch()
    monkeypatch.setattr(emulation, "BINFMT", kernel)
    emulation.register(ARM64, program)
    words = (kernel / "register").read_text(encoding="utf-8").split(":")
    assert words[2] == "M"
    assert words[6:] == [str(program), "POF"]
    ours = kernel / words[1]
    ours.write_text(DEBIAN, encoding="utf-8")
    assert unserved([ARM64]) == []
    program.write_bytes(program.read_bytes() + b"new")
    os.utime(program, ns=(1, 1))
    assert unserved([ARM64]) == [ARM64]
    emulation.register(ARM64, program)
    assert ours.read_text(encoding="utf-8") == "-1"  # by which the kernel forgets it
    assert (kernel / "register").read_text(encoding="utf-8").split(":")[1] != words[1]


def test_a_worker_without_binfmt_misc_relies_on_the_entries_that_the_engine_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 6.7 a missing emulator ended in "Exec format error"."""
    kernel = tmp_path / "kernel"
    kernel.mkdir()
    for name, text in (("register", ""), ("status", "enabled\n"), ("qemu-aarch64", DEBIAN), ("java", "enabled\n")):
        (kernel / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(emulation, "BINFMT", kernel)
    seen = emulation.of_the_computer()
    monkeypatch.setattr(emulation, "BINFMT", tmp_path / "nothing")  # and mount(8) fails, as in a user namespace
    monkeypatch.setattr(ids, "is_private", lambda: True)
    assert emulation.of_the_computer() == {}
    assert unserved([ARM64, RISCV]) == [], "nothing is known, as in a container"
    monkeypatch.setenv(*next(iter(seen.items())))
    assert unserved([ARM64, RISCV]) == [RISCV]
    with pytest.raises(StagewrightError) as caught:
        emulation.register(RISCV, Path("/bin/true"))
    assert caught.value.reason is Reason.HOST_FEATURE


def test_own_programs_need_nothing() -> None:
    assert unserved(host_machine().relatives[:1]) == []


def program_for(machine: Machine, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(machine.magic[0])


@needs_root
def test_what_a_root_is_for(tmp_path: Path) -> None:
    assert machine_of(tmp_path) is None
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/script").write_text("#!/bin/sh\n", encoding="utf-8")
    os.mkfifo(tmp_path / "usr/bin/a-pipe")
    assert machine_of(tmp_path) is None
    program_for(RISCV, tmp_path / "usr/bin/tool")
    assert machine_of(tmp_path) == RISCV
    program_for(ARM64, tmp_path / "usr/lib/ld-linux-aarch64.so.1")
    (tmp_path / "lib").symlink_to("usr/lib")
    assert machine_of(tmp_path) == ARM64
    (tmp_path / "bin").symlink_to("/usr/bin")
    (tmp_path / "usr/bin/sh").symlink_to("/etc/alternatives/sh")
    assert machine_of(tmp_path) == ARM64  # a dangling link, inside as outside
    program_for(RISCV, tmp_path / "etc/alternatives/sh")
    assert machine_of(tmp_path) == RISCV


def test_only_static_emulators_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulation, "PATH", str(tmp_path))
    assert find_emulator(ARM64) is None
    shutil.copy("/bin/sh", tmp_path / "qemu-aarch64-static")  # asks for ld.so
    assert find_emulator(ARM64) is None
    plain = tmp_path / "qemu-aarch64"
    plain.write_bytes(host_machine().magic[0].ljust(64, b"\0"))  # no program headers, so no interpreter
    plain.chmod(0o755)
    assert find_emulator(ARM64) == plain
