"""Read ``.spec`` files exactly as Catalyst 4.1 does, but with the place of every word.

The format has neither quoting nor escapes. Its rules are:

- ``#`` starts a comment anywhere in a line. Empty lines are ignored.
- A line with a colon is a key line, with or without indentation. The key is the text left of the first colon, with the
  spaces at its end. From the text right of it, double quotes at both ends are removed, then ``%(key)s`` is replaced by
  the value of an earlier key (Python's ``%``), then the text is split into words at white space.
- Any other line adds its words to the key above, with or without indentation.
- One word is a text, several words are a list. The last of two equal keys counts. A key without words is dropped. The
  single word ``none`` is no value.

Catalyst reads specs in the locale's encoding, which is UTF-8 on release machines. Other bytes are an error here too.
If a rule certainly does not do what the author meant, the spec has a *finding* (``--strict``).
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
    """A key with its words and their places."""

    key: str
    place: Place
    words: list[str] = field(default_factory=list)
    spots: list[tuple[int, int]] = field(default_factory=list)  # the line and column of each word

    @property
    def value(self) -> Value:
        """Value in Catalyst: a text, a list, or None for ``none``."""
        if len(self.words) != 1:
            return self.words
        return None if self.words[0].lower() == "none" else self.words[0]

    @property
    def text(self) -> str:
        """All words as one text, with spaces between them."""
        return " ".join(self.words)

    def word_place(self, number: int = 0) -> Place:
        """Return the place of a word."""
        return Place(self.place.file, *self.spots[number]) if self.spots else self.place


@dataclass
class Spec:
    """A spec: its entries in the order of their first occurrence, the errors in its text, and its findings."""

    file: Path
    entries: dict[str, SpecEntry] = field(default_factory=dict)
    problems: list[StagewrightError] = field(default_factory=list)
    findings: list[StagewrightError] = field(default_factory=list)

    @property
    def values(self) -> dict[str, Value]:
        """Values of all keys, as in Catalyst."""
        return {key: entry.value for key, entry in self.entries.items()}

    def text(self, key: str) -> str:
        """Return the text of a key. Empty if the key is missing."""
        entry = self.entries.get(key)
        return entry.text if entry and entry.value is not None else ""

    def words(self, key: str) -> list[str]:
        """Return the words of a key. Empty if the key is missing."""
        entry = self.entries.get(key)
        return entry.words if entry and entry.value is not None else []

    def place(self, key: str) -> Place:
        """Return the place of a key's value, or the start of the file if the key is missing."""
        entry = self.entries.get(key)
        return entry.word_place() if entry else Place(self.file, 1, 1)


def read_spec(file: Path) -> Spec:
    """Read a spec. Raises ``MISSING_FILE`` or ``SYNTAX`` if the file cannot be read as UTF-8 text."""
    return parse(read_text(file), file)


def parse(text: str, file: Path) -> Spec:
    """Parse the text of a spec. Errors on which Catalyst fails are in its ``problems``; nothing is raised."""
    reader = _SpecReader(Spec(file))
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


