"""Pieces of a TOML file are its tables, whatever stands in texts, comments and lists."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagewright.project.outline import ENTRIES, Outline, outline
from stagewright.project.source import source_of

LIKE_A_HEADER = "\n[stages.no]\nkind = 'x'\n"

HOSTILE = {
    "text of many lines": f'a = """{LIKE_A_HEADER}"""',
    "text that ends in quotes": f'a = """{LIKE_A_HEADER}"""""',
    "text with quotes": f'a = """ ""{LIKE_A_HEADER}" \\"""{LIKE_A_HEADER}"""',
    "escaped backslash": f'a = """{LIKE_A_HEADER}\\\\"""',
    "continued line": f'a = """ \\\n{LIKE_A_HEADER}"""',
    "literal text": f"a = '''{LIKE_A_HEADER.replace('x', 'y')}\\'''",
    "literal text that ends in quotes": f"a = '''{LIKE_A_HEADER}'''''",
    "empty texts": "a = \"\"\nb = ''\nc = \"\"\"\"\"\"\nd = ''''''",
    "quotes in texts": """a = "'''"\nb = '"'\nc = "\\""\nd = '\"\"\"'""",
    "list of lists": 'a = [\n[ "stages.no" ],\n[[1], [\n2]], # ]\n]',
    "list with comments": "a = [ # [ \" '''\n'x', # ]\n]",
    "inline tables": "a = [\n{ b = [\n[1]], c = '}' },\n]",
    "comment": "# [stages.no] ''' \"\"\" [\na = 1 # [stages.no] '''",
    "keys": '"[stages.no]" = 1\n\'#\' . "b\\"" = 2',
    "table in an entry": "a = 1\n[stages.one.b]\nc = 1\n[[stages.one.d]]\ne = 1\n[[stages.one.d]]\ne = 2",
    "indented": "  a = 1\n\t[stages.one.b]\n  c = [\n  [1],\n  ]",
    "carriage returns": "a = '''\r\n[stages.no]\r\n'''\r\n# x\r\nb = [\r\n[1],\r\n]\r",
}

HEADERS = ("[stages.one]", '[stages."one"]', "[ stages . 'one' ] # x", '["stages"."\\u006fne"]')


def check(text: str) -> Outline:
    """Compare all parts of a text with what the parser says about the whole."""
    whole, found = tomllib.loads(text), outline(text)
    assert found
    assert set(found.entries) == {(table, name) for table in ENTRIES & whole.keys() for name in whole[table]}
    assert tomllib.loads(found.part(found.entries)) == whole
    source, file = source_of(Path("f"), text), Path("f")
    for table, name in found.entries:
        part = source_of(file, found.part({(table, name)}))
        assert {**part.data, table: part.data[table][name]} == {
            **{key: value for key, value in whole.items() if key not in ENTRIES},
            table: whole[table][name],
        }
        for ours, theirs in ((part.keys, source.keys), (part.values, source.values)):
            of_entry = {path: place for path, place in theirs.items() if path[:2] == (table, name)}
            assert {path: place for path, place in ours.items() if path[:2] == (table, name)} == of_entry
    return found


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_line_that_looks_like_a_header_is_not_one(header: str, body: str) -> None:
    top = "" if "[stages.one" in body else f"{body}\n"
    text = f"{top}[seeds.first]\n{top}{header}\n{body}\n[repos.x]\n{top}[stages.two] # end\n{top}"
    assert set(check(text).entries) == {("seeds", "first"), ("stages", "one"), ("stages", "two")}


PLAIN = st.sampled_from(
    [
        *("1", "true", "2026-01-01", "'#'", '"]"', '"\\""', "''", '""', '""\'', "'" * 6, "'" * 8, '"' * 7),
        *("'''\n[stages.x]\n'''", '"""\n[stages.x]\n""""', '"""\\\n[stages.x] \\""" """', "{ a = '}' }"),
    ]
)


def lists(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(items, max_size=3).map(lambda values: "[ # [x] '\n" + ",\n".join(values) + "\n]")


VALUES = PLAIN | lists(PLAIN) | lists(lists(PLAIN) | PLAIN)


@given(st.lists(st.tuples(st.sampled_from(["repos", *sorted(ENTRIES)]), st.lists(VALUES, max_size=3)), max_size=4))
def test_generated_files_are_their_pieces(tables: list[tuple[str, list[str]]]) -> None:
    text = "".join(
        f"[{table}.n{number}]\n" + "".join(f"k{key} = {value} # '\n" for key, value in enumerate(values))
        for number, (table, values) in enumerate(tables)
    )
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # an outline may show more than is valid
        outline(text)
    else:
        check(text)


@pytest.mark.parametrize(
    "text",
    [
        "[stages.a]\nb = 'x",
        '[stages.a]\nb = """x',
        "[stages.a]\nb = [1",
        "[stages.a]\nb = 1]",
        "[stages.a\nb = 1",
        "[stages.]",
        "[stages.a] b = 1",
        '[stages."\\x"]',
        "[stages.a]\nb = " + "[" * 9 + "]" * 9,
    ],
)
def test_an_unclear_file_has_no_outline(text: str) -> None:
    assert outline(text) is None


def test_quoted_texts_of_an_entry_are_listed() -> None:
    found = outline("[stages.a]\nroot = 'b' # \"c\"\nlist = [\"d\", '''e''']\n[stages.b]\nroot = 'f'")
    assert found
    assert {"b", "c", "d"} <= set(found.texts(("stages", "a")))
    assert "f" not in set(found.texts(("stages", "a")))
