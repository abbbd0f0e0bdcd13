"""Functions that run inside a root: what they see, what comes back, and what their failure says."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stagewright.chroot import inside
from stagewright.errors import Place, Reason, StagewrightError
from stagewright.run import package_path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: changing into a root needs root")


@pytest.fixture(params=[False, True], ids=["one thread", "several threads"], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[bool]:
    """A process with one thread, and one with several."""
    if not request.param:
        assert threading.active_count() == 1
        yield False
        return
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    yield True
    end.set()
    thread.join()


def fail(error: BaseException) -> None:
    raise error


def die() -> None:
    os._exit(0)


def give(value: Any) -> Any:
    return value


def give_a_function(_: Any) -> Any:
    return lambda: "cannot be pickled"


def test_inside_sees_the_root_and_gives_back_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "only-here").touch()
    assert inside(tmp_path, os.listdir, "/") == ["only-here"]
    assert inside(tmp_path, Path.cwd) == Path("/")
    assert inside(tmp_path, give, {"a": [1, Path("x")]}) == {"a": [1, Path("x")]}
    assert inside(tmp_path, give, None) is None
    assert Path("/etc").exists()


def test_inside_keeps_open_descriptors(tmp_path: Path) -> None:
    descriptor = os.open("/etc", os.O_RDONLY)
    try:
        assert "passwd" in inside(tmp_path, os.listdir, descriptor)
    finally:
        os.close(descriptor)


def test_inside_passes_our_errors_on(tmp_path: Path) -> None:
    error = StagewrightError(Reason.BUILD_FAILED, "m", place=Place(Path("x"), 1, 2), hint="h", detail="d")
    with pytest.raises(StagewrightError) as caught:
        inside(tmp_path, fail, error)
    assert caught.value.to_dict() == error.to_dict()


def test_inside_passes_errors_of_the_system_on(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        inside(tmp_path, os.listdir, "/none")
    assert caught.value.filename == "/none"


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (fail, ValueError("the cause")),
        (fail, OSError("the cause")),
        (fail, SystemExit("the cause")),
        (give_a_function, None),
    ],
)
def test_anything_else_inside_is_a_bug_with_its_cause(
    tmp_path: Path, function: Callable[[Any], Any], argument: Any
) -> None:
    with pytest.raises(RuntimeError) as caught:
        inside(tmp_path, function, argument)
    assert "the cause" in str(caught.value) or "pickle" in str(caught.value)


def test_a_death_inside_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        inside(tmp_path, die)
    with pytest.raises(ChildProcessError):  # and no child process is left
        os.waitpid(-1, os.WNOHANG)


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inside(tmp_path / "none", os.getcwd)


def import_trap() -> None:
    __import__("stagewright_trap")


def test_modules_of_a_root_are_not_imported(tmp_path: Path) -> None:
    """The paths of Python may exist in a root, and modules there would run outside of the sandbox."""
    for entry in filter(None, sys.path):
        folder = tmp_path / entry.lstrip("/")
        if not entry.endswith(".zip"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "stagewright_trap.py").write_text("open('/trapped', 'w').close()", encoding="utf-8")
    with pytest.raises(RuntimeError, match="No module named"):
        inside(tmp_path, import_trap)
    assert not (tmp_path / "trapped").exists()


def test_text_that_the_function_prints_is_not_its_result(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert inside(tmp_path, print, "printed") is None
    assert "printed" in "".join(capfd.readouterr())


def test_the_signal_that_ended_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="SIGKILL"):
        inside(tmp_path, kill_self)


def kill_self() -> None:
    os.kill(os.getpid(), 9)


def test_a_process_with_threads_does_not_fork(tmp_path: Path, threads: bool) -> None:
    """Python 3.12 and newer warn if it does; then the test needs no thread."""
    program = (
        "import os, sys, threading\nfrom pathlib import Path\nfrom stagewright.chroot import inside\n"
        "end = threading.Event()\n"
        f"if {threads}: threading.Thread(target=end.wait).start()\n"
        "forks = []\nos.register_at_fork(before=lambda: forks.append(1))\n"
        "print(inside(Path(sys.argv[1]), os.listdir, '/'), len(forks))\nend.set()"
    )
    (tmp_path / "only-here").touch()
    words = [sys.executable, "-W", "error::DeprecationWarning", "-c", program, tmp_path]
    done = subprocess.run(words, env={"PYTHONPATH": package_path()}, capture_output=True, text=True, check=True)
    assert done.stdout == f"['only-here'] {0 if threads else 1}\n"
    assert done.stderr == ""
