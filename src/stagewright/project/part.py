"""The part of a large project that some targets need: their entries, and all entries that these name.

Which settings name other entries depends on the kinds. So every text in an entry counts that is the name of an entry: a
part has too much rather than too little. A reference that is written in another way, with a variable or an escape, is
not found. Then the part has an error, and the caller reads the whole project.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from stagewright.errors import StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.project.outline import Key, Outline, outline
from stagewright.project.source import Source, read_text, source_of
from stagewright.project.tables import included
from stagewright.project.tarballs import SETTING

LEAST = 256 << 10
"""Characters of the smallest project that is read in part: of smaller ones every command reports all errors."""


@dataclass(frozen=True)
class Part:
    """Outlines of the files of a project, and the entries that are read."""

    outlines: Mapping[Path, Outline]
    entries: frozenset[Key]

    def read(self, file: Path) -> Source:
        """Return a file with these entries only. Raises what :func:`stagewright.project.source.read` does."""
        return source_of(file, self.outlines[file].part(self.entries))


def part_for(file: Path, targets: Sequence[str], least: int = LEAST) -> Part | None:
    """Return the part that targets need, of the project with this main file; None if the whole must be read.

    This is so if the project is smaller than ``least``, if a target is not the name or node id of an entry, and if
    something is unclear or wrong in the files.
    """
    try:
        outlines = _outlines(file, least)
    except (StagewrightError, tomllib.TOMLDecodeError, RecursionError, ValueError):
        return None
    if not outlines:
        return None
    names: dict[str, list[Key]] = {}
    for one in outlines.values():
        for key in one.entries:
            names.setdefault(key[1], []).append(key)
    wanted = [word if word in names else word.partition(":")[2] for word in targets]
    if not all(word in names for word in wanted):
        return None
    return Part(outlines, _closure(wanted, names, outlines.values()))


def _outlines(file: Path, least: int) -> dict[Path, Outline]:
    """Return the outline of each file of a project; none if one is not certain, or the project is small."""
    text = read_text(file)
    if len(text) < least and "include" not in text:
        return {}
    found: dict[Path, Outline | None] = {file: outline(text)}

    def look(other: Path) -> Source:
        found[other] = outline(read_text(other))
        return Source(other, {})

    main = found[file]
    if main is None:
        return {}
    for _ in included(Source(file, tomllib.loads(main.part(()))), file.parent, [], look):
        pass
    known = {path: one for path, one in found.items() if one}
    return known if len(known) == len(found) and sum(len(one.text) for one in known.values()) >= least else {}


def _closure(wanted: Sequence[str], names: Mapping[str, list[Key]], outlines: Iterable[Outline]) -> frozenset[Key]:
    """Return the entries of these names, and those that are named in them or in entries that are found so."""
    owners: dict[Key, list[Outline]] = {}
    for one in outlines:
        for key in one.entries:
            owners.setdefault(key, []).append(one)
    left, found = list(wanted), set(wanted)
    while left:
        for key in names[left.pop()]:
            texts = (text for one in owners[key] for text in one.texts(key))
            more = {name for text in texts for name in (text, text.removesuffix(f".{SETTING}")) if name in names}
            left += more - found
            found |= more
    return frozenset(key for name in found for key in names[name])
