"""Cached facts about files and programs: valid while these are unchanged, and never a reason to fail."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.store.digest_cache import SETTLED, DigestCache, ToolVersions
from stagewright.store.records import collect_all
from stagewright.store.store import Store


def age(path: Path, seconds: float = 100) -> os.stat_result:
    """The file as if it had been left alone: its times as they would be."""
    moment = time.time_ns() - int(seconds * 1e9)
    os.utime(path, ns=(moment, moment))
    info = path.stat()
    values = list(info)
    extra = {"st_mtime": moment / 1e9, "st_ctime": moment / 1e9, "st_mtime_ns": moment, "st_ctime_ns": moment}
    return os.stat_result(values, {**extra, "st_dev": info.st_dev, "st_ino": info.st_ino})


def ask(memory: Path, path: Path, info: os.stat_result) -> str:
    with DigestCache(memory) as digest:
        return digest(path, info)


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "digests.db"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("one", encoding="utf-8")
    return path


def test_an_old_file_is_read_once(memory: Path, file: Path) -> None:
    info = age(file)
    first = ask(memory, file, info)
    assert first == file_digest(file)
    file.write_text("two", encoding="utf-8")  # the same inode, and we say that nothing else changed
    assert ask(memory, file, info) == first


def test_a_changed_file_is_read_again(memory: Path, file: Path) -> None:
    ask(memory, file, age(file, 100))
    file.write_text("two", encoding="utf-8")
    assert ask(memory, file, age(file, 50)) == file_digest(file)


def test_a_young_file_is_not_remembered(memory: Path, file: Path) -> None:
    """It can change again within the grain of its time stamps."""
    info = age(file, SETTLED / 2)
    ask(memory, file, info)
    file.write_text("two", encoding="utf-8")
    assert ask(memory, file, info) == file_digest(file)


def test_two_files_are_two(memory: Path, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("two", encoding="utf-8")
    assert ask(memory, file, age(file)) != ask(memory, other, age(other))


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, b"SQLite format 3\x00" + b"\xff" * 500])
def test_a_damaged_memory_is_only_lost_time(memory: Path, file: Path, content: bytes) -> None:
    memory.write_bytes(content)
    assert ask(memory, file, age(file)) == file_digest(file)
    assert ask(memory, file, age(file)) == file_digest(file)


def test_a_memory_that_cannot_be_opened_is_only_lost_time(file: Path, tmp_path: Path) -> None:
    assert ask(tmp_path / "nowhere" / "digests.db", file, age(file)) == file_digest(file)


@pytest.mark.skipif(not Path("/dev/full").exists() or os.geteuid() != 0, reason="NOT TESTED: needs root")
def test_a_full_disk_is_only_lost_time(file: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    program = "import sys; from pathlib import Path; from stagewright.store.digest_cache import DigestCache\n"
    program += "f = Path(sys.argv[1])\nwith DigestCache(Path(sys.argv[2]) / 'd.db') as d: print(d(f, f.stat()))"
    full = tmp_path / "full"
    full.mkdir()
    mounts = 'mount -t tmpfs -o size=4k none "$1" && exec "$2" -c "$3" "$4" "$1"'
    words = ["unshare", "--mount", "sh", "-c", mounts, "sh", str(full), sys.executable, program, str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == file_digest(file), done.stderr


def test_a_fact_is_found_once(memory: Path, file: Path) -> None:
    info, calls = age(file), []

    def find() -> str:
        calls.append(1)
        return "fact"

    for _ in range(2):
        with DigestCache(memory) as cache:
            assert cache.recall(file, info, "a", find) == "fact"
            assert cache.recall(file, info, "a", find) == "fact"
    assert len(calls) == 1
    with DigestCache(memory) as cache:
        assert cache.recall(file, info, "b", find) == "fact"
        assert cache(file, info) == file_digest(file)
    assert len(calls) == 2


def test_many_facts_are_written_at_once(memory: Path, file: Path) -> None:
    """One transaction takes a few hundredths of a second, one for each fact many seconds."""
    info = age(file)
    with DigestCache(memory) as cache:
        for number in range(20_000):
            cache.recall(file, info, str(number), lambda: "fact")
        started = time.monotonic()
    assert time.monotonic() - started < 2
    with DigestCache(memory) as cache:
        assert cache.recall(file, info, "19999", lambda: "another") == "fact"


def test_gc_removes_facts_that_no_plan_used_for_a_long_time(file: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    memory = store.path / "cache/digests.db"
    for seconds in (100, 200):
        ask(memory, file, age(file, seconds))
    with contextlib.closing(sqlite3.connect(memory)) as database, database:
        database.execute("UPDATE facts SET day = 0 WHERE id = (SELECT min(id) FROM facts)")
    collect_all(store, set(), 30, lambda _: None, dry_run=False)
    with contextlib.closing(sqlite3.connect(memory)) as database:
        assert len(database.execute("SELECT day FROM facts WHERE day > 0").fetchall()) == 1
        assert not database.execute("SELECT day FROM facts WHERE day = 0").fetchall()


def test_a_cache_that_another_process_writes_to_is_only_lost_time(memory: Path, file: Path) -> None:
    ask(memory, file, age(file, 100))
    other = sqlite3.connect(memory, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    file.write_text("two", encoding="utf-8")
    with DigestCache(memory, patience=0.1) as cache:
        assert cache(file, age(file, 50)) == file_digest(file)
    other.execute("ROLLBACK")
    other.close()


def test_a_cache_that_is_damaged_while_it_is_open_is_only_lost_time(memory: Path, file: Path) -> None:
    ask(memory, file, age(file))
    with DigestCache(memory) as cache:
        for end in ("", "-wal", "-shm"):
            path = memory.with_name(memory.name + end)
            if path.exists():
                path.write_bytes(b"\xff" * path.stat().st_size)
        assert cache(file, age(file)) == file_digest(file)
    assert ask(memory, file, age(file)) == file_digest(file)


# versions of tools


class Tools:
    """A folder of programs that note when they are asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        self.calls = folder / "calls"
        self.memory = folder / "tools.json"

    def make(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "$0 $*" >> {self.calls}\n{body}\n', encoding="utf-8")
        path.chmod(0o755)

    def ask(self, name: str) -> str:
        return ToolVersions(self.memory, "install {}".format, str(self.folder))(name)

    @property
    def asked(self) -> int:
        return len(self.calls.read_text(encoding="utf-8").splitlines()) if self.calls.exists() else 0


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path)


