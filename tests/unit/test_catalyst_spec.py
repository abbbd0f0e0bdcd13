"""Specs are read as in Catalyst, and every word has its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stagewright.catalyst.spec import Spec, Value, parse, read_spec, write
from stagewright.errors import Reason, StagewrightError

FILE = Path("some.spec")

READ: dict[str, tuple[str, dict[str, Value]]] = {
    "scalar": ("subarch: amd64", {"subarch": "amd64"}),
    "several words": ("a: b c", {"a": ["b", "c"]}),
    "list": ("a:\n\tb\n\tc\n", {"a": ["b", "c"]}),
    "list of one": ("a:\n\tb\n", {"a": "b"}),
    "value and list": ("a: b\n c", {"a": ["b", "c"]}),
    "blank lines and comments do not end a list": ("a:\n b\n\n # c\n d # e", {"a": ["b", "d"]}),
    "a list that is not indented": ("a:\nb\nc", {"a": ["b", "c"]}),
    "no blank after the colon": ("a:b", {"a": "b"}),
    "aligned": ("a:      b", {"a": "b"}),
    "a blank before the colon": ("a : b", {"a ": "b"}),
    "an indented key": ("a:\n b\n c:d", {"a": "b", "c": "d"}),
    "a slot in a list": ("a:\n\tcat/one\n\tcat/pkg:0\n\tcat/two", {"a": "cat/one", "cat/pkg": ["0", "cat/two"]}),
    "colons on the key line": ("a: cat/pkg:0 http://x", {"a": ["cat/pkg:0", "http://x"]}),
    "a comment in a word": ("a: b#c d", {"a": "b"}),
    "a comment in quotes": ('a: "b # c"', {"a": "b"}),
    "quotes are taken from both ends": ('a: "b c"', {"a": ["b", "c"]}),
    "quotes inside stay": ("a: --cc='gcc -m64'", {"a": ["--cc='gcc", "-m64'"]}),
    "quotes in a list stay": ('a:\n "b"', {"a": '"b"'}),
    "the last of two keys counts": ("a: b\nc: d\na: e", {"a": "e", "c": "d"}),
    "no value": ("a:\nb: c", {"b": "c"}),
    "none": ("a: None\nb: none none", {"a": None, "b": ["none", "none"]}),
    "a percent sign": ("a: 100%%", {"a": "100%"}),
    "an earlier key": ("a: b\nc: x-%(a)s", {"a": "b", "c": "x-b"}),
    "an earlier key's own value": ("a: b\na: %(a)s c", {"a": ["b", "c"]}),
    "a percent sign in a list": ("a:\n 50%\n %(b)s", {"a": ["50%", "%(b)s"]}),
    "words before any key": ("a b\nc: d", {"a": "b", "c": "d"}),
    "carriage returns": ("a: b\r\nc:\r d\r e", {"a": "b", "c": ["d", "e"]}),
    "runs of blanks": ("a: b \t c", {"a": ["b", "c"]}),
    "an empty key": (": a", {"": "a"}),
    "nothing": ("# only this\n\n", {}),
}


@pytest.mark.parametrize(("text", "expected"), READ.values(), ids=READ)
def test_specs_are_read_as_in_catalyst(text: str, expected: dict[str, Value]) -> None:
    spec = parse(text, FILE)
    assert spec.values == expected
    assert list(spec.values) == list(expected)
    assert spec.problems == []


BAD = ["a: 100%", "a: %", "a: %(nothing)s", "a: %d", "a: %(b", "b: x\na: %(b)d", "a: %99999999999d", "b:x\na: %(b)*s"]


@pytest.mark.parametrize("text", [*BAD, "b: x\na: %(b)99999999s", "b: x\na: %(b).99999999s"])
def test_an_invalid_percent_sign_is_reported(text: str) -> None:
    (problem,) = parse(text, FILE).problems
    assert problem.reason is Reason.SYNTAX
    assert problem.place
    assert (problem.place.line, problem.place.column) == (text.count("\n") + 1, 4)
    assert "%%" in problem.hint


SURPRISES = {
    "slot in a list": ("a:\n\tcat/pkg:0", [(2, 2)]),
    "key twice": ("a: b\nc: d\na: e", [(3, 1)]),
    "comment in a word": ("a: b#c", [(1, 5)]),
    "comment in quotes": ('a: "b # c"', [(1, 7)]),
    "blank before the colon": ("a : b", [(1, 1)]),
    "no value": ("a:\nb: c", [(1, 1)]),
    "no key above": ("  a b", [(1, 3)]),
    "line without colon": ("a: b\nc d", [(2, 1)]),
    "quote that closes one inside": ('a: --x="b c"', [(1, 12)]),
    "all values at once": ("a: %s", [(1, 4)]),
    "a list filled in": ("a: b c\nd: %(a)s", [(2, 4)]),
    "several": ("a:\n  b:c\n  d#e\na: f", [(2, 3), (3, 4), (4, 1), (4, 1)][:3]),
}


@pytest.mark.parametrize(("text", "places"), SURPRISES.values(), ids=SURPRISES)
def test_surprising_lines_are_findings(text: str, places: list[tuple[int, int]]) -> None:
    findings = parse(text, FILE).findings
    assert [(item.place.line, item.place.column) for item in findings if item.place][: len(places)] == places
    assert all(item.hint for item in findings)


PLAIN = ["a: b # c", "a:\n\tb\n# c\n\n\td # e", "a: 100%%", "a: x\nb: %(a)s", 'a: "b"', "a: none", "a: --cc='gcc -m64'"]


@pytest.mark.parametrize("text", PLAIN)
def test_usual_lines_are_not_findings(text: str) -> None:
    assert parse(text, FILE).findings == []


def test_every_word_has_its_place() -> None:
    spec = parse("  a: b  c # d\n\t e\nf:\n\tg g", FILE)
    entry = spec.entries["a"]
    assert [(place.line, place.column) for place in map(entry.word_place, range(3))] == [(1, 6), (1, 9), (2, 3)]
    assert (entry.place.line, entry.place.column) == (1, 3)
    assert spec.entries["f"].spots == [(4, 2), (4, 4)]


ODD = st.sampled_from(
    [*"ab:# \t\n\r%\"'()s/@|", "none", "%%", "%(a)s", "a: ", "\n\t", "\x0b", "\x1c", "\x85", "\u2028", "é"]
)
TEXTS = st.one_of(st.text(), st.lists(ODD, max_size=60).map("".join))


def oracle(text: str) -> dict[str, Value] | None:
    """A minimal second implementation of Catalyst's rules. None if a % cannot be replaced."""
    values: dict[str, Any] = {}
    words: list[str] = []
    for raw in re.split("\r\n|\r|\n", text):
        line = re.sub(r"\s*#.*$", "", raw.strip())
        if ":" in line:
            key, rest = line.split(":", 1)
            rest = rest.strip().strip('"')
            try:
                words = [key, *(rest % values if rest else "").split()]
            except (ValueError, TypeError, KeyError):
                return None
        elif line:
            words = words + line.split()
        else:
            continue
        values[words[0]] = words[1] if len(words) == 2 else words[1:]
    return {key: None if str(value).lower() == "none" else value for key, value in values.items() if value}


