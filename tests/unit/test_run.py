"""Running commands: what they get, what their failure says, and functions that run inside a root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stagewright.errors import Place, Reason, StagewrightError
from stagewright.run import PATH, TAIL_LINES, environment, inside, interactive, paste, pipeline, run, spawn

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: changing into a root needs root")


def failure(*words: str | Path, **options: Any) -> StagewrightError:
    with pytest.raises(StagewrightError) as caught:
        run(words, **options)
    return caught.value


# what commands get


def test_output_is_captured() -> None:
    result = run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (result.code, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_output_that_is_no_text() -> None:
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
    assert "signal 9" in failure("sh", "-c", "kill -9 $$").message


@pytest.mark.parametrize("streamed", [False, True])
def test_a_full_disk_is_told_from_other_failures(streamed: bool) -> None:
    options: dict[str, Any] = {"on_line": lambda line: None} if streamed else {}
    assert failure("sh", "-c", "cat /etc/passwd > /dev/full", **options).reason is Reason.DISK_FULL


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
def test_a_file_that_is_no_program(tmp_path: Path, mode: int) -> None:
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


# inside a root


def fail(error: BaseException) -> None:
    raise error


def die() -> None:
    os._exit(0)


def give(value: Any) -> Any:
    return value


@needs_root
def test_inside_sees_the_root_and_gives_back_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "only-here").touch()
    assert inside(tmp_path, os.listdir, "/") == ["only-here"]
    assert inside(tmp_path, Path.cwd) == Path("/")
    assert inside(tmp_path, give, {"a": [1, Path("x")]}) == {"a": [1, Path("x")]}
    assert inside(tmp_path, give, None) is None
    assert Path("/etc").exists()


@needs_root
def test_inside_keeps_open_descriptors(tmp_path: Path) -> None:
    descriptor = os.open("/etc", os.O_RDONLY)
    try:
        assert "passwd" in inside(tmp_path, os.listdir, descriptor)
    finally:
        os.close(descriptor)


@needs_root
def test_inside_passes_our_errors_on(tmp_path: Path) -> None:
    error = StagewrightError(Reason.BUILD_FAILED, "m", place=Place(Path("x"), 1, 2), hint="h", detail="d")
    with pytest.raises(StagewrightError) as caught:
        inside(tmp_path, fail, error)
    assert caught.value.to_dict() == error.to_dict()


@needs_root
def test_inside_passes_errors_of_the_system_on(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        inside(tmp_path, os.listdir, "/none")
    assert caught.value.filename == "/none"


@needs_root
@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (fail, ValueError("the cause")),
        (fail, OSError("the cause")),
        (fail, SystemExit("the cause")),
        (give, lambda: "the cause cannot be pickled"),
    ],
)
def test_anything_else_inside_is_a_bug_with_its_cause(
    tmp_path: Path, function: Callable[[Any], Any], argument: Any
) -> None:
    with pytest.raises(RuntimeError) as caught:
        inside(tmp_path, function, argument)
    assert "the cause" in str(caught.value) or "pickle" in str(caught.value)


@needs_root
def test_a_death_inside_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        inside(tmp_path, die)
    with pytest.raises(ChildProcessError):  # and nobody is left behind
        os.waitpid(-1, os.WNOHANG)


@needs_root
def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inside(tmp_path / "none", os.getcwd)


def test_the_lifeline_ends_a_process_whose_parent_is_gone() -> None:
    program = "import time; from stagewright.run import lifeline; lifeline(); print('up', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        assert child.stdin
        assert child.stdout.readline() == "up\n"
        child.stdin.close()
        assert child.wait(timeout=30) == 1


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
        ([["yes"], ["true"]], "yes: ended by signal 13"),
        ([["yes"], ["head", "-c5"], ["cat"]], "yes: ended by signal 13"),
    ],
)
def test_a_pipeline_fails_with_its_parts(commands: list[list[str]], said: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        pipeline(commands, lambda _: None)
    assert (caught.value.reason, caught.value.message) == (Reason.COMMAND_FAILED, said)


def test_a_pipeline_ends_when_nobody_wants_more() -> None:
    def full(data: bytes) -> None:
        raise OSError("enough")

    with pytest.raises(OSError, match="enough"):
        pipeline([["yes"], ["cat"]], full)
    with pytest.raises(ChildProcessError):  # and nobody is left behind
        os.waitpid(-1, os.WNOHANG)


def test_a_pipeline_without_one_of_its_programs() -> None:
    with pytest.raises(StagewrightError) as caught:
        pipeline([["yes"], ["no-such-program"]], lambda _: None)
    assert caught.value.reason is Reason.MISSING_TOOL
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
