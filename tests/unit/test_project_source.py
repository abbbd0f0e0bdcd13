"""TOML with positions: every key and value has the place where it is written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagewright.errors import Place, Reason, StagewrightError
from stagewright.project.source import Source, read

SHAPES = {
    "plain": ("a = 1", ("a",), (1, 1), (1, 5)),
    "spaces": ("  a  =   1", ("a",), (1, 3), (1, 10)),
    "table": ("\n[t]\na = 1", ("t", "a"), (3, 1), (3, 5)),
    "table head": ("# x\n[t]\na = 1", ("t",), (2, 2), (2, 2)),
    "table above": ("[t.u]\na = 1", ("t",), (1, 2), (1, 2)),
    "dotted table": ("[t.'u.v']\na = 1", ("t", "u.v", "a"), (2, 1), (2, 5)),
    "dotted key": ("t.u.a = 1", ("t", "u", "a"), (1, 1), (1, 9)),
    "dotted key above": ("t.u.a = 1", ("t", "u"), (1, 1), (1, 9)),
    "quoted key": ('"a b" = 1', ("a b",), (1, 1), (1, 9)),
    "escaped key": (r'"\u00e9" = 1', ("é",), (1, 1), (1, 12)),
    "empty key": ("'' = 1", ("",), (1, 1), (1, 6)),
    "number as key": ("1.2 = 3", ("1", "2"), (1, 1), (1, 7)),
    "inline table": ("t = { a = 1, b.c = 2 }", ("t", "b", "c"), (1, 14), (1, 20)),
    "array": ("a = [1, 2]", ("a", 1), (1, 9), (1, 9)),
    "many lines": ("a = [\n  1, # one\n  # none\n  2,\n]", ("a", 1), (4, 3), (4, 3)),
    "array in array": ("a = [[1], [2, 3]]", ("a", 1, 1), (1, 15), (1, 15)),
    "inline table in array": ("a = [{ b = 1 }, { b = 2 }]", ("a", 1, "b"), (1, 19), (1, 23)),
    "array of tables": ("[[t]]\na = 1\n[[t]]\na = 2", ("t", 1, "a"), (4, 1), (4, 5)),
    "table in array of tables": ("[[t]]\n[t.u]\na=1\n[[t]]\n[t.u]\na=2", ("t", 1, "u", "a"), (6, 1), (6, 3)),
    "arrays in arrays of tables": (
        "[[t]]\n[[t.u]]\n[[t]]\n[[t.u]]\n[[t.u]]\na=2",
        ("t", 1, "u", 1, "a"),
        (6, 1),
        (6, 3),
    ),
    "text of many lines": ('a = """\nx = 1\n"""\nb = 2', ("b",), (4, 1), (4, 5)),
    "carriage returns": ("[t]\r\na = 1\r\nb = [\r\n 1,\r\n 2]\r\n", ("t", "b", 1), (5, 2), (5, 2)),
    "characters, not bytes": ('t = { "é€" = "ü", b = 1 }', ("t", "b"), (1, 19), (1, 23)),
    "wide characters": ('t = ["😀", 1]', ("t", 1), (1, 11), (1, 11)),
    "byte order mark": ("\ufeffa = 1", ("a",), (1, 1), (1, 5)),
    "dates": ("a = 1979-05-27 07:32:00\nb = [07:32:00, 1]", ("b", 1), (2, 16), (2, 16)),
}


def reading(folder: Path, content: str | bytes) -> Source:
    file = folder / "some.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(file)


@pytest.mark.parametrize(("text", "path", "key", "value"), SHAPES.values(), ids=SHAPES)
def test_values_and_keys_have_their_positions(
    tmp_path: Path, text: str, path: tuple[str | int, ...], key: tuple[int, int], value: tuple[int, int]
) -> None:
    source = reading(tmp_path, text)
    assert source.place(path, of_key=True) == Place(source.file, *key)
    assert source.place(path) == Place(source.file, *value)


def test_a_missing_value_has_the_place_of_its_table(tmp_path: Path) -> None:
    source = reading(tmp_path, "\n[a.b]\nc = { d = 1 }\n")
    assert source.place(("a", "b", "c", "x", 3)) == source.place(("a", "b", "c"))
    assert source.place(("a", "x"), of_key=True) == Place(source.file, 2, 2)
    assert source.place(("z",)) == Place(source.file, 1, 1)


def test_an_empty_file_is_an_empty_table(tmp_path: Path) -> None:
    assert reading(tmp_path, "").data == {}


BAD = {
    "no value": (b"a = 1\nb = \n", Reason.SYNTAX, 2, 5),
    "end of file": (b"a = 1\nb = [1,", Reason.SYNTAX, 2, 8),
    "not closed": (b'a = "x', Reason.SYNTAX, 1, 7),
    "a strange line end": ("a = '\u2028' # \u2028\nb = [".encode(), Reason.SYNTAX, 2, 6),
    "key twice": (b"a = 1\na = 2\n", Reason.DUPLICATE_NAME, 2, 6),
    "table twice": (b"[a]\nx = 1\n[a]\n", Reason.DUPLICATE_NAME, 3, 3),
    "no UTF-8": ("[a]\nb = 'é".encode() + b"\xff'\n", Reason.SYNTAX, 2, 7),
    "UTF-16": ("a = 1".encode("utf-16"), Reason.SYNTAX, 1, 1),
    "too deep": (b"a = " + b"[" * 5000, Reason.SYNTAX, 1, 0),
    "too long a number": (b"a = " + b"1" * 5000, Reason.SYNTAX, 1, 0),
    "too long a key": (b".".join([b"a"] * 3000) + b" = 1", Reason.SYNTAX, 1, 0),
}


@pytest.mark.parametrize(("content", "reason", "line", "column"), BAD.values(), ids=BAD)
def test_syntax_errors_have_their_place(tmp_path: Path, content: bytes, reason: Reason, line: int, column: int) -> None:
    with pytest.raises(StagewrightError) as caught:
        reading(tmp_path, content)
    assert (caught.value.reason, caught.value.place) == (reason, Place(tmp_path / "some.toml", line, column))
    assert caught.value.hint


def test_folders_devices_and_missing_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    (tmp_path / "device.toml").symlink_to("/dev/zero")
    reasons = {
        "folder": Reason.SYNTAX,
        "device": Reason.SYNTAX,
        "loop": Reason.MISSING_FILE,
        "none": Reason.MISSING_FILE,
    }
    for name, reason in reasons.items():
        with pytest.raises(StagewrightError) as caught:
            read(tmp_path / f"{name}.toml")
        assert caught.value.reason is reason, name
        assert caught.value.hint


# what holds for any text

PIECES = st.sampled_from(
    ["a", "b.c", '"d"', "[", "]", "{", "}", "=", " = 1", ",", "\n", "#", "'", '"""', "é", "\r\n", "[[x]]"]
)


