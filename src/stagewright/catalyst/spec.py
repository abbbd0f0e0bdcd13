"""``.spec`` files, read exactly as Catalyst 4.1 reads them, but with the place of every word.

The rules, which know no quoting and no escape:

- ``#`` ends a line anywhere; blank lines end nothing.
- A line with a colon is a key line, however it is indented. What stands left of the first colon is the key, blanks at
  its end included. Right of it, quotes at both ends go, then ``%(key)s`` stands for an earlier key (Python's ``%``),
  then blanks separate words.
- Any other line adds its words to the key above, whether it is indented or not.
- One word is a text, several are a list. The last of two equal keys counts, a key without words is dropped, and the one
  word ``none`` means nothing.

Where these rules surely do not do what the author meant, the spec carries a *finding* (``--strict``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.errors import Place, Reason, StagewrightError
from stagewright.project.source import read_text

Value = str | list[str] | None

_COMMENT = re.compile(r"\s*#.*$")
_FORMAT = re.compile(r"%(?:%|\(([^()]*)\)s)")
_WIDE = re.compile(r"%(?:\((?:[^()]|\([^()]*\))*\))?[-#0+ ]*(?:\d{4}|\d*\.\d{4})")


@dataclass
class SpecEntry:
    """One key with its words, and where each is written."""

    key: str
    place: Place
    words: list[str] = field(default_factory=list)
    spots: list[tuple[int, int]] = field(default_factory=list)  # the line and column of each word

    @property
    def value(self) -> Value:
        """The value as Catalyst has it: a text, a list, or None for ``none``."""
        if len(self.words) != 1:
            return self.words
        return None if self.words[0].lower() == "none" else self.words[0]

    @property
    def text(self) -> str:
        """The words as one text, with a blank between them."""
        return " ".join(self.words)

    def word_place(self, number: int = 0) -> Place:
        """Where a word stands."""
        return Place(self.place.file, *self.spots[number]) if self.spots else self.place


@dataclass
class Spec:
    """One spec: its entries in the order in which they came to be, what is wrong with its text, and what surprises."""

    file: Path
    entries: dict[str, SpecEntry] = field(default_factory=dict)
    problems: list[StagewrightError] = field(default_factory=list)
    findings: list[StagewrightError] = field(default_factory=list)

    @property
    def values(self) -> dict[str, Value]:
        """All keys with their values, as Catalyst has them."""
        return {key: entry.value for key, entry in self.entries.items()}

    def text(self, key: str) -> str:
        """The text of a key; empty when it is not there."""
        entry = self.entries.get(key)
        return entry.text if entry and entry.value is not None else ""

    def words(self, key: str) -> list[str]:
        """The words of a key; none when it is not there."""
        entry = self.entries.get(key)
        return entry.words if entry and entry.value is not None else []

    def place(self, key: str) -> Place:
        """Where the value of a key stands, or the top of the file."""
        entry = self.entries.get(key)
        return entry.word_place() if entry else Place(self.file, 1, 1)


def read_spec(file: Path) -> Spec:
    """Read one spec. Raises :class:`StagewrightError` for a file that cannot be read as text."""
    return parse(read_text(file), file)


def parse(text: str, file: Path) -> Spec:
    """The spec that a text is. What Catalyst would fail on is in its ``problems``; nothing is raised."""
    reader = _Reader(Spec(file))
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, raw in enumerate(lines, start=1):
        code = raw.strip()
        indent = raw.index(code)
        if "#" in code:
            code = _COMMENT.sub("", code)
            reader.look_at_comment(raw, code, number, indent)
        if not code:
            continue
        if ":" in code:
            reader.key_line(code, number, indent)
        else:
            reader.words_line(code, number, indent)
    return reader.end()


class _Reader:
    """What the loop over the lines keeps."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.entries: dict[str, SpecEntry] = {}
        self.current: SpecEntry | None = None

    def at(self, line: int, column: int) -> Place:
        """A place in this file; columns come as offsets."""
        return Place(self.spec.file, line, column + 1)

    def find(self, message: str, place: Place, hint: str, reason: Reason = Reason.SYNTAX) -> None:
        """Note something that the author did not mean."""
        self.spec.findings.append(StagewrightError(reason, message, place=place, hint=hint))

    def look_at_comment(self, raw: str, code: str, line: int, indent: int) -> None:
        """A ``#`` that cuts a word or a quoted text off."""
        end = indent + len(code)
        if code and (raw[end] == "#" or code.count('"') % 2 or code.count("'") % 2):
            place = self.at(line, raw.index("#", end))
            self.find("the text from this # on is lost: it starts a comment anywhere", place, "write it without #")

    def key_line(self, code: str, line: int, indent: int) -> None:
        """A line with a colon."""
        key, _, rest = code.partition(":")
        place = self.at(line, indent)
        if indent and self.current:
            self.find(
                f"this line is no part of {self.current.key!r}: its colon makes {key!r} a key of its own",
                place,
                f"write words with a colon on the line of their key, {self.current.key}: {code}",
            )
        if key != key.rstrip():
            self.find(
                f"the key is {key!r}, with the blank before the colon", place, "write the colon right after the key"
            )
        stripped = rest.strip()
        value = stripped.strip('"')
        if value.count('"') % 2 and value != stripped:
            where = self.at(line, indent + len(code) - 1)
            self.find('the " at the end is taken away, though it closes one inside', where, "use ' inside of values")
        offset = indent + len(key) + 1 + rest.index(value)
        start = offset + len(value) - len(value.lstrip())
        filled = self.fill(value, self.at(line, start)) if "%" in value else value
        entry = self.current = self.opened(key, place)
        self.add(entry, filled, line, None if "%" in value else offset, start)

    def opened(self, key: str, place: Place) -> SpecEntry:
        """A new entry without words; an earlier one of this key is emptied, and keeps its rank."""
        earlier = self.entries.get(key)
        if earlier is None:
            return self.entries.setdefault(key, SpecEntry(key, place))
        message = f"{key!r} is given twice; what line {earlier.place.line} says is dropped"
        self.find(message, place, "keep one of the two", Reason.DUPLICATE_NAME)
        earlier.place, earlier.words, earlier.spots = place, [], []
        return earlier

    def words_line(self, code: str, line: int, indent: int) -> None:
        """A line without a colon, which goes on with the key above."""
        if self.current is None:
            key = code.split(maxsplit=1)[0]
            place = self.at(line, indent)
            self.find(f"there is no key above: {key!r} becomes a key", place, "write KEY: first")
            self.current = self.entries.setdefault(key, SpecEntry(key, place))
            rest = code[len(key) :]
            self.add(self.current, rest, line, indent + len(key))
            return
        if not indent:
            message = f"this line goes on with {self.current.key!r}"
            self.find(message, self.at(line, 0), "indent it, or write the colon that makes it a key")
        self.add(self.current, code, line, indent)

    def add(self, entry: SpecEntry, text: str, line: int, offset: int | None, start: int = 0) -> None:
        """Take the words of a text that stands at an offset; where it was filled in, all stand at its start."""
        column = 0
        for word in text.split():
            entry.words.append(word)
            if offset is None:
                entry.spots.append((line, start + 1))
                continue
            column = text.index(word, column)
            entry.spots.append((line, offset + column + 1))
            column += len(word)

    def fill(self, value: str, place: Place) -> str:
        """Put earlier keys where ``%(key)s`` stands, by Python's ``%`` as Catalyst does."""
        earlier = {key: entry.words[0] if len(entry.words) == 1 else entry.words for key, entry in self.entries.items()}
        plain = _FORMAT.sub("", value)
        names = [name for name in _FORMAT.findall(value) if name]
        if "%" in plain or any(isinstance(earlier.get(name), list) for name in names):
            self.find(
                "a % in a value is Python's: this fills in more than a text", place, "write %% for a percent sign"
            )
        try:
            if _WIDE.search(value):
                raise ValueError("the width after % has too many digits")
            return value % earlier
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            what = f"there is no key {error} above" if isinstance(error, KeyError) else str(error)
            hint = "write %% for a percent sign, %(key)s for the value of an earlier key"
            self.spec.problems.append(
                StagewrightError(Reason.SYNTAX, f"the % cannot be filled in: {what}", place=place, hint=hint)
            )
            return value

    def end(self) -> Spec:
        """The spec, without the keys that have no words."""
        for key, entry in self.entries.items():
            if entry.words:
                self.spec.entries[key] = entry
            else:
                self.find(f"{key!r} has no value and is dropped", entry.place, "give it a value, or remove the line")
        return self.spec


def write(values: Mapping[str, Value]) -> str:
    """The text of a spec with these values, so that reading it gives them again.

    Lists get a line for each word, or one line where a word has a colon, which only a key line can hold.
    """
    return "".join(f"{line}\n" for key, value in values.items() for line in _written(key, value))


def _written(key: str, value: Value) -> Iterator[str]:
    words = [value or "none"] if not isinstance(value, list) else value
    if len(words) > 1 and not any(":" in word for word in words):
        yield f"{key}:"
        yield from (f"\t{word}" for word in words)
        return
    text = " ".join(words).replace("%", "%%")
    yield f'{key}: " {text} "' if '"' in (text[:1], text[-1:]) else f"{key}: {text}"
