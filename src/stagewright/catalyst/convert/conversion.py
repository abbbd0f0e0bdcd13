"""The conversion of one spec: the entries that it becomes, and what converters of keys have at hand."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.catalyst.auto import Notice
from stagewright.catalyst.convert.entry_draft import EntryDraft, text
from stagewright.catalyst.convert.entry_names import FileNames
from stagewright.catalyst.release import Release
from stagewright.catalyst.release_graph import SpecResult
from stagewright.catalyst.spec import Spec, SpecEntry
from stagewright.catalyst.spec_check import find_file
from stagewright.catalyst.spec_keys import Target, ValueType
from stagewright.errors import Place, Reason, StagewrightError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9+_-]*")


@dataclass(frozen=True)
class SpecOutput:
    """A file or folder that Catalyst would leave, and the entry of the project that makes it.

    ``path`` is relative to the storedir, or absolute where the spec says so; tokens in it are filled in. One that ends
    in a slash is a folder of what the entry makes.
    """

    entry: str
    path: str
    result: SpecResult
    folder: bool = False  # of binary packages


@dataclass
class ConversionContext:
    """What the conversions of all specs of a release share."""

    release: Release
    names: dict[str, str]  # of entries, by names in the graph
    files: FileNames
    outputs: list[SpecOutput] = field(default_factory=list)
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

    result: SpecResult
    target: Target
    name: str
    context: ConversionContext
    drafts: dict[str, EntryDraft] = field(default_factory=dict)

    @property
    def spec(self) -> Spec:
        """The spec."""
        return self.result.member.spec

    def new_draft(self, role: str, kind: str, place: Place) -> EntryDraft:
        """A new entry of the spec; all but ``main`` and ``image`` carry their role in their name."""
        name = self.name if role in ("main", "image") else f"{self.name}.{role}"
        draft = EntryDraft("stages", name, f"{self.spec.file}", place)
        draft.put("kind", kind, place)
        self.drafts[role] = draft
        return draft

    @property
    def main(self) -> EntryDraft:
        """What the spec makes."""
        return self.drafts["main"]

    @property
    def root(self) -> EntryDraft:
        """The entry that changes files of a root: of media that of the root on them, else what the spec makes."""
        return next(self.drafts[role] for role in ("live", "root", "main") if role in self.drafts)

    @property
    def builders(self) -> list[EntryDraft]:
        """The entries that work with Portage."""
        return [self.drafts[role] for role in ("live", "root", "payload") if role in self.drafts] or [self.main]

    def notice(self, place: Place, words: str) -> None:
        """Tell something that is not wrong, but worth a look."""
        self.context.notices.append(Notice(place, words))

    def refuse(self, entry: SpecEntry, why: str, hint: str, number: int = 0) -> None:
        """Refuse a key or one of its words."""
        message = f"{entry.key}: {why}"
        place = entry.word_place(number)
        self.context.refused.append(StagewrightError(Reason.NOT_SUPPORTED, message, place=place, hint=hint))

    def atom(self, word: str, entry: SpecEntry, number: int) -> str | None:
        """A package as a project names it; to a name alone comes the one category that has it.

        None where only the snapshot could tell the category, and it is not at hand.
        """
        if not _NAME.fullmatch(word):
            return text(word)
        place = entry.word_place(number)
        if not self.context.trees:
            self.notice(place, f"{entry.key}: {word} has no category; the snapshot will tell it")
            return None
        found = sorted(
            {path.parent.parent.name for tree in self.context.trees for path in tree.glob(f"*/{word}/*.ebuild")}
        )
        if len(found) == 1:
            return text(f"{found[0]}/{word}")
        if found:
            known = ", ".join(f"{category}/{word}" for category in found)
            self.refuse(entry, f"{word} could be any of {known}", "write the category", number)
            return None
        return text(word)

    def put(self, drafts: Iterable[EntryDraft], path: str, entry: SpecEntry) -> None:
        """Set a value of entries to the text of a key."""
        for draft in drafts:
            draft.put(path, text(entry.text), entry.word_place())

    def file(self, word: str, value_type: ValueType = ValueType.PATH) -> str:
        """The name in the project of a file that a spec names; relative ones start from the folder of the spec."""
        return text(self.context.files.of(self.found(word, value_type)))

    def found(self, word: str, value_type: ValueType = ValueType.PATH) -> Path:
        """The file that a spec names."""
        return Path(os.path.abspath(find_file(word, value_type, self.spec, self.context.release)))  # noqa: PTH100  keeps links

    def add_files(self, draft: EntryDraft, path: str, entry: SpecEntry) -> None:
        """Add the files that a key names to a list."""
        draft.add(path, ((self.file(word), entry.word_place(number)) for number, word in enumerate(entry.words)))
