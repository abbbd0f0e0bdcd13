"""The code of a module without its documentation: what changes it and what does not."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import stagewright
from stagewright.graph import code_text as module
from stagewright.graph.code_text import code_text

PACKAGE = Path(stagewright.__file__).parent

PLAIN = b'''"""Make a root."""

import os

LIMIT = 3
"""Roots at a time."""


class Root:
    """A root."""

    def open(self, mode="r"):
        """Open it."""

        def inner():
            """Return one."""
            return 1

        text = """kept

        # no comment
        """
        return [inner(), text,
                f"{mode} # {os.sep}"]
'''

SAME = {
    "a comment at the end of a line": (b"LIMIT = 3", b"LIMIT = 3  # not more"),
    "a comment line": (b"LIMIT = 3", b"# not more\nLIMIT = 3"),
    "a comment line with another indentation": (b"            return 1", b"      # one\n            return 1"),
    "a comment inside brackets": (b"return [inner(), text,", b"return [inner(),  # first\n  text,"),
    "a longer docstring of the module": (b'"""Make a root."""', b'"""Make a root.\n\nAnd more.\n"""'),
    "no docstring of the module": (b'"""Make a root."""\n', b""),
    "no docstring of the class": (b'    """A root."""\n', b""),
    "another quote": (b'"""Open it."""', b"r'Open it'"),
    "two strings as one docstring": (b'"""Open it."""', b"'Open' ' it'"),
    "a docstring of a nested function": (b'"""Return one."""', b'"""Return 1\n\n            as a number."""'),
    "a docstring of a field": (b'"""Roots at a time."""', b'"""Most roots.\n"""'),
    "blank lines": (b"import os\n", b"\n\n\nimport os\n\n"),
    "spaces at the end of a line": (b"LIMIT = 3", b"LIMIT = 3   "),
    "lines ended as on Windows": (b"\n", b"\r\n"),
    "the cookie of the encoding": (
        b'"""Make a root."""',
        b'# -*- coding: latin-1 -*-\n"""Make a root, gr\xfc\xdfe."""',
    ),
    "a byte order mark": (b'"""Make a root."""', b'\xef\xbb\xbf"""Make a root."""'),
}

OTHER = {
    "a value": (b"LIMIT = 3", b"LIMIT = 4"),
    "a name": (b"def open", b"def close"),
    "a string that is used": (b'"""kept', b'"""lost'),
    "a blank line in a string that is used": (b'"""kept\n', b'"""kept\n\n'),
    "something like a comment in a string": (b"# no comment", b"# not a comment"),
    "something like a comment in an f-string": (b"} # {", b"} ## {"),
    "the indentation": (b"            return 1", b"        return 1"),
    "a statement less": (b"import os\n", b""),
    "a docstring that is returned": (b'"""Return one."""\n            return 1', b'return """Return one."""'),
    "statements on one line": (b"import os\n\nLIMIT = 3", b"import os; LIMIT = 3"),
    "the prefix of a string": (b'mode="r"', b'mode=b"r"'),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME.keys())
def test_documentation_and_layout_do_not_count(change: tuple[bytes, bytes]) -> None:
    changed = PLAIN.replace(*change)
    assert changed != PLAIN
    compile(changed, "changed", "exec")
    assert code_text(changed) == code_text(PLAIN)


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER.keys())
def test_code_counts(change: tuple[bytes, bytes]) -> None:
    changed = PLAIN.replace(*change)
    assert changed != PLAIN
    compile(changed, "changed", "exec")
    assert code_text(changed) != code_text(PLAIN)


@pytest.mark.parametrize("source", [b"", b"\n", b"# nothing", b'"""Documentation only."""', b'"""One.\n"""\n# two\n'])
def test_a_module_without_code_has_no_text(source: bytes) -> None:
    assert code_text(source) == ""


def test_a_continued_line_ends_where_python_ends_it() -> None:
    """A blank line after a backslash ends the statement, so it must not be cut out of the text."""
    ended, continued = b"x = 1 \\\n\n-y\n", b"x = 1 \\\n-y\n"
    assert code_text(ended) == code_text(b"x = 1\n-y\n")
    assert code_text(continued) == code_text(b"x = 1 - y\n")
    assert code_text(ended) != code_text(continued)


def test_the_last_line_needs_no_newline() -> None:
    assert code_text(b"x = 1") == code_text(b"x = 1\n") == code_text(b"x = 1\n# end")


def test_text_counts_as_its_encoding_says() -> None:
    assert code_text(b'# coding: latin-1\nx = "\xfc"\n') == code_text('x = "ü"\n'.encode())


NOISE = st.sampled_from(["", "# words", '"""Words."""', "'''More\n\nwords.'''", "   # words", "\n\n"])
STATEMENTS = st.lists(st.sampled_from(["x = 1", "x = '#'", "f(x,\n  y)", "if x:\n    y = 2", 's = """a\n\n# b"""']))


@given(STATEMENTS, STATEMENTS, st.lists(NOISE, min_size=40))
def test_texts_are_equal_only_if_the_statements_are(one: list[str], other: list[str], noise: list[str]) -> None:
    def source(statements: list[str], noise: list[str]) -> bytes:
        lines = [text for pair in zip(noise, [*statements, ""], strict=False) for text in pair]
        return "\n".join(lines).encode()

    assert code_text(source(one, noise)) == code_text(source(one, noise[::-1]))
    assert (code_text(source(one, noise)) == code_text(source(other, noise[::-1]))) == (one == other)


@pytest.mark.slow
def test_the_text_is_the_same_in_other_versions_of_python() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    script = (
        f"import runpy, sys, hashlib; f = runpy.run_path({module.__file__!r})['code_text']\n"
        "for name in sys.argv[1:]: print(hashlib.sha256(f(open(name, 'rb').read()).encode()).hexdigest())"
    )
    others = [found for minor in range(11, 16) if (found := shutil.which(f"python3.{minor}"))]
    results = [
        subprocess.run([python, "-I", "-c", script, *files], capture_output=True, text=True, check=False)
        for python in dict.fromkeys([sys.executable, *others])
    ]
    texts = {done.stdout for done in results if done.returncode == 0}
    assert len(texts) == 1
    assert texts.pop().count("\n") == len(files)


def test_what_is_left_has_no_documentation() -> None:
    """The text keeps as many strings as the syntax tree has apart from docstrings."""
    tree = ast.parse(PLAIN)
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    bare = [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    assert len(strings) > len(bare) == 5
    text = code_text(PLAIN)
    assert not [node for node in bare if str(node.value.value).strip() in text]
