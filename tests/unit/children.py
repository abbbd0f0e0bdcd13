"""The child processes of this process. Other tests of the same process may have theirs, like the server of starter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


def children() -> set[int]:
    """Return the ids of the child processes of all threads, zombies included (proc(5), ``children``)."""
    files = list(Path("/proc/self/task").glob("*/children"))
    assert files, "this kernel does not list the children of a process (CONFIG_PROC_CHILDREN)"
    return {int(pid) for file in files for pid in _text(file).split()}


@contextlib.contextmanager
def none_left() -> Iterator[None]:
    """Fail if the block leaves a child process behind that it started."""
    before = children()
    yield
    assert children() <= before


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):  # the thread has ended
        return ""