@given(st.one_of(st.binary(max_size=60), st.lists(PIECES, max_size=25).map(lambda parts: "".join(parts).encode())))
def test_any_content_is_read_or_rejected(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(content)
    try:
        source = read(file)
    except StagewrightError as error:
        assert error.place
        assert error.hint
    else:
        assert all(path in source.values for path in paths_of(source.data))


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=5)
SCALARS = st.one_of(st.integers(-9, 9), st.booleans(), NAMES)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, st.one_of(VALUES, st.dictionaries(NAMES, VALUES, max_size=3)), max_size=4))
def test_every_key_and_every_item_has_a_position(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]
) -> None:
    file = tmp_path_factory.getbasetemp() / "valid.toml"
    text = "\n".join(toml(data))
    assert tomllib.loads(text) == data
    file.write_bytes(text.encode())
    source = read(file)
    lines = text.split("\n")
    for path in paths_of(data):
        for place in (source.keys[path], source.values[path]):
            assert 1 <= place.line <= len(lines)
            assert 1 <= place.column <= len(lines[place.line - 1])
        if isinstance(path[-1], str):
            place = source.keys[path]
            assert lines[place.line - 1][place.column - 1 :].startswith(json.dumps(path[-1], ensure_ascii=False)), path


def toml(data: dict[str, Any]) -> Iterator[str]:
    """Simple values first, then a table for each dictionary, with inline tables in it."""
    for key, value in data.items():
        if not isinstance(value, dict):
            yield f"{quoted(key)} = {inline(value)}"
    for key, value in data.items():
        if isinstance(value, dict):
            yield f"[{quoted(key)}]"
            yield from (f"{quoted(name)} = {inline(item)}" for name, item in value.items())


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[ # a comment\n" + "".join(f" {inline(item)},\n" for item in value) + "]"
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths_of(item, (*path, key))
