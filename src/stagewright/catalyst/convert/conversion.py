"""The conversion of one spec: its entries, and the helpers for converters of keys."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.catalyst.auto import Notice
from stagewright.catalyst.convert.emerge_options import split_options
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
    """A file or folder that Catalyst would make, and the project's entry that makes it.

    ``path`` is relative to the storedir, or absolute if the spec says so. Its tokens are replaced. A path that ends in
    a slash is a folder for all files of the entry.
    """

    entry: str
    path: str
    result: SpecResult
    folder: bool = False  # of binary packages


@dataclass
class ConversionContext:
    """State that the conversions of all specs of a release share."""

    release: Release
    names: dict[str, str]  # names of entries by names in the graph
    files: FileNames
    outputs: list[SpecOutput] = field(default_factory=list)
    refused: list[StagewrightError] = field(default_factory=list)
    without_media: set[Path] = field(default_factory=set)  # specs of media for architectures that no medium boots
    notices: list[Notice] = field(default_factory=list)
    repos: dict[str, Path] = field(default_factory=dict)  # more ebuild repositories that specs name
    trees: list[Path] = field(default_factory=list)  # existing repositories, searched for packages


@dataclass
class Conversion:
    """The conversion of one spec into entries of a project.

    ``drafts`` are the entries by role. ``main`` (or ``image`` for media) is the result and has the name of the spec.
    ``live``, ``root`` and ``payload`` are its inputs; ``tar`` is made of the result.
    """

    result: SpecResult
    target: Target
    name: str
    context: ConversionContext
    drafts: dict[str, EntryDraft] = field(default_factory=dict)

    @property
    def spec(self) -> Spec:
        """The spec that is converted."""
        return self.result.member.spec

    def new_draft(self, role: str, kind: str, place: Place) -> EntryDraft:
        """Add an entry. Its name contains the role, except for ``main`` and ``image``."""
        name = self.name if role in ("main", "image") else f"{self.name}.{role}"
        draft = EntryDraft("stages", name, f"{self.spec.file}", place)
        draft.put("kind", kind, place)
        self.drafts[role] = draft
        return draft

    @property
    def main(self) -> EntryDraft:
        """The entry that makes the result of the spec."""
        return self.drafts["main"]

    @property
    def root(self) -> EntryDraft:
        """The entry that changes files of a root: for media that of their root, otherwise the main entry."""
        return next(self.drafts[role] for role in ("live", "root", "main") if role in self.drafts)

    @property
    def builders(self) -> list[EntryDraft]:
        """Entries that run Portage."""
        return [self.drafts[role] for role in ("live", "root", "payload") if role in self.drafts] or [self.main]

    def notice(self, place: Place, words: str) -> None:
        """Add a notice: a remark that is not an error."""
        self.context.notices.append(Notice(place, words))

    def refuse(self, entry: SpecEntry, why: str, hint: str, number: int = 0) -> None:
        """Reject a key, or one of its words. The error has the reason ``NOT_SUPPORTED``."""
        message = f"{entry.key}: {why}"
        place = entry.word_place(number)
        self.context.refused.append(StagewrightError(Reason.NOT_SUPPORTED, message, place=place, hint=hint))

    def package_words(self, entry: SpecEntry) -> list[int]:
        """Return the numbers of the words that are packages. Report the options of emerge among the words."""
        packages, options = split_options(entry.words)
        for option in options:
            if option.text.startswith("--usepkg"):
                continue
            if option.why:
                self.notice(entry.word_place(option.number), f"{entry.key}: {option.text} has no effect: {option.why}")
            else:
                hint = "list packages only; configure their builds by portage_confdir"
                self.refuse(entry, f"this option of emerge is not supported ({option.text})", hint, option.number)
        return packages

    def atom(self, word: str, entry: SpecEntry, number: int) -> str | None:
        """Return the package atom for a word of a spec. A name without a category gets the only category that has it.

        None if the category is unknown because the snapshot is not available yet.
        """
        if not _NAME.fullmatch(word):
            return text(word)
        place = entry.word_place(number)
        if not self.context.trees:
            self.notice(place, f"{entry.key}: {word} has no category; it is looked up in the snapshot later")
            return None
        found = sorted(
            {path.parent.parent.name for tree in self.context.trees for path in tree.glob(f"*/{word}/*.ebuild")}
        )
        if len(found) == 1:
            return text(f"{found[0]}/{word}")
        if found:
            known = ", ".join(f"{category}/{word}" for category in found)
            self.refuse(entry, f"{word} is ambiguous ({known})", "write the category", number)
            return None
        return text(word)

    def put(self, drafts: Iterable[EntryDraft], path: str, entry: SpecEntry) -> None:
        """Set a value of some entries to the text of a key."""
        for draft in drafts:
            draft.put(path, text(entry.text), entry.word_place())

    def file(self, word: str, value_type: ValueType = ValueType.PATH) -> str:
        """Return the project's name of a file that a spec names. Relative paths start from the folder of the spec."""
        return text(self.context.files.name_of(self.found(word, value_type)))

    def found(self, word: str, value_type: ValueType = ValueType.PATH) -> Path:
        """Return the absolute path of a file that a spec names."""
        return Path(os.path.abspath(find_file(word, value_type, self.spec, self.context.release)))  # noqa: PTH100  keeps links

    def add_files(self, draft: EntryDraft, path: str, entry: SpecEntry) -> None:
        """Append the files that a key names to a list."""
        draft.add(path, ((self.file(word), entry.word_place(number)) for number, word in enumerate(entry.words)))
