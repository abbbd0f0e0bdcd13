"""A command on a new terminal cannot type into the user's; keys, size, signals and settings pass as over ssh."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import sys
import termios
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from terminals import User, on_terminal

from stagewright.interpreter import package_path

OLD = "from stagewright.run import interactive as run"
NEW = "from stagewright.terminal import run_on_new_terminal as run"


def user(script: str, *, before: str = "") -> AbstractContextManager[User]:
    """Run a Python script on a terminal."""
    text = f"import sys; sys.path.insert(0, {package_path()!r})\n{script}"
    return on_terminal([sys.executable, "-c", text], before=before)


TYPING = """
import fcntl, os, sys, termios
try:
    for letter in b"typed\\n":
        fcntl.ioctl(0, termios.TIOCSTI, bytes([letter]))
    print("done")
except OSError as error:
    print("refused", error.errno)
"""

READ_REST = """
import select
print("the user has:", sys.stdin.readline() if select.select([0], [], [], 0)[0] else "nothing", flush=True)
"""


@pytest.mark.parametrize(("old", "expected"), [(True, b"has: typed"), (False, b"has: nothing")])
def test_a_command_cannot_type_into_the_terminal_of_the_user(old: bool, expected: bytes) -> None:
    setting = Path("/proc/sys/dev/tty/legacy_tiocsti")
    if setting.exists() and setting.read_text(encoding="ascii").strip() == "0":
        pytest.skip("NOT TESTED: this kernel has no TIOCSTI")
    script = f"{OLD if old else NEW}\nrun([sys.executable, '-c', {TYPING!r}])\n{READ_REST}"
    with user(script) as found:
        found.wait_for(b"done")
        found.wait_for(b"the user has: ")
        found.end()
        assert expected in found.said


SETTINGS = "import termios; print('settings:', termios.tcgetattr(0)[3] & termios.ECHO)"

CHILD = """
trap 'echo interrupted' INT
trap 'echo size: $(stty size)' WINCH
echo ready: $(stty size), $(stty -a | grep -o ' [-]*echo ')
while read -r line; do echo "line: $line"; [ "$line" = end ] && exit 7; done
"""


def test_keys_size_and_exit_code_are_passed_on() -> None:
    script = f"{NEW}\ncode = run(['bash', '-c', {CHILD!r}])\n{SETTINGS}\nsys.exit(code)"
    with user(script, before="stty rows 31 columns 97;") as found:
        found.wait_for(b"ready: 31 97, echo")
        found.type(b"hello\r")
        found.wait_for(b"line: hello")
        found.type(b"\x03\r")
        found.wait_for(b"interrupted")
        fcntl.ioctl(found.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        found.type(b"\r")  # bash runs traps after a line
        found.wait_for(b"size: 40 100")
        found.type(b"end\r")
        found.wait_for(b"settings: 8")
        assert found.end() == 7
        assert found.said.count(b"hello\r\n") == 2, "once as the echo, once as the line"


def test_a_signal_ends_the_command_and_the_settings_are_restored(tmp_path: Path) -> None:
    script = f"{NEW}\ntry:\n    run(['sh', '-c', 'echo pid: $$.; exec sleep 4321'])\nfinally:\n    {SETTINGS}"
    with user(script) as found:
        found.wait_for(b"pid: ")
        found.wait_for(b".")
        child = int(found.said.split(b"pid: ")[1].split(b".")[0])
        assert not termios.tcgetattr(found.terminal)[3] & termios.ECHO, "raw while the command runs"
        os.kill(found.pid, signal.SIGTERM)
        found.wait_for(b"settings: 8")
        assert found.end() == 128 + signal.SIGTERM
        assert not Path(f"/proc/{child}").exists()


UNNOTICED = """
import signal, threading, time
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
"""
"""The system gives SIGTERM to the other thread, so it interrupts nothing: as one that comes just before a wait."""


def test_a_signal_that_interrupts_no_wait_ends_the_command() -> None:
    with user(f"{NEW}\n{UNNOTICED}\nrun(['sh', '-c', 'echo pid: $$.; exec sleep 4321'])") as found:
        found.wait_for(b"pid: ")
        found.wait_for(b".")
        os.kill(found.pid, signal.SIGTERM)
        assert found.end() == 128 + signal.SIGTERM


MANY = """
import os, resource, threading
resource.setrlimit(resource.RLIMIT_NOFILE, (1200, 1200))
for _ in range(1100):
    os.dup(0)
thread = threading.Thread(target=lambda: run(["sh", "-c", "read line; echo line: $line"]))
thread.start()
thread.join()
"""


def test_a_thread_with_many_open_files_can_run_a_command() -> None:
    """Only the main thread can set signal handlers, and select(2) takes no descriptor above 1023."""
    with user(f"{NEW}\n{MANY}\n{SETTINGS}") as found:
        found.type(b"hello\r")
        found.wait_for(b"line: hello")
        found.wait_for(b"settings: 8")
        assert found.end() == 0


NO_TERMINAL = "echo x > /dev/tty || echo no terminal of its own"


def test_a_command_without_the_keyboard_prints_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("from the file\n", encoding="utf-8")
    script = f"{NEW}\nrun(['sh', '-c', 'cat; test -t 1 && echo printed; {NO_TERMINAL}'])"
    with user(script, before=f"exec < {tmp_path}/input; ") as found:
        found.wait_for(b"no terminal of its own")
        assert found.end() == 0
        assert b"from the file\r\nprinted\r\n" in found.said


def test_without_standard_streams_the_command_does_not_have_the_terminal(tmp_path: Path) -> None:
    output = tmp_path / "output"
    for line, expected in ((OLD, ""), (NEW, "no terminal of its own\n")):
        script = f"{line}\nrun(['sh', '-c', {NO_TERMINAL!r}])"
        with user(script, before=f"exec < /dev/null > {output} 2> /dev/null; ") as found:
            found.end()
        assert output.read_text(encoding="utf-8") == expected
