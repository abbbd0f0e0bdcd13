"""Running commands: what they get, what their failure says, and how they end."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from children import none_left

import stagewright
from stagewright.errors import Reason, StagewrightError
from stagewright.interpreter import interpreter, python
from stagewright.run import (
    GRACE,
    PATH,
    PIPE,
    TAIL_LINES,
    converse,
    describe,
    environment,
    interactive,
    paste,
    pipeline,
    run,
    spawn,
)


def failure(*words: str | Path, **options: Any) -> StagewrightError:
    with pytest.raises(StagewrightError) as caught:
        run(words, **options)
    return caught.value


# what commands get


def test_output_is_captured() -> None:
    result = run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (result.code, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_output_that_is_not_text_is_replaced() -> None:
    assert run(["printf", r"\377x"]).stdout == "\N{REPLACEMENT CHARACTER}x"


def test_the_environment_is_minimal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET", "LC_ALL", "MAKEFLAGS", "LD_PRELOAD_X", "PYTHONPATH"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HOME", "/somewhere")
    found = dict(line.split("=", 1) for line in run(["env"]).stdout.splitlines())
    assert found == {"PATH": PATH, "LANG": "C.UTF-8", "TZ": "UTC", "HOME": "/somewhere"}
    assert environment({"A": "b", "TZ": "CET"}) == {**found, "A": "b", "TZ": "CET"}


def test_a_program_is_looked_up_in_the_path_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\necho fake", encoding="utf-8")
    (tmp_path / "tool").chmod(0o755)
    assert run(["tool"], env={"PATH": str(tmp_path)}).stdout == "fake\n"


def test_standard_input_is_closed() -> None:
    assert run(["cat"]).stdout == ""
    assert run(["cat"], stdin=b"x").stdout == "x"
    assert run(["cat"], on_line=print).stdout == ""


def test_only_the_descriptors_that_were_named_are_open() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        words = ["sh", "-c", f"test -e /proc/self/fd/{writer}"]
        assert run(words, check=False).code == 1
        assert run(words, check=False, pass_fds=[writer]).code == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_lines_come_as_they_are_printed(tmp_path: Path) -> None:
    lines: list[str] = []
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        result = run(["sh", "-c", "echo one; echo two >&2; printf three"], log=log, on_line=lines.append)
    assert lines == ["one", "two", "three"]
    assert result.stdout == "one\ntwo\nthree"
    head, *rest = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert head.startswith("+ sh -c ")
    assert rest == lines


# what a failure says


@pytest.mark.parametrize("streamed", [False, True])
def test_a_failure_shows_a_line_to_paste_and_the_end_of_the_output(tmp_path: Path, streamed: bool) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    words = ["sh", "-c", 'seq 100; echo "it\'s $PWD"; exit 7']
    options: dict[str, Any] = {"on_line": lambda line: None} if streamed else {}
    error = failure(*words, cwd=folder, **options)
    assert error.reason is Reason.COMMAND_FAILED
    pasted, *tail = error.detail.splitlines()
    assert len(tail) == TAIL_LINES
    assert tail[-1] == f"it's {folder}"
    assert tail[0] == str(100 - TAIL_LINES + 2)
    command = pasted.strip().removeprefix("$ ")
    again = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert again.returncode == 7
    assert again.stdout.splitlines()[-TAIL_LINES:] == tail


def test_a_signal_is_named() -> None:
    assert "SIGKILL (signal 9)" in failure("sh", "-c", "kill -9 $$").message


@pytest.mark.parametrize("streamed", [False, True])
def test_a_full_disk_is_distinguished_from_other_failures(streamed: bool) -> None:
    options: dict[str, Any] = {"on_line": lambda line: None} if streamed else {}
    assert failure("sh", "-c", "cat /etc/passwd > /dev/full", **options).reason is Reason.DISK_FULL
    xorriso = "xorriso : FAILURE : Image size 59033s exceeds free space on media 29176s"
    assert failure("sh", "-c", f"echo '{xorriso}'; exit 32", **options).reason is Reason.DISK_FULL


def test_a_program_that_is_not_there() -> None:
    start: list[Callable[[], object]] = [
        lambda: run(["no-such-program"]),
        lambda: run(["no-such-program"], check=False),
        lambda: run(["no-such-program"], on_line=print),
        lambda: spawn(["no-such-program"]),
        lambda: interactive(["no-such-program"]),
    ]
    for call in start:
        with pytest.raises(StagewrightError) as caught:
            call()
        assert caught.value.reason is Reason.MISSING_TOOL
        assert caught.value.hint


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.touch()], ids=["missing", "a file"])
def test_a_folder_that_is_not_there(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "x")
    error = failure("true", cwd=tmp_path / "x")
    assert error.reason is Reason.MISSING_FILE
    assert error.hint


@pytest.mark.parametrize("mode", [0o644, 0o755])
def test_a_file_that_is_not_a_program_is_reported(tmp_path: Path, mode: int) -> None:
    (tmp_path / "tool").write_bytes(b"\x00nothing")
    (tmp_path / "tool").chmod(mode)
    assert failure(tmp_path / "tool").reason is Reason.COMMAND_FAILED


def test_a_command_that_takes_too_long() -> None:
    error = failure("sleep", "60", timeout=0.05)
    assert error.reason is Reason.COMMAND_FAILED
    assert "sleep 60" in error.detail


def test_the_exit_code_of_an_interactive_command() -> None:
    assert interactive(["sh", "-c", "exit 5"]) == 5


def test_pasting() -> None:
    assert paste(["echo", "a b", Path("x")]) == "echo 'a b' x"
    assert paste(["true"], cwd=Path("/a b")) == "cd '/a b' && true"


# ends of processes


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_callback_that_raises_ends_the_command() -> None:
    pids: list[int] = []

    def refuse(line: str) -> None:
        pids.append(int(line))
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        run(["sh", "-c", "echo $$; exec sleep 4321"], on_line=refuse)
    assert not is_running(pids[0])


class FullLog(io.StringIO):
    """A log on a disk that becomes full after the first line."""

    def write(self, text: str) -> int:
        if not text.startswith("+ "):
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_log_that_cannot_be_written_ends_the_command(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        run(["sh", "-c", f"echo $$ > {tmp_path}/pid; echo; exec sleep 4321"], log=FullLog())
    assert not is_running(int((tmp_path / "pid").read_text(encoding="utf-8")))


def test_a_command_is_ended_with_its_context() -> None:
    with spawn(["sleep", "4321"]) as process:
        assert is_running(process.pid)
    assert process.returncode == -signal.SIGTERM
    assert not is_running(process.pid)


def test_a_stopped_command_is_ended_at_once() -> None:
    with spawn(["sleep", "4321"]) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        started = time.monotonic()
        assert process.end() == -signal.SIGTERM
    assert time.monotonic() - started < GRACE


def test_a_command_may_tidy_up_when_it_is_ended(tmp_path: Path) -> None:
    words = ["sh", "-c", f"trap 'echo done > {tmp_path}/done; exit 3' TERM; echo; while :; do sleep 0.01; done"]
    with spawn(words, stdout=PIPE) as process:
        assert process.stdout
        process.stdout.readline()
    assert process.returncode == 3
    assert (tmp_path / "done").exists()


def test_a_command_that_ignores_sigterm_is_killed() -> None:
    with spawn(["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.01; done"], stdout=PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert process.end(grace=0.05) == -signal.SIGKILL


def test_ending_a_command_twice_gives_the_same_result() -> None:
    with spawn(["sh", "-c", "exit 3"]) as process:
        process.wait()
        assert process.end() == 3
        assert process.end() == 3


def test_the_keyboard_of_an_interactive_command_is_its_own() -> None:
    assert interactive(["sh", "-c", "kill -INT $PPID; sleep 0.1; exit 5"]) == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interactive_command_can_be_interrupted() -> None:
    assert interactive(["sh", "-c", "kill -INT $$; exit 5"]) == -signal.SIGINT


@pytest.mark.parametrize(("close", "end"), [(True, "orphaned"), (False, "up")])
def test_a_process_without_a_parent_ends(close: bool, end: str) -> None:
    program = "import sys; from stagewright.run import exit_if_orphaned; exit_if_orphaned(); print('up')"
    reader, writer = os.pipe()
    if close:
        os.close(writer)
    done = subprocess.run([sys.executable, "-c", program], stdin=reader, capture_output=True, text=True, check=False)
    os.close(reader)
    if not close:
        os.close(writer)
    assert (done.returncode, done.stdout) == ((1, "") if end == "orphaned" else (0, "up\n"))


@pytest.mark.parametrize(
    ("code", "said"), [(3, "exit code 3"), (-9, "ended by SIGKILL (signal 9)"), (-40, "ended by signal 40")]
)
def test_the_end_of_a_process_in_words(code: int, said: str) -> None:
    assert describe(code) == said


# our own modules in other processes


def test_a_module_of_ours_comes_from_the_tree_of_this_process(tmp_path: Path) -> None:
    """A folder named stagewright in the working directory, which is that of a user's project, does not count."""
    (tmp_path / "stagewright").mkdir()
    (tmp_path / "stagewright" / "__init__.py").write_text("raise SystemExit('the wrong one')", encoding="utf-8")
    program = "import stagewright; print(stagewright.__file__)"
    assert run([*interpreter(), "-c", program], cwd=tmp_path).stdout.strip() == stagewright.__file__
    assert run(python("stagewright", "--version"), cwd=tmp_path).stdout.strip()


