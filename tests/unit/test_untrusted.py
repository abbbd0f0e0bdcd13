"""Numbers and files that others wrote are read with limits."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stagewright.untrusted import number, open_regular, read_regular, read_text


@pytest.mark.parametrize(
    ("text", "base", "value"),
    [
        ("0012", 10, 12),
        (b"0017", 8, 15),
        ("fF", 16, 255),
        (str((1 << 63) - 1), 10, (1 << 63) - 1),
        (str(1 << 63), 10, None),
        ("9" * 5000, 10, None),
        ("-1", 10, None),
        ("+1", 10, None),
        ("1_0", 10, None),
        (" 1", 10, None),
        ("", 10, None),
        ("\u0663", 10, None),
        ("\u00b2", 10, None),
        ("\udcff", 10, None),
        ("8", 8, None),
        ("0x1", 16, None),
    ],
)
def test_numbers_are_digits_below_a_limit(text: str | bytes, base: int, value: int | None) -> None:
    assert number(text, base) == value


def test_only_regular_files_are_opened_and_nothing_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    assert read_text(tmp_path / "link") == "text"
    for name, code in {
        "pipe": errno.EINVAL,
        "loop": errno.ELOOP,
        "missing": errno.ENOENT,
        ".": errno.EISDIR,
        "/dev/zero": errno.EINVAL,
    }.items():
        with pytest.raises(OSError) as caught:
            read_regular(tmp_path / name)
        assert caught.value.errno == code
    with pytest.raises(OSError) as caught:
        open_regular(tmp_path / "link", follow=False)
    assert caught.value.errno == errno.ELOOP


def test_a_special_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open a device can have an effect, such as a watchdog that starts."""
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(os, "open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(OSError):
        open_regular(tmp_path / "pipe")


def test_a_file_above_the_limit_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError) as caught:
        read_regular(tmp_path / "file", 4)
    assert caught.value.errno == errno.EFBIG