@pytest.mark.parametrize(
    ("body", "version"),
    [
        ("echo 'tar (GNU tar) 1.34'", "1.34"),
        ("echo 'xorriso 1.5.4 : RockRidge filesystem manipulator'", "1.5.4"),
        ("echo 'mkfs.fat 4.2 (2021-01-31)' >&2; exit 1", "4.2"),
        ("echo 'QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7+deb12u13)'", "7.2.17"),
        ("echo 'thing 1.2.3-rc1, with more'", "1.2.3-rc1"),
        ('test "$1" = -version && echo "mksquashfs version 4.5.1 (2022/03/17)"', "4.5.1"),
    ],
)
def test_what_a_program_says(tools: Tools, body: str, version: str) -> None:
    tools.make("tool", body)
    assert tools.ask("tool") == version


def test_a_program_is_asked_once(tools: Tools) -> None:
    tools.make("tool", "echo 1.2")
    assert tools.ask("tool") == tools.ask("tool") == "1.2"
    assert tools.asked == 1


def test_another_file_is_asked_again(tools: Tools) -> None:
    tools.make("tool", "echo 1.2")
    tools.ask("tool")
    tools.make("tool", "echo 1.2.1")
    assert tools.ask("tool") == "1.2.1"


def test_a_program_that_says_nothing_is_known_by_its_content(tools: Tools) -> None:
    tools.make("tool", "exit 3")
    assert tools.ask("tool") == file_digest(tools.folder / "tool")


def test_a_program_that_is_not_there(tools: Tools) -> None:
    with pytest.raises(StagewrightError) as caught:
        tools.ask("tool")
    assert caught.value.reason is Reason.MISSING_TOOL
    assert caught.value.hint == "install tool"


@pytest.mark.parametrize("content", ["", "{", "null", "[]"])
def test_a_damaged_memory_of_tools_is_only_lost_time(tools: Tools, content: str) -> None:
    tools.make("tool", "echo 1.2")
    tools.memory.write_text(content, encoding="utf-8")
    assert tools.ask("tool") == "1.2"
