"""Lines of a console with their times, and the file that has them."""

from __future__ import annotations

import itertools
from pathlib import Path

from guest import playing

from stagewright.vm.console_lines import Line, LineClock, read_lines


def test_a_line_has_the_time_when_it_began(tmp_path: Path) -> None:
    file = tmp_path / "console.timed.log"
    clock = LineClock(file)
    for text, seconds in (("one\ntw", 0.5), ("o\n\nth", 1.25), ("ree", 62.0)):
        clock.feed(text, seconds)
    assert clock.lines == [Line(1, 0.5, "one"), Line(2, 0.5, "two"), Line(3, 1.25, ""), Line(4, 1.25, "three")]
    clock.close()
    text = file.read_text(encoding="utf-8")
    assert text == "[    0.500] one\n[    0.500] two\n[    1.250]\n[    1.250] three\n"
    assert list(read_lines(text)) == clock.lines


def test_the_pieces_of_the_text_do_not_matter() -> None:
    text = "one\n\ntwo\nthree"
    for cut in itertools.product(range(len(text) + 1), repeat=2):
        clock = LineClock()
        for piece in (text[: min(cut)], text[min(cut) : max(cut)], text[max(cut) :]):
            clock.feed(piece, 1.0)
        assert [line.text for line in clock.lines] == text.split("\n")


def test_a_console_writes_its_lines_without_escape_sequences(tmp_path: Path) -> None:
    with playing(tmp_path, b"\x1b[1mone\x1b[0m\r\n", b"two", b" three\r\nlogin: ") as console:
        console.expect("login: ", 20)
        assert [line.text for line in console.lines] == ["one", "two three", "login: "]
    lines = read_lines((tmp_path / "console.timed.log").read_text(encoding="utf-8"))
    assert [(line.number, line.text) for line in lines] == [(1, "one"), (2, "two three"), (3, "login: "[:-1])]


def test_the_lines_of_a_second_start_follow_those_of_the_first(tmp_path: Path) -> None:
    file = tmp_path / "console.timed.log"
    for text, seconds in (("one\nhalf", 0.5), ("two\n", 9.0)):
        clock = LineClock(file, append=True)
        clock.feed(text, seconds)
        clock.close()
    assert clock.lines == [Line(1, 0.5, "one"), Line(2, 0.5, "half"), Line(3, 9.0, "two")]
    assert file.read_text(encoding="utf-8").splitlines()[-1] == "[    9.000] two"


def test_other_files_have_no_lines() -> None:
    assert list(read_lines("hello\n[x] y\n")) == []
