"""One entry of a project in the making: values, each with the place in the spec that it comes from."""

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
    """A word of a spec as a text of a project: braces are doubled, tokens become variables."""
    return TOKEN.sub(r"{\1}", plain(word))


def plain(words: str) -> str:
    """Any text as one of a project: braces are doubled."""
    return _BRACE.sub(lambda found: found[0] * 2, words)


@dataclass
class EntryDraft:
    """An entry: its table and name, the spec it comes from, and its values with their places."""

    table: str
    name: str
    comment: str
    place: Place
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)

    def put(self, path: str, value: Any, place: Place) -> None:
        """Set a value; ``path`` has dots for tables in tables. Texts must be such as :func:`text` makes."""
        *tables, name = path.split(".")
        inner = self.data
        for number, table in enumerate(tables):
            inner = inner.setdefault(table, {})
            self.places.setdefault(tuple(tables[: number + 1]), place)
        inner[name] = value
        self.places[(*tables, name)] = place

    def add(self, path: str, items: Iterable[tuple[str, Place]]) -> None:
        """Add to a list, each item with its place."""
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
        """Add the words of a key to a list."""
        self.add(path, ((text(word), entry.word_place(number)) for number, word in enumerate(entry.words)))

    def table_with_places(self) -> Table:
        """The table for the loader."""
        places = {(): self.place, **self.places}
        return Table(dict(self.data), places, dict(places))
