"""The budget of a root."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.root.budget import check_size, measure
from stagewright.units import parse_size


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, size in {"usr/bin/tool": 700, "usr/lib/deep/er/lib.so": 3000, "etc/conf": 50, "file": 5}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    os.link(tmp_path / "usr/bin/tool", tmp_path / "usr/bin/same")
    (tmp_path / "usr/bin/link").symlink_to("tool")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("12", 12), ("2K", 2048), ("1.5M", 1572864), ("1G", 1 << 30), ("2T", 1 << 41)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_hard_links_count_once(tree: Path) -> None:
    assert measure(tree) == {"/usr/lib": 3000, "/usr/bin": 704, "/etc": 50, "/": 5}


def test_within(tree: Path) -> None:
    assert check_size(tree, "3759", Counter()) == 3759


def test_beyond(tree: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        check_size(tree, "3K", Counter({"app-misc/small-1": 10, "dev-lang/large-2": 3000}))
    error = caught.value
    assert error.reason is Reason.BUILD_FAILED
    lines = error.detail.splitlines()
    assert lines[0].split() == ["3000", "B", "/usr/lib"]
    assert [line.split()[-1] for line in lines[-2:]] == ["dev-lang/large-2", "app-misc/small-1"]
    assert "687 B more" in error.message
