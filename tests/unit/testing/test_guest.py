"""The methods of guests, with real shells on a terminal and with scripted answers."""

from __future__ import annotations

import base64
import hashlib
import os
import pty
import random
import select
import shutil
import socket
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guest import shell

from stagewright.errors import Reason, StagewrightError
from stagewright.testing.guest import Guest
from stagewright.testing.results import State
from stagewright.testing.services import is_listening, wait_for_unit
from stagewright.testing.timeline import Timeline
from stagewright.testing.transfer import copy_from
from stagewright.vm.console import Console
from stagewright.vm.console_connection import LEAVE, connect

SHELLS = [["/bin/sh"], *([["/bin/bash", "--norc"]] if shutil.which("bash") else [])]
SHELLS += [["busybox", "ash"]] if shutil.which("busybox") else []


class Person(Guest):
    """A guest with an open shell."""

    def __init__(self, console: Console, folder: Path) -> None:
        super().__init__(Timeline(60), folder)
        self._console = console

    @property
    def console(self) -> Console:
        return self._console


@pytest.fixture(params=SHELLS, ids=lambda words: words[-1].rpartition("/")[2])
def person(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Person]:
    words = [shutil.which(request.param[0]) or "", *request.param[1:]]
    with shell(tmp_path, words) as console:
        yield Person(console, tmp_path)


@pytest.mark.slow
def test_a_binary_file_comes_back_as_it_was(person: Person, tmp_path: Path) -> None:
    source, there = tmp_path / "source", tmp_path / "the copy"
    source.write_bytes(random.Random(1).randbytes(30_000))
    source.chmod(0o755)
    person.copy_to(source, str(there))
    assert there.read_bytes() == source.read_bytes()
    assert there.stat().st_mode & 0o100
    back = person.copy_from(str(there), "deep/back")
    assert back == tmp_path / "files/deep/back"
    assert back.read_bytes() == source.read_bytes()
    person.succeed("echo the shell shows what is typed")
    assert [step.text for step in person.timeline.steps[:2]] == [
        f"copy source to {there}",
        f"copy {there} from the guest",
    ]


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Person]:
    with shell(tmp_path, ["/bin/sh"]) as console:
        yield Person(console, tmp_path)


