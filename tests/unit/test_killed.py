"""A program that is ended by SIGKILL (by hand, or because the memory is full) is reported in one plain sentence."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stagewright import run
from stagewright.errors import Reason, StagewrightError
from stagewright.netboot.service import Service
from stagewright.seeds import unpack
from stagewright.vm import accel

DIES = ["sh", "-c", "kill -KILL $$"]
PASSES_ON = ["sh", "-c", "sh -c 'kill -KILL $$'; exit $?"]
ENDLESS = ["yes"]


def ignore(_: object) -> None:
    """Take a line or a chunk."""


COMMANDS: dict[str, Callable[[], object]] = {
    "captured": lambda: run.run(DIES),
    "with input": lambda: run.run(DIES, stdin=bytes(1 << 20)),
    "with lines": lambda: run.run(DIES, on_line=ignore),
    "in a program that passes it on": lambda: run.run(PASSES_ON),
    "first of a pipeline": lambda: run.pipeline([DIES, ["cat"]], ignore),
    "last of a pipeline": lambda: run.pipeline([ENDLESS, DIES], ignore),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_killed_command(command: Callable[[], object]) -> None:
    with pytest.raises(StagewrightError) as caught:
        command()
    assert caught.value.reason is Reason.COMMAND_FAILED
    assert caught.value.message in ("sh: ended by SIGKILL (signal 9)", "sh: ended by SIGKILL (exit code 137)")
    assert "memory" in caught.value.hint
    assert "dmesg" in caught.value.hint


def test_a_command_that_fails_by_itself_has_no_hint() -> None:
    with pytest.raises(StagewrightError) as caught:
        run.run(["sh", "-c", "exit 9"])
    assert not caught.value.hint


@pytest.mark.parametrize("part", ["_tar", "_decompress"])
def test_a_killed_part_of_unpacking_says_nothing_about_the_archive(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "seed.tar"
    with tarfile.open(archive, "w") as stream:
        member = tarfile.TarInfo("usr/file")
        member.size = 4 << 20
        stream.addfile(member, io.BytesIO(bytes(member.size)))
    monkeypatch.setattr(unpack, "_tar", lambda *_: ["sh", "-c", "cat > /dev/null"])
    monkeypatch.setattr(unpack, part, lambda *_: DIES)
    (tmp_path / "tree").mkdir()
    with pytest.raises(StagewrightError) as caught:
        unpack.unpack(archive, tmp_path / "tree", io.StringIO())
    assert caught.value.reason is Reason.COMMAND_FAILED
    assert "ended by SIGKILL" in caught.value.message


class Killed(Service):
    """A server that ends before it is ready."""

    def is_ready(self, seconds: float) -> bool:
        return False


def test_a_killed_server() -> None:
    server = Killed(DIES, package="-", hint="-", text="x" * (1 << 20))
    with pytest.raises(StagewrightError) as caught, server:
        pass
    assert caught.value.message == "sh did not start (ended by SIGKILL (signal 9))"


def test_a_killed_probe_is_not_remembered(tmp_path: Path) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text("#!/bin/sh\nkill -KILL $$\n", encoding="utf-8")
    qemu.chmod(0o755)
    found = accel.probe(str(qemu), cache=tmp_path / "cache", device=Path("/dev/null"))
    assert (found.name, "ended by SIGKILL" in found.why) == ("tcg", True)
    assert not (tmp_path / "cache").exists()