class _SpecReader:
    """State of the loop over the lines."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.entries: dict[str, SpecEntry] = {}
        self.current: SpecEntry | None = None

    def at(self, line: int, column: int) -> Place:
        """Return a place in this file. ``column`` is an offset and starts with 0."""
        return Place(self.spec.file, line, column + 1)

    def find(self, message: str, place: Place, hint: str, reason: Reason = Reason.SYNTAX) -> None:
        """Add a finding: text that certainly does not do what the author meant."""
        self.spec.findings.append(StagewrightError(reason, message, place=place, hint=hint))

    def look_at_comment(self, raw: str, code: str, line: int, indent: int) -> None:
        """Report a ``#`` that cuts off a word or a quoted text."""
        end = indent + len(code)
        if code and (raw[end] == "#" or code.count('"') % 2 or code.count("'") % 2):
            place = self.at(line, raw.index("#", end))
            self.find("the # starts a comment: the text after it is lost", place, "remove the #")

    def key_line(self, code: str, line: int, indent: int) -> None:
        """Read a line with a colon."""
        key, _, rest = code.partition(":")
        place = self.at(line, indent)
        if indent and self.current:
            self.find(
                f"the colon makes {key!r} a new key: the line does not belong to {self.current.key!r}",
                place,
                f"write words with a colon on the line of their key: {self.current.key}: {code}",
            )
        if key != key.rstrip():
            self.find(f"the space before the colon is part of the key {key!r}", place, "remove the space")
        stripped = rest.strip()
        value = stripped.strip('"')
        if value.count('"') % 2 and value != stripped:
            where = self.at(line, indent + len(code) - 1)
            self.find('the " at the end is removed, but it closes a quotation', where, "use ' for quotes in values")
        offset = indent + len(key) + 1 + rest.index(value)
        start = offset + len(value) - len(value.lstrip())
        filled = self.fill(value, self.at(line, start)) if "%" in value else value
        entry = self.current = self.opened(key, place)
        self.add(entry, filled, line, None if "%" in value else offset, start)

    def opened(self, key: str, place: Place) -> SpecEntry:
        """Return a new entry without words. An earlier entry of this key is emptied and keeps its position."""
        earlier = self.entries.get(key)
        if earlier is None:
            return self.entries.setdefault(key, SpecEntry(key, place))
        message = f"{key!r} is defined twice: the value in line {earlier.place.line} is dropped"
        self.find(message, place, "remove one of the two", Reason.DUPLICATE_NAME)
        earlier.place, earlier.words, earlier.spots = place, [], []
        return earlier

    def words_line(self, code: str, line: int, indent: int) -> None:
        """Read a line without a colon. Its words belong to the key above."""
        if self.current is None:
            key = code.split(maxsplit=1)[0]
            place = self.at(line, indent)
            self.find(f"the line has no key above it: {key!r} becomes a key", place, "write KEY: first")
            self.current = self.entries.setdefault(key, SpecEntry(key, place))
            rest = code[len(key) :]
            self.add(self.current, rest, line, indent + len(key))
            return
        if not indent:
            message = f"the line belongs to {self.current.key!r}, the key above"
            self.find(message, self.at(line, 0), "indent the line, or add the colon that makes it a key")
        self.add(self.current, code, line, indent)

    def add(self, entry: SpecEntry, text: str, line: int, offset: int | None, start: int = 0) -> None:
        """Add the words of a text at ``offset``. Words of a replaced text (None) all have the place ``start``."""
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
        """Replace ``%(key)s`` by the values of earlier keys with Python's ``%``, as Catalyst does."""
        earlier = {key: entry.words[0] if len(entry.words) == 1 else entry.words for key, entry in self.entries.items()}
        plain = _FORMAT.sub("", value)
        names = [name for name in _FORMAT.findall(value) if name]
        if "%" in plain or any(isinstance(earlier.get(name), list) for name in names):
            self.find(
                "a % formats values as in Python: the result is more than a text", place, "write %% for a percent sign"
            )
        try:
            if _WIDE.search(value):
                raise ValueError("the width after % has too many digits")
            return value % earlier
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            what = f"key {error} not found above" if isinstance(error, KeyError) else str(error)
            hint = "write %% for a percent sign, %(key)s for the value of an earlier key"
            self.spec.problems.append(
                StagewrightError(Reason.SYNTAX, f"the % cannot be replaced: {what}", place=place, hint=hint)
            )
            return value

    def end(self) -> Spec:
        """Return the spec without the keys that have no words."""
        for key, entry in self.entries.items():
            if entry.words:
                self.spec.entries[key] = entry
            else:
                self.find(f"{key!r} has no value and is dropped", entry.place, "add a value, or remove the line")
        return self.spec


def write(values: Mapping[str, Value]) -> str:
    """Return the text of a spec with these values. Reading it gives the same values.

    A list has a line for each word, or a single line if one of its words contains a colon.
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
