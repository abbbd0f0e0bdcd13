"""Console output is cleaned, independent of the chunks of the stream."""

import pytest

from stagewright.vm.console_text import Cleaner

CASES = [
    (b"plain\r\ntext\r\n", "plain\ntext\n"),
    (b"\x1b[1;31mred\x1b[0m\r\n", "red\n"),
    (b"a\x1b[05;01Hb", "a\nb"),  # a cursor move starts a line
    (b"a\r\n\x1b[06;01H\x1b[1mShell> ", "a\nShell> "),  # but no empty line
    (b"10%\r20%\r\r\n", "10%\n20%\n"),
    (b"\x1b]0;title\x07\x1b]2;other\x1b\\x", "x"),
    (b"\x1b(Bset\x1b=", "set"),
    (b"\x1b[2Jgr\xc3\xbc\xc3\x9fe \xff", "grüße \ufffd"),
    (b"bell\x07 nul\0 back\x08\ttab", "bell nul back\ttab"),
    (b"\x1b\nstray", "\nstray"),
]


@pytest.mark.parametrize(("raw", "clean"), CASES)
def test_escape_sequences_are_removed_from_whole_and_split_input(raw: bytes, clean: str) -> None:
    assert Cleaner().feed(raw) == clean
    cleaner = Cleaner()
    assert "".join(cleaner.feed(raw[index : index + 1]) for index in range(len(raw))) == clean
