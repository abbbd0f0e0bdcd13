"""``stagewright test`` with the image of the demo: as an ordinary user, at a prompt, and killed."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.support import DEMO, Warm, call, command, copy_project
from integration.test_ordinary_user import USER, Account
from stagewright.testing.results import Report, State

pytestmark = [pytest.mark.real, pytest.mark.boot]

TESTS = """
[tests.python]
boots = "iso"
network = true
timeout = 600
script = "python.py"

[tests.stuck]
boots = "iso"
steps = [{ wait = "this text never comes", timeout = 1 }, { poweroff = true }]

[tests.long]
boots = "iso"
steps = [{ wait = "this text never comes" }]
"""

LIMIT = 300.0


@pytest.fixture(scope="module")
def project(warm: Warm) -> Iterator[tuple[Path, Path]]:
    """A copy of the demo with more tests, which other users can read, and a store with its image."""
    home = Path(tempfile.mkdtemp(prefix="stagewright-test-", dir="/var/tmp"))
    home.chmod(0o755)
    folder = copy_project(DEMO, home / "project")
    shutil.copy(warm.lock, folder)
    shutil.copy(DEMO.parent / "machines" / "live.py", folder / "python.py")
    with (folder / "stagewright.toml").open("a", encoding="utf-8") as file:
        file.write(TESTS)
    store = warm.copy(["iso"], binpkgs=False)
    yield folder, store
    shutil.rmtree(store)
    shutil.rmtree(home)


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of the processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in words and b"-C\0" not in words:
            found.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_the_example_runs_as_an_ordinary_user(project: tuple[Path, Path]) -> None:
    """The store is only read; the results are in a folder of the user."""
    folder, store = project
    home = folder.parent / "home"
    home.mkdir()
    os.chown(home, USER, USER)
    (home / "project").symlink_to(folder)
    before = files_of(store)
    done = Account(home).call("--store", str(store), "test", "python", "--json", "--output", str(home / "results"))
    assert done.returncode == 0, done.stdout + done.stderr
    (data,) = json.loads(done.stdout)["tests"]
    report = Report.from_dict(data)
    assert report.passed
    assert {step.state for step in report.steps} == {State.PASSED}
    results = home / "results" / "python"
    left = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    assert {"console.log", "result.json", "screen.png", "login.png", "files/os-release"} <= left
    assert not left & {"disk.qcow2", "variables.fd", "key", "qemu.log"}
    assert files_of(store) == before


def files_of(store: Path) -> list[Path]:
    """Return the files of a store, apart from remembered facts."""
    return sorted(path for path in store.rglob("*") if path.parent != store / "cache")


def test_a_failing_step_leaves_the_machine_at_a_prompt(project: tuple[Path, Path]) -> None:
    folder, store = project
    child, terminal = pty.fork()
    if child == 0:
        words = command("test", "stuck", "--interactive", cwd=folder, store=store)
        os.execve(words[0], words, {**os.environ, "TERM": "dumb"})
    said = expect(terminal, ">>> ")
    assert "step 2 (wait for this text never comes)" in said
    os.write(terminal, b"machine.screenshot('mine').name, machine.is_running\n")
    assert "('mine.png', True)" in expect(terminal, ">>> ")
    os.write(terminal, b"\x04")
    said = expect(terminal, None)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    os.close(terminal)
    assert f"screen: {folder}/out/tests/stuck/screen.png" in said
    assert "stagewright test stuck --interactive" in said
    report = Report.from_dict(json.loads((folder / "out/tests/stuck/result.json").read_text(encoding="utf-8")))
    assert [step.state for step in report.steps] == [State.PASSED, State.FAILED, State.SKIPPED]
    assert processes_of(folder / "out/tests/stuck") == []


def expect(terminal: int, text: str | None) -> str:
    """Return what a program prints until it prints a text, or until its end."""
    said, end = "", time.monotonic() + LIMIT
    while text is None or text not in said:
        assert time.monotonic() < end, said
        if not select.select([terminal], [], [], 5)[0]:
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:
            data = b""
        if not data:
            assert text is None, said
            break
        said += data.decode(errors="replace").replace("\r\n", "\n")
    return said


def test_nothing_is_left_of_a_test_that_is_killed(project: tuple[Path, Path]) -> None:
    folder, store = project
    results = folder / "out/tests/long"
    words = command("test", "long", cwd=folder, store=store)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    said = ""
    while "wait for this text" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    assert any("qemu-system" in words for words in processes_of(results))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    end = time.monotonic() + LIMIT
    while (left := processes_of(results)) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []
    done = call("test", "stuck", cwd=folder, store=store, check=False)
    assert done.code == 1  # a folder of a killed test does not keep others from running
