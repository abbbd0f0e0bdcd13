"""Functions that run inside a root: what they see, what comes back, and what their failure says."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from children import none_left

from stagewright.chroot import inside
from stagewright.errors import Place, Reason, StagewrightError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: changing into a root needs root")


def fail(error: BaseException) -> None:
    raise error


def give(value: Any) -> Any:
    return value


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


@pytest.mark.parametrize("error", [ValueError("the cause"), OSError("the cause"), SystemExit("the cause")])
def test_any_other_error_is_passed_on_too(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error), match="the cause") as caught:
        inside(tmp_path, fail, error)
    assert "in fail" in "".join(traceback.format_exception(caught.value))


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
    with pytest.raises(ModuleNotFoundError, match="inside a root"):
        inside(tmp_path, import_trap)
    assert not (tmp_path / "trapped").exists()


def look_twice(here: threading.Barrier) -> list[str]:
    """Return the names in the root, after another thread has looked at its own."""
    here.wait()
    names = os.listdir("/")
    here.wait()
    return [*names, os.fspath(Path.cwd())]


def test_each_thread_has_its_own_root(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("a", "b")]
    for root in roots:
        (root / f"only-{root.name}").mkdir(parents=True)
    here = threading.Barrier(3)
    before = Path.cwd()
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(inside, root, look_twice, here) for root in roots]
        here.wait()
        outside = (Path.cwd(), (tmp_path / "a").is_dir())
        here.wait()
    assert [answer.result() for answer in answers] == [["only-a", "/"], ["only-b", "/"]]
    assert outside == (before, True)


def make_a_file() -> None:
    os.umask(0)
    os.close(os.open("/made", os.O_CREAT | os.O_WRONLY, 0o666))


def test_the_umask_of_the_process_stays(tmp_path: Path) -> None:
    inside(tmp_path, make_a_file)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o666
    (tmp_path / "outside").touch()
    assert (tmp_path / "outside").stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_no_process_and_no_thread_is_left(tmp_path: Path) -> None:
    before = threading.active_count()
    with none_left():
        inside(tmp_path, os.getcwd)
    assert threading.active_count() <= before + 1  # the thread has answered and is about to end