# commands side by side


def test_a_pipeline_hands_on_what_it_makes(tmp_path: Path) -> None:
    found: list[bytes] = []
    log = tmp_path / "log"
    with log.open("w", encoding="utf-8") as stream:
        pipeline([["printf", "b\\na\\n"], ["sort"], ["sh", "-c", "echo said >&2; cat"]], found.append, log=stream)
    assert b"".join(found) == b"a\nb\n"
    assert log.read_text(encoding="utf-8") == "+ printf 'b\\na\\n' | sort | sh -c 'echo said >&2; cat'\nsaid\n"


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        ([["sh", "-c", "echo no >&2; exit 2"], ["cat"]], "sh: exit code 2"),
        ([["sh", "-c", "exit 2"], ["sh", "-c", "cat; exit 3"]], "sh: exit code 2"),
        ([["yes"], ["sh", "-c", "exit 3"]], "sh: exit code 3"),
        ([["yes"], ["true"]], "yes: ended by SIGPIPE (signal 13)"),
        ([["yes"], ["head", "-c5"], ["cat"]], "yes: ended by SIGPIPE (signal 13)"),
    ],
)
def test_a_pipeline_fails_with_its_parts(commands: list[list[str]], said: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        pipeline(commands, lambda _: None)
    assert (caught.value.reason, caught.value.message) == (Reason.COMMAND_FAILED, said)


def test_a_pipeline_ends_when_its_reader_stops() -> None:
    def full(data: bytes) -> None:
        raise OSError("enough")

    with none_left(), pytest.raises(OSError, match="enough"):
        pipeline([["yes"], ["cat"]], full)


def test_a_pipeline_without_one_of_its_programs() -> None:
    with none_left(), pytest.raises(StagewrightError) as caught:
        pipeline([["yes"], ["no-such-program"]], lambda _: None)
    assert caught.value.reason is Reason.MISSING_TOOL


# questions


def test_a_question_is_answered_from_a_terminal_that_the_command_then_loses() -> None:
    lines: list[str] = []
    asked: list[str] = []
    script = """
test -t 0 && echo terminal
printf 'go on? [Yes/No] '
read -r said
echo "said $said"
sleep 0.2
echo more
sleep 0.2
read -r again || echo nothing more
"""

    def answer(text: str) -> str | None:
        asked.append(text)
        return "Yes" if text.endswith("[Yes/No] ") else None

    result = converse(["sh", "-c", script], answer, on_line=lines.append)
    assert (result.code, lines) == (0, ["terminal", "go on? [Yes/No] said Yes", "more", "nothing more"])
    assert asked == ["go on? [Yes/No] "]


def test_an_error_of_the_answer_ends_the_command() -> None:
    def answer(_: str) -> str:
        raise StagewrightError(Reason.FETCH_FAILED, "no network")

    with none_left(), pytest.raises(StagewrightError, match="no network"):
        converse(["sh", "-c", "printf 'go on? '; sleep 100"], answer, on_line=lambda _: None)