@given(TEXTS)
@example("a\nb: c\n d")
@example("a: b\na:\n")
@example("a: b\na: %(a)s")
def test_any_text_is_read_as_catalyst_reads_it(text: str) -> None:
    if re.search(r"\d{3}", text):
        return  # a separate test covers widths
    spec, expected = parse(text, FILE), oracle(text)
    assert (expected is None) == bool(spec.problems)
    if expected is not None:
        assert spec.values == expected
        assert list(spec.values) == list(expected)


@given(TEXTS)
def test_words_are_at_their_places(text: str) -> None:
    lines = re.split("\r\n|\r|\n", text)
    for entry in parse(text, FILE).entries.values():
        assert lines[entry.place.line - 1][entry.place.column - 1 :].startswith(entry.key)
        for word, (line, column) in zip(entry.words, entry.spots, strict=True):
            rest = lines[line - 1][column - 1 :]
            assert rest.startswith(word) or "%" in rest


@given(TEXTS)
@example('a: " "')
@example('a:\n"')
@example('a: %% b:c "')
@example("a:\n NONE")
def test_a_written_spec_has_the_same_values(text: str) -> None:
    values = parse(text, FILE).values
    assert parse(write(values), FILE).values == values


def test_written_lists_have_a_line_for_each_word() -> None:
    values: dict[str, Value] = {"a": "b", "c": ["d", "e"], "f": ["x:0", "y"], "g": None, "h": "50%"}
    assert write(values) == "a: b\nc:\n\td\n\te\nf: x:0 y\ng: none\nh: 50%%\n"


@pytest.mark.parametrize("content", [b"a: \xff", None])
def test_unreadable_files_are_reported(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "x.spec"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StagewrightError) as caught:
        read_spec(file)
    assert caught.value.reason in (Reason.SYNTAX, Reason.MISSING_FILE)
    assert caught.value.place
    assert caught.value.place.file == file


def test_a_missing_key_has_an_empty_value() -> None:
    spec = Spec(FILE)
    assert (spec.text("a"), spec.words("a"), spec.place("a").line) == ("", [], 1)
