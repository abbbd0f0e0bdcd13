"""The console driver with scripted guests and real shells."""

import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from guest import playing, shell

from stagewright.errors import Reason, StagewrightError

LONG = 20.0  # seconds; a limit that no test reaches


def test_expect_searches_forward_and_the_log_has_all_bytes(tmp_path: Path) -> None:
    with playing(tmp_path, b"\x1b[1mone\x1b[0m\r\n", 0.05, b"two o", 0.05, b"ne\r\n") as console:
        assert console.expect("one", LONG).start() == 0
        match = console.expect(re.compile(r"(\w+) one"), LONG)
        assert match[1] == "two"
        assert console.seconds(0) <= console.seconds(match.end() - 1)
    assert (tmp_path / "console.log").read_bytes() == b"\x1b[1mone\x1b[0m\r\ntwo one\r\n"
    assert console.text == "one\ntwo one\n"


def test_expect_takes_a_string_literally(tmp_path: Path) -> None:
    with playing(tmp_path, b"axb a.b") as console:
        assert console.expect("a.b", LONG).start() == 4


def test_again_searches_the_line_of_the_last_match(tmp_path: Path) -> None:
    with playing(tmp_path, b"old login: \r\nhost login: ") as console:
        console.expect("host login:", LONG)
        assert console.expect(re.compile("login: ?"), LONG, again=True).start() == len("old login: \nhost ")


def test_send_reaches_the_guest(tmp_path: Path) -> None:
    with playing(tmp_path, b"login: ", "root\n", b"Password: ", "secret\n", b"welcome") as console:
        console.expect("login: ", LONG)
        console.send("root\n")
        console.expect("Password: ", LONG)
        console.send("secret\n")
        console.expect("welcome", LONG)


def test_a_timeout_is_an_error_with_the_end_of_the_console(tmp_path: Path) -> None:
    lines = b"".join(b"line %d\r\n" % number for number in range(40))
    with playing(tmp_path, lines) as console, pytest.raises(StagewrightError) as caught:
        console.expect("login:", 0.3)
    assert caught.value.reason is Reason.BOOT_FAILED
    assert "login:" in caught.value.message
    assert caught.value.detail.splitlines() == [f"line {number}" for number in range(10, 40)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs", "panicked"),
        (b"\r\ndracut:/# ", "dracut"),
        (b"Entering emergency mode. Exit the shell to continue.\r\n", "emergency"),
        (b"Press Enter for maintenance\r\n", "maintenance"),
        (b"\x1b[06;01H\x1b[1m\x1b[33mShell> ", "shell"),
        (b'BdsDxe: failed to load Boot0001 "UEFI QEMU DVD-ROM": Not Found\r\n', "could not load"),
        (b"error: no such device: LIVE.\r\nEntering rescue mode...\r\ngrub rescue> ", "GRUB"),
        (b"\r\ngrub> ", "GRUB"),
    ],
)
def test_a_failed_boot_ends_the_wait_at_once(tmp_path: Path, said: bytes, told: str) -> None:
    begin = time.monotonic()
    with playing(tmp_path, b"hello\r\n", said[:9], 0.1, said[9:]) as console, pytest.raises(StagewrightError) as caught:
        console.expect("login:", LONG)
    assert time.monotonic() - begin < LONG / 2
    assert told in caught.value.message


@pytest.mark.slow
def test_the_reason_after_a_panic_is_included(tmp_path: Path) -> None:
    steps = (b"Kernel panic - not syncing", 0.2, b": IO-APIC + timer doesn't work!\r\n")
    with playing(tmp_path, *steps) as console, pytest.raises(StagewrightError) as caught:
        console.expect("login:", LONG)
    assert "IO-APIC" in caught.value.message
    assert "IO-APIC" in caught.value.detail


@pytest.mark.slow
def test_a_failure_can_be_expected(tmp_path: Path) -> None:
    steps = (b"BdsDxe: failed to load Boot0001 ", 0.2, b"from Pci: Access Denied\r\n")
    with playing(tmp_path, *steps) as console:
        console.expect("Access Denied", LONG)
    with playing(tmp_path, b"\r\nShell> ", 0.1, b"\r\nmore\r\n") as console:
        console.expect("Shell>", LONG)
        console.expect("more", LONG)  # an expected failure does not end later waits


def test_the_end_of_the_guest_ends_the_wait(tmp_path: Path) -> None:
    with playing(tmp_path, b"bye\r\n", stay=False) as console:
        with pytest.raises(StagewrightError) as caught:
            console.expect("login:", LONG)
        assert "closed its serial port" in caught.value.message
        assert console.wait_end(LONG)
        console.send("into the void\n")  # no exception: the next wait reports it


def shells() -> list[list[str]]:
    found = [["/bin/sh"], [shutil.which("bash") or "", "--norc", "-i"], [shutil.which("busybox") or "", "ash"]]
    return [words for words in found if words[0]]


@pytest.mark.slow
@pytest.mark.parametrize("words", shells(), ids=lambda words: Path(words[-1] if "ash" in words else words[0]).name)
def test_commands_run_in_real_shells(tmp_path: Path, words: Sequence[str]) -> None:
    with shell(tmp_path, words) as console:
        assert console.run("echo hello; exit 3", LONG) == (3, "hello")
        assert console.run("printf 'no line end'", LONG) == (0, "no line end")
        assert console.run("for i in a b; do\n\techo \"$i\" it\\'s %s 'Hi!'\ndone", LONG) == (
            0,
            "a it's %s Hi!\nb it's %s Hi!",
        )
        status, _ = console.run("if then (", LONG)
        assert status != 0
        assert console.run("echo " + "x" * 170, LONG) == (0, "x" * 170)
        long = "echo '" + "".join(f"{number} \\ % " for number in range(300)) + "'"
        assert console.run(long, LONG) == (0, long[6:-1])
        assert console.run("echo still here", LONG) == (0, "still here")


def test_failure_patterns_in_the_output_of_a_command_are_ignored(tmp_path: Path) -> None:
    with shell(tmp_path, ["/bin/sh"]) as console:
        assert console.run("echo 'Kernel panic - not syncing'", LONG) == (0, "Kernel panic - not syncing")


@pytest.mark.slow
def test_a_command_that_does_not_end_times_out(tmp_path: Path) -> None:
    with shell(tmp_path, ["/bin/sh"]) as console, pytest.raises(StagewrightError) as caught:
        console.run("sleep 60", 0.5)
    assert "the end of 'sleep 60'" in caught.value.message
