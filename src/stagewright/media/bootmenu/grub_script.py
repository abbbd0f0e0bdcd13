"""The scripting language of GRUB's menus: words, commands and blocks.

The language is that of the GRUB manual, chapter "Writing your own configuration file directly": words with quotes,
backslashes and variables; commands that end with a newline or ``;``; blocks in braces; ``if``, ``for``, ``while``,
``until`` and ``function``. Conditions depend on the machine, so the parser keeps the commands of all branches, in the
order of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

DEEPEST_BLOCK = 50
"""How deep blocks may be nested; what is deeper is skipped."""


@dataclass(frozen=True)
class Part:
    """A piece of a word: text, or the name of a variable. Quoted text is never a keyword and is never split."""

    text: str
    quoted: bool = False
    variable: bool = False


Word = tuple[Part, ...]


@dataclass(frozen=True)
class Command:
    """A command with its words; ``block`` is the part in braces, as of ``menuentry`` and ``submenu``."""

    words: tuple[Word, ...]
    block: tuple[Statement, ...] | None = None


@dataclass(frozen=True)
class Loop:
    """``for NAME in WORDS; do BLOCK; done``."""

    name: str
    words: tuple[Word, ...]
    block: tuple[Statement, ...]


@dataclass(frozen=True)
class Function:
    """``function NAME { BLOCK }``."""

    name: str
    block: tuple[Statement, ...]


Statement = Command | Loop | Function


def parse(text: str) -> tuple[Statement, ...]:
    """Return the statements of a script. Text that is not valid GRUB script yields the statements around it."""
    parser = _Parser(list(tokens(text)))
    found: list[Statement] = []
    while not parser.ended:
        found += parser.block(frozenset(), 0)
        parser.skip()  # a brace or keyword that closes nothing
    return tuple(found)


_END, _OPEN, _CLOSE = ";", "{", "}"
Token = Word | str
"""A word, or one of ``;`` (a newline counts, too), ``{`` and ``}``."""

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r]+ | \\\r?\n)
      | (?P<end>[;\n|&<>])
      | (?P<brace>[{}])
      | '(?P<single>[^']*)(?:'|$)
      | (?P<double>\$?"(?:[^"\\]|\\.)*(?:"|$))
      | \\(?P<escaped>.)
      | \$(?:\{(?P<braced>[^}\s${]{0,200})\}|(?P<name>[A-Za-z_]\w*|\d+|[?@*\#]))
      | (?P<text>[^{}|&$;<>\ \t\r\n'"\\]+ | .)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_IN_QUOTES = re.compile(
    r"""\\(?P<escaped>[$"\\\n])
      | \$(?:\{(?P<braced>[^}\s${]{0,200})\}|(?P<name>[A-Za-z_]\w*|\d+|[?@*\#]))
      | (?P<text>[^\\$]+|.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a script."""
    word: list[Part] = []
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        assert found, "the last alternative matches any character"
        if not word and found["text"] and found["text"].startswith("#"):
            place = _line_end(text, place)
            continue
        place = found.end()
        separator = found["end"] or found["brace"]
        if found["blank"] or separator:
            if word:
                yield tuple(word)
                word = []
            if separator:
                yield separator if separator in (_OPEN, _CLOSE) else _END
        else:
            word += _parts(found)
    if word:
        yield tuple(word)


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def _parts(found: re.Match[str]) -> Iterator[Part]:
    if found["single"] is not None:
        yield Part(found["single"], quoted=True)
    elif found["double"] is not None:
        inner = found["double"].removeprefix("$")[1:].removesuffix('"')
        yield Part("", quoted=True)  # an empty string is a word, too
        for piece in _IN_QUOTES.finditer(inner):
            yield _part(piece, quoted=True)
    else:
        yield _part(found, quoted=found["escaped"] is not None)


def _part(found: re.Match[str], *, quoted: bool) -> Part:
    name = found["braced"] if found["braced"] is not None else found["name"]
    if name is not None:
        return Part(name, quoted, variable=True)
    escaped = found["escaped"]
    return Part("" if escaped == "\n" else escaped if escaped is not None else found["text"], quoted)


def _keyword(token: Token) -> str:
    """Return the text of a word without quotes and variables, else an empty string."""
    if isinstance(token, str) or any(part.quoted or part.variable for part in token):
        return ""
    return "".join(part.text for part in token)


class _Parser:
    """A position in the tokens. Methods return what they read and never raise."""

    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._place = 0

    @property
    def ended(self) -> bool:
        return self._place >= len(self._tokens)

    def skip(self) -> None:
        self._place += 1

    def _next(self) -> Token:
        return self._tokens[self._place]

    def block(self, ends: frozenset[str], depth: int) -> list[Statement]:
        """Return the statements up to a closing brace or one of the keywords, which stays unread."""
        found: list[Statement] = []
        while not self.ended:
            token = self._next()
            if token == _CLOSE or _keyword(token) in ends:
                break
            if token == _END:
                self.skip()
            elif token == _OPEN:
                found += self._braces(depth)
            else:
                found += self._statement(depth)
        return found

    def _statement(self, depth: int) -> list[Statement]:
        keyword = _keyword(self._next())
        if keyword in ("if", "while", "until"):
            return self._branches(_BRANCHES[keyword], depth)
        if keyword in _STRAY:
            self.skip()
            return []
        words = self._words()
        if keyword == "for" and len(words) > 1:
            return [self._loop(words, depth)]
        block = self._braces(depth) if not self.ended and self._next() == _OPEN else None
        if keyword == "function" and len(words) > 1:
            return [Function(_keyword(words[1]), tuple(block or ()))]
        return [Command(words, None if block is None else tuple(block))]

    def _words(self) -> tuple[Word, ...]:
        words = []
        while not self.ended and not isinstance(token := self._next(), str):
            words.append(token)
            self.skip()
        return tuple(words)

    def _braces(self, depth: int) -> list[Statement]:
        """Return the statements between braces; none of a block that is nested too deep."""
        if depth >= DEEPEST_BLOCK:
            self._skip_braces()
            return []
        self.skip()
        found = self.block(frozenset(), depth + 1)
        self.skip()
        return found

    def _skip_braces(self) -> None:
        level = 0
        while not self.ended:
            token = self._next()
            level += (token == _OPEN) - (token == _CLOSE)
            self.skip()
            if level <= 0:
                return

    def _branches(self, separators: tuple[str, str, frozenset[str]], depth: int) -> list[Statement]:
        """Return the statements of all branches; conditions are left out."""
        begin, end, others = separators
        found: list[Statement] = []
        self.skip()
        if depth >= DEEPEST_BLOCK:
            return found
        while not self.ended:
            self.block(frozenset((begin, end)), depth + 1)  # the condition
            if self._step(begin):
                found += self.block(others | {end}, depth + 1)
            while self._step("else"):
                found += self.block(others | {end}, depth + 1)
            if self._step(end) or not self._step("elif"):
                break
        return found

    def _step(self, keyword: str) -> bool:
        """Read a keyword if it comes next."""
        there = not self.ended and _keyword(self._next()) == keyword
        self._place += there
        return there

    def _loop(self, words: tuple[Word, ...], depth: int) -> Loop:
        while not self.ended and self._next() == _END:
            self.skip()
        block: list[Statement] = []
        if depth < DEEPEST_BLOCK and self._step("do"):
            block = self.block(frozenset({"done"}), depth + 1)
            self._step("done")
        return Loop(_keyword(words[1]), words[3:], tuple(block))


_BRANCHES = {
    "if": ("then", "fi", frozenset({"elif", "else"})),
    "while": ("do", "done", frozenset[str]()),
    "until": ("do", "done", frozenset[str]()),
}
"""Per keyword: the word that begins its block, the one that ends it, and those between two blocks."""

_STRAY = frozenset({"then", "fi", "elif", "else", "do", "done"})
