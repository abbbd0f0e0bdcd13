"""A new entry of a project. Each of its values has the place in the spec that it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from stagewright.catalyst.spec import SpecEntry
from stagewright.catalyst.tokens import TOKEN
from stagewright.errors import Place
from stagewright.project.source import KeyPath
from stagewright.project.tables import Table

_BRACE = re.compile(r"[{}]")


def text(word: str) -> str:
    """Return a word of a spec as a text of a project: braces are doubled, tokens become variables."""
    return TOKEN.sub(r"{\1}", plain(word))


def plain(words: str) -> str:
    """Return a text as a text of a project: braces are doubled."""
    return _BRACE.sub(lambda found: found[0] * 2, words)


@dataclass
class EntryDraft:
    """An entry: its table and name, the file of its spec, and its values with their places."""

    table: str
    name: str
    comment: str
    place: Place
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)

    def put(self, path: str, value: Any, place: Place) -> None:
        """Set a value. ``path`` separates nested tables by dots. Texts must come from :func:`text`."""
        *tables, name = path.split(".")
        inner = self.data
        for number, table in enumerate(tables):
            inner = inner.setdefault(table, {})
            self.places.setdefault(tuple(tables[: number + 1]), place)
        inner[name] = value
        self.places[(*tables, name)] = place

    def add(self, path: str, items: Iterable[tuple[str, Place]]) -> None:
        """Append items with their places to a list."""
        *tables, name = path.split(".")
        inner: Any = self.data
        for table in tables:
            inner = inner.get(table, {})
        found = list(inner.get(name, []))
        way = (*tables, name)
        for item, place in items:
            if not found:
                self.put(path, found, place)
            self.places[(*way, len(found))] = place
            found.append(item)
        if found:
            self.put(path, found, self.places[way])

    def add_words(self, path: str, entry: SpecEntry) -> None:
        """Append the words of a key to a list."""
        self.add(path, ((text(word), entry.word_place(number)) for number, word in enumerate(entry.words)))

    def table_with_places(self) -> Table:
        """Return the table for the project loader."""
        places = {(): self.place, **self.places}
        return Table(dict(self.data), places, dict(places))
