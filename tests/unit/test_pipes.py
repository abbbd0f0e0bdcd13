"""Readers that go away, with real pipes: what a command does is done, and its exit code is that of the work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import starter

from stagewright.errors import Exit
from stagewright.project.model import folder_digest


@pytest.fixture
def project(packed_seed: Path) -> Path:
    return packed_seed


def arguments(project: Path, *words: str) -> list[str]:
    return ["-C", str(project), "--store", str(project.parent / "store"), *words]


def command(project: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "stagewright", *arguments(project, *words)]


@contextmanager
def no_reader() -> Iterator[int]:
    """The writing end of a pipe that no process reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def events(project: Path) -> list[str]:
    (file,) = (project.parent / "store/events").glob("*.jsonl")
    return [json.loads(line)["event"] for line in file.read_text(encoding="utf-8").splitlines()]


def built(project: Path) -> bool:
    found = list((project / "out").glob("*.tar.zst"))
    names = events(project)
    return len(found) == 1 and (names[0], names[-1]) == ("RunStarted", "RunFinished")


@pytest.mark.real
def test_a_build_goes_on_when_the_reader_of_its_events_stops(project: Path) -> None:
    words = command(project, "build", "--progress=json")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stderr
        assert json.loads(child.stdout.readline())["event"] == "RunStarted"
        child.stdout.close()
        said = child.stderr.read()
    assert child.returncode == Exit.OK
    assert re.fullmatch(r"listener JsonLines failed and gets no further events \(.*Broken pipe\)\n", said)
    assert built(project)
    assert "ListenerDropped" in events(project)


@pytest.mark.real
def test_a_build_goes_on_when_the_reader_of_its_progress_stops(project: Path) -> None:
    words = command(project, "build", "--progress=plain")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stderr
        assert child.stderr.readline() == "small: 2 to build, 0 cached\n"
        child.stderr.close()
        said = child.stdout.read()
    assert child.returncode == Exit.OK
    assert said.startswith("pack\t")
    assert built(project)


@pytest.mark.real
@pytest.mark.parametrize("progress", ["json", "live"])
def test_a_build_without_any_reader_is_done(project: Path, progress: str) -> None:
    with no_reader() as end:
        done = subprocess.run(command(project, "build", f"--progress={progress}"), stdout=end, stderr=end, check=False)
    assert done.returncode == Exit.OK
    assert built(project)


@pytest.mark.real
@pytest.mark.parametrize("progress", ["json", "live"])
def test_a_failed_build_without_any_reader_has_the_exit_code_of_its_failure(project: Path, progress: str) -> None:
    (project / "seed.tar").write_bytes(b"no archive")
    with no_reader() as end:
        done = subprocess.run(command(project, "build", f"--progress={progress}"), stdout=end, stderr=end, check=False)
    assert done.returncode == Exit.INVALID
    assert events(project)[-1] == "RunFinished"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [["plan"], ["plan", "--json"], ["graph"], ["graph", "--as", "text"], ["schema"], ["kinds"], ["check"]],
    ids=" ".join,
)
def test_a_command_that_shows_something_ends_quietly(project: Path, words: list[str]) -> None:
    with no_reader() as end, starter.memory() as errors:
        code = starter.start(*arguments(project, *words), cwd=project, stdout=end, stderr=errors).wait()
        assert (code, starter.content(errors)) == (Exit.OK, b"")


@pytest.mark.slow
def test_a_new_interpreter_ends_quietly(project: Path) -> None:
    with no_reader() as end:
        done = subprocess.run(command(project, "--help"), stdout=end, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (Exit.OK, b"")


def test_errors_without_any_reader_are_in_the_exit_code(project: Path) -> None:
    (project / "stagewright.toml").write_text("format = 1\n", encoding="utf-8")
    with no_reader() as end:
        code = starter.start(*arguments(project, "check"), cwd=project, stdout=end, stderr=end).wait()
    assert code == Exit.INVALID


@pytest.mark.slow
def test_cleaning_removes_everything_without_a_reader(project: Path) -> None:
    assert starter.run(*arguments(project, "gc", "-n"), cwd=project).returncode == Exit.OK
    store = project.parent / "store"
    left = [store / "failed" / f"small-{folder_digest(project)}" / name for name in ("one", "two")]
    for folder in left:
        folder.mkdir(parents=True)
    with no_reader() as end:
        code = starter.start(*arguments(project, "clean"), cwd=project, stdout=end, stderr=end).wait()
    assert code == Exit.OK
    assert not any(folder.exists() for folder in left)