def test_an_empty_file_is_copied(plain: Person, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    plain.copy_to(tmp_path / "empty", str(tmp_path / "copy"))
    assert plain.copy_from(str(tmp_path / "copy")).read_bytes() == b""


def test_a_folder_is_copied_with_modes_and_links(plain: Person, tmp_path: Path) -> None:
    source, there = tmp_path / "source", tmp_path / "the copy"
    (source / "deep" / "empty").mkdir(parents=True)
    (source / "deep/program").write_text("#!/bin/sh\n", encoding="utf-8")
    (source / "deep/program").chmod(0o755)
    (source / "link").symlink_to("deep/program")
    plain.copy_to(source, f"{there}/")
    assert os.access(there / "deep/program", os.X_OK)
    assert (there / "link").readlink() == Path("deep/program")
    back = plain.copy_from(f"{there}/", "back")
    assert sorted(str(path.relative_to(back)) for path in back.rglob("*")) == [
        "deep",
        "deep/empty",
        "deep/program",
        "link",
    ]
    assert plain.copy_from(str(there)) == tmp_path / "files/the copy"
    assert not list(tmp_path.glob("*.tar"))
    assert not list(tmp_path.glob(".copy-*"))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside"])
def test_a_folder_of_a_guest_whose_links_lead_out_of_it_is_refused(plain: Person, tmp_path: Path, target: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/link").symlink_to(target)
    with pytest.raises(StagewrightError, match="refused"):
        plain.copy_from(str(tmp_path / "source"), "back")
    assert list((tmp_path / "files/back").iterdir()) == []


def test_a_folder_needs_tar_and_a_place_in_the_guest(plain: Person, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(StagewrightError, match="cannot be written"):
        plain.copy_to(tmp_path / "source", "/dev/null/folder")
    with pytest.raises(StagewrightError, match="cannot be unpacked"):
        plain.copy_to(tmp_path / "source", str(tmp_path / "file"))
    plain.succeed("true")
    plain.console.run("true", 10)
    plain.console.send("tar() { echo no tar; return 127; }\n")
    with pytest.raises(StagewrightError, match="cannot be packed"):
        plain.copy_from(str(tmp_path / "source"))


def test_the_terminal_of_the_user_is_connected_to_the_console(plain: Person) -> None:
    """Keys that a terminal handles, such as Ctrl-C, reach the guest. The test goes on behind what was printed."""
    master, keyboard = pty.openpty()
    reader, screen = os.pipe()
    before = termios.tcgetattr(keyboard)
    user = threading.Thread(target=connect, args=(plain.console, keyboard, screen))
    user.start()
    shown = b""

    def wait_for(text: bytes, times: int = 1) -> None:
        nonlocal shown
        while shown.count(text) < times:
            assert select.select([reader], [], [], 60)[0], shown
            shown += os.read(reader, 4096)

    wait_for(b"Ctrl-]")
    os.write(master, b"cat\n")
    os.write(master, b"twice\n")
    wait_for(b"twice\r\n", 2)  # by the terminal, and by cat
    prompts = shown.count(b"# ")
    os.write(master, b"\x03")
    wait_for(b"# ", prompts + 1)  # a line before that would be read by cat
    os.write(master, b"echo back in the s''hell\n")
    wait_for(b"back in the shell")
    os.write(master, LEAVE)
    user.join(10)
    assert not user.is_alive()
    assert termios.tcgetattr(keyboard) == before
    assert plain.succeed("echo python").strip() == "python"
    for descriptor in (master, keyboard, reader, screen):
        os.close(descriptor)


def test_a_console_cannot_be_used_without_a_terminal(plain: Person) -> None:
    reader, writer = os.pipe()
    with pytest.raises(StagewrightError) as caught:
        connect(plain.console, reader, writer)
    assert caught.value.reason is Reason.USAGE
    os.close(reader)
    os.close(writer)


def test_a_place_that_cannot_be_written_and_a_file_that_is_missing(plain: Person, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StagewrightError, match="cannot be written"):
        plain.copy_to(tmp_path / "file", str(tmp_path / "missing/file"))
    with pytest.raises(StagewrightError, match="cannot be read"):
        plain.copy_from(str(tmp_path / "nothing"))


def test_a_failure_names_the_step_and_shows_the_console(plain: Person) -> None:
    assert plain.succeed("echo one", "echo two") == "one\ntwo"
    assert plain.execute("exit 3") == (3, "")
    with pytest.raises(StagewrightError) as caught:
        plain.succeed("echo reason; false")
    error = caught.value
    assert error.reason is Reason.BOOT_FAILED
    assert error.message.startswith("step 4 (run echo reason; false): ")
    assert "wrong exit status (found 1, expected 0)" in error.message
    assert error.detail.startswith("reason\n")
    assert "end of the console:" in error.detail
    assert f"console: {plain.folder}/console.log" in error.detail
    (failed,) = [step for step in plain.timeline.steps if step.state is State.FAILED]
    assert (failed.number, failed.text) == (4, "run echo reason; false")
    with pytest.raises(StagewrightError, match="it succeeded, but must fail"):
        plain.fail("true")


def test_a_command_is_repeated_until_it_succeeds_or_fails(plain: Person, tmp_path: Path) -> None:
    count = tmp_path / "count"
    once = f"test -e {count} || {{ touch {count}; false; }}"
    plain.wait_until_succeeds(f"{once}; echo done")
    plain.wait_until_fails(f"! rm {count}")
    with pytest.raises(StagewrightError) as caught:
        plain.wait_until_succeeds("echo not yet; false", timeout=0)
    assert "timed out" in caught.value.message
    assert caught.value.detail.startswith("last output (status 1):\nnot yet")


@pytest.mark.slow
def test_files_and_ports_are_waited_for(plain: Person, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        plain.wait_for_open_port(port)
        assert is_listening(plain, port)
    plain.wait_for_closed_port(port)
    plain.run(f"(sleep 0.1; touch '{tmp_path}/a file') > /dev/null 2>&1 &")
    plain.wait_for_file(f"{tmp_path}/a file")


def test_titles_of_subtests_are_in_the_steps(plain: Person) -> None:
    with plain.subtest("services"), plain.subtest("network"):
        plain.succeed("true")
    plain.succeed("true")
    assert [step.text for step in plain.timeline.steps] == ["services: network: run true", "run true"]


class Answers:
    """A shell that answers commands from a list of (part of the command, status, output)."""

    def __init__(self, *answers: tuple[str, int, str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    @property
    def console(self) -> Console:
        raise AssertionError

    def run(self, command: str, timeout: float | None = None) -> tuple[int, str]:
        self.asked.append(command)
        part, status, output = self.answers.pop(0)
        assert part in command
        return status, output

    def wait_until(self, what: str, attempt: Callable[[], bool], timeout: float | None = None) -> None:
        while not attempt():
            assert self.answers


ACTIVE, STATUS = "systemctl is-active sshd.service", "systemctl status"
SYSTEMD = ("/run/systemd/system", 0, "systemd")
OPENRC = ("/run/systemd/system", 0, "openrc")


def test_a_unit_is_waited_for_while_systemd_works() -> None:
    jobs = ("list-jobs", 0, "  42 sshd.service start waiting")
    wait_for_unit(
        Answers(SYSTEMD, (ACTIVE, 3, "activating"), (ACTIVE, 3, "inactive"), jobs, (ACTIVE, 0, "active")),
        "sshd.service",
    )


def test_a_failed_unit_is_reported_at_once_with_its_journal() -> None:
    status = (STATUS, 3, "sshd.service: failed\nNov 29 sshd[7]: no host key")
    guest = Answers(SYSTEMD, (ACTIVE, 3, "failed"), status, ("--state=failed", 0, "sshd.service loaded failed failed"))
    with pytest.raises(StagewrightError, match=r"unit sshd\.service failed") as caught:
        wait_for_unit(guest, "sshd.service")
    assert "no host key" in caught.value.detail
    assert "failed units:\nsshd.service loaded" in caught.value.detail


def test_an_inactive_unit_without_jobs_is_reported_at_once() -> None:
    asked = [(ACTIVE, 3, "inactive"), ("list-jobs", 1, ""), (ACTIVE, 3, "inactive")]
    guest = Answers(SYSTEMD, *asked, (STATUS, 3, "dead"), ("--state=failed", 0, ""))
    with pytest.raises(StagewrightError, match="no pending jobs"):
        wait_for_unit(guest, "sshd.service")


def test_a_unit_that_starts_between_two_questions_is_active() -> None:
    wait_for_unit(
        Answers(SYSTEMD, (ACTIVE, 3, "inactive"), ("list-jobs", 1, ""), (ACTIVE, 0, "active")), "sshd.service"
    )


def test_services_of_openrc() -> None:
    command = "rc-service sshd status"
    wait_for_unit(Answers(OPENRC, (command, 8, "starting"), (command, 0, "started")), "sshd.service")
    with pytest.raises(StagewrightError, match="crashed"):
        wait_for_unit(Answers(OPENRC, (command, 32, "status: crashed")), "sshd")
    with pytest.raises(StagewrightError, match="not known"):
        wait_for_unit(Answers(OPENRC, (command, 1, "does not exist")), "sshd")


def test_a_guest_without_services_is_reported() -> None:
    with pytest.raises(StagewrightError, match="neither systemd nor OpenRC"):
        wait_for_unit(Answers(("/run/systemd/system", 0, "none")), "sshd.service")


def test_a_piece_that_a_kernel_message_destroys_is_read_again(tmp_path: Path) -> None:
    data = b"the content"
    lines, digest = base64.b64encode(data).decode(), hashlib.sha256(data).hexdigest()
    good = f"{lines}\n{digest}  -"
    guest = Answers(
        ("wc -c", 0, "11"),
        ("base64", 0, f"{lines[:4]}[  1.2] usb 1-1: new device\n{lines[4:]}\n{digest}  -"),
        ("base64", 0, f"{lines[:-4]}AAAA\n{digest}  -"),
        ("base64", 0, good),
        ("sha256sum", 0, f"{digest}  -"),
    )
    copy_from(guest, "/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == data


def test_a_file_that_changes_while_it_is_copied_is_reported(tmp_path: Path) -> None:
    data = base64.b64encode(b"x").decode()
    digest = hashlib.sha256(b"x").hexdigest()
    guest = Answers(("wc -c", 0, "1"), ("base64", 0, f"{data}\n{digest}  -"), ("sha256sum", 0, "0" * 64))
    with pytest.raises(StagewrightError, match="changed"):
        copy_from(guest, "/file", tmp_path / "file")
