"""The text of a Python module without its documentation, for digests.

Comments, docstrings and the layout of lines have no effect on what a module does. A digest of the remaining tokens
changes with every statement and stays equal if a docstring is corrected. Tokens are the same in all versions of
Python that Stagewright supports. The nodes of a syntax tree are not (docs/decisions/003-what-is-in-a-key.md).
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterable, Iterator

END = "\0"
"""Separates tokens. Python sources cannot contain it."""

_LINE, _INDENT, _DEDENT = "\n", "\t>", "\t<"
_MARKS = {tokenize.NEWLINE: _LINE, tokenize.INDENT: _INDENT, tokenize.DEDENT: _DEDENT}
_WITHOUT_EFFECT = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER})
_DOCSTRING_STARTS = ('"', "'", 'r"', "r'", 'R"', "R'", 'u"', "u'", 'U"', "U'")


def code_text(source: bytes) -> str:
    """Return the tokens of a module as one text, without comments, docstrings, blank lines and spaces.

    A docstring is a statement that consists of plain strings only, wherever it stands: the strings below fields are
    documentation, too. Other strings stay as they are written. Raises SyntaxError or tokenize.TokenError if the source
    is not valid Python.
    """
    kept: list[str] = []
    line: list[str] = []
    for text in _tokens(_decoded(source)):
        if text in (_INDENT, _DEDENT):
            kept.append(text)
        elif text != _LINE:
            line.append(text)
        elif line:
            kept += [] if _is_docstring(line) else [*line, _LINE]
            line = []
    return END.join(kept)


def _is_docstring(line: Iterable[str]) -> bool:
    """True if a statement consists of strings that Python does not evaluate: no f-strings, no bytes."""
    return all(text.startswith(_DOCSTRING_STARTS) for text in line)


def _tokens(text: str) -> Iterator[str]:
    """Yield the tokens of a module that have an effect; lines and indentation as marks."""
    lines = io.StringIO(text).readlines()
    begin: tuple[int, int] | None = None
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        if name.endswith("STRING_START"):  # since Python 3.12 an f-string is several tokens
            begin = begin if depth else token.start
            depth += 1
        elif name.endswith("STRING_END"):
            depth -= 1
            if not depth and begin:
                yield _span(lines, begin, token.end)
        elif not depth and token.type not in _WITHOUT_EFFECT:
            yield _MARKS.get(token.type, token.string)


def _decoded(source: bytes) -> str:
    """Return the text of a module: decoded as its cookie says (PEP 263), each line ended by a newline."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    text = io.TextIOWrapper(io.BytesIO(source), encoding).read()
    return text if text.endswith("\n") else text + "\n"  # Python 3.11 adds an empty line otherwise


def _span(lines: list[str], begin: tuple[int, int], end: tuple[int, int]) -> str:
    """Return the text between two positions (line from 1, column from 0)."""
    (first, left), (last, right) = begin, end
    if first == last:
        return lines[first - 1][left:right]
    return "".join([lines[first - 1][left:], *lines[first : last - 1], lines[last - 1][:right]])
