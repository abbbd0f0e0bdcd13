"""The conversion of one spec: the entries that it becomes, and what converters of keys have at hand."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.catalyst.auto import Notice
from stagewright.catalyst.check import find_file
from stagewright.catalyst.convert.names import FileNames
from stagewright.catalyst.convert.sheet import Sheet, text
from stagewright.catalyst.graph import Made
from stagewright.catalyst.keys import Kind, Target
from stagewright.catalyst.release import Release
from stagewright.catalyst.spec import Entry, Spec
from stagewright.errors import Place, Reason, StagewrightError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9+_-]*")


@dataclass(frozen=True)
class Output:
    """A file or folder that Catalyst would leave, and the entry of the project that makes it.

    ``path`` is relative to the storedir, or absolute where the spec says so; tokens in it are filled in. One that ends
    in a slash is a folder of what the entry makes.
    """

    entry: str
    path: str
    made: Made
    folder: bool = False  # of binary packages


@dataclass
class Common:
    """What the conversions of all specs of a release share."""

    release: Release
    names: dict[str, str]  # of entries, by names in the graph
    files: FileNames
    outputs: list[Output] = field(default_factory=list)
    refused: list[StagewrightError] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    repos: dict[str, Path] = field(default_factory=dict)  # more ebuild repositories that specs name
    trees: list[Path] = field(default_factory=list)  # the repositories that are at hand, to look for packages


@dataclass
class Conversion:
    """One spec on its way into a project.

    ``sheets`` are its entries by role: ``main`` or, of media, ``image``, under the name of the spec, is what it makes;
    others are what that is made of (``live`` or ``root``, ``payload``), or what is made of it (``tar``).
    """

    made: Made
    target: Target
    name: str
    common: Common
    sheets: dict[str, Sheet] = field(default_factory=dict)

    @property
    def spec(self) -> Spec:
        """The spec."""
        return self.made.member.spec

    def sheet(self, role: str, kind: str, place: Place) -> Sheet:
        """A new entry of the spec; all but ``main`` and ``image`` carry their role in their name."""
        name = self.name if role in ("main", "image") else f"{self.name}.{role}"
        sheet = Sheet("stages", name, f"{self.spec.file}", place)
        sheet.put("kind", kind, place)
        self.sheets[role] = sheet
        return sheet

    @property
    def main(self) -> Sheet:
        """What the spec makes."""
        return self.sheets["main"]

    @property
    def root(self) -> Sheet:
        """The entry that changes files of a root: of media that of the root on them, else what the spec makes."""
        return next(self.sheets[role] for role in ("live", "root", "main") if role in self.sheets)

    @property
    def builders(self) -> list[Sheet]:
        """The entries that work with Portage."""
        return [self.sheets[role] for role in ("live", "root", "payload") if role in self.sheets] or [self.main]

    def say(self, place: Place, words: str) -> None:
        """Tell something that is not wrong, but worth a look."""
        self.common.notices.append(Notice(place, words))

    def refuse(self, entry: Entry, why: str, hint: str, number: int = 0) -> None:
        """Refuse a key or one of its words."""
        message = f"{entry.key}: {why}"
        place = entry.word_place(number)
        self.common.refused.append(StagewrightError(Reason.NOT_SUPPORTED, message, place=place, hint=hint))

    def atom(self, word: str, entry: Entry, number: int) -> str | None:
        """A package as a project names it; to a name alone comes the one category that has it.

        None where only the snapshot could tell the category, and it is not at hand.
        """
        if not _NAME.fullmatch(word):
            return text(word)
        place = entry.word_place(number)
        if not self.common.trees:
            self.say(place, f"{entry.key}: {word} has no category; the snapshot will tell it")
            return None
        found = sorted(
            {path.parent.parent.name for tree in self.common.trees for path in tree.glob(f"*/{word}/*.ebuild")}
        )
        if len(found) == 1:
            return text(f"{found[0]}/{word}")
        if found:
            known = ", ".join(f"{category}/{word}" for category in found)
            self.refuse(entry, f"{word} could be any of {known}", "write the category", number)
            return None
        return text(word)

    def put(self, sheets: Iterable[Sheet], path: str, entry: Entry) -> None:
        """Set a value of entries to the text of a key."""
        for sheet in sheets:
            sheet.put(path, text(entry.text), entry.word_place())

    def file(self, word: str, kind: Kind = Kind.PATH) -> str:
        """The name in the project of a file that a spec names; relative ones start from the folder of the spec."""
        return text(self.common.files.of(self.found(word, kind)))

    def found(self, word: str, kind: Kind = Kind.PATH) -> Path:
        """The file that a spec names."""
        return Path(os.path.abspath(find_file(word, kind, self.spec, self.common.release)))  # noqa: PTH100  keeps links

    def add_files(self, sheet: Sheet, path: str, entry: Entry) -> None:
        """Add the files that a key names to a list."""
        sheet.add(path, ((self.file(word), entry.word_place(number)) for number, word in enumerate(entry.words)))
