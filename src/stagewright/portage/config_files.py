"""Texts of profiles and of /etc/portage, read outside of a root (portage(5), make.conf(5); PMS 8, section 5.2).

The files are read as Portage reads them: ``package.mask`` and its like may be folders, and names that begin with a dot
or end in ``~`` do not count.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from stagewright.errors import Place
from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.untrusted import is_dir, is_file, read_text

_ASSIGNMENT = lazy_pattern(
    r"^[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_]\w*)="
    r"(?:\"(?P<double>(?:[^\"\\]|\\.)*)\"|'(?P<single>[^']*)'|(?P<bare>[^\s#\"']*))",
    re.MULTILINE | re.DOTALL | re.ASCII,
)
_SOURCE = lazy_pattern(r"^[ \t]*(?:source|\.)[ \t]+\S", re.MULTILINE)
_VARIABLE = lazy_pattern(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
_MOST_FILES = 1000


@dataclass(frozen=True)
class ConfigLine:
    """A line of a file: its words without the comment, and its place."""

    words: tuple[str, ...]
    place: Place


def lines_of(path: Path) -> Iterator[ConfigLine]:
    """Yield the lines with words of a file, or of all files below a folder in the order of their names."""
    for file in files_of(path):
        info = file.stat()
        yield from _lines(file, info.st_mtime_ns, info.st_size)


def files_of(path: Path) -> list[Path]:
    """Return a file, or all files below a folder that Portage reads, in the order of their names."""
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    waiting = [path]
    while waiting and len(found) < _MOST_FILES:
        here = waiting.pop()
        if is_dir(here):
            info = here.stat()
            if (info.st_dev, info.st_ino) in seen:  # links to folders above would multiply without end
                continue
            seen.add((info.st_dev, info.st_ino))
            names = [entry for entry in sorted(here.iterdir()) if not _is_ignored(entry.name)]
            waiting.extend(reversed(names))
        elif is_file(here):
            found.append(here)
    return found


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.endswith("~") or name == "CVS"


@functools.lru_cache(maxsize=1 << 12)
def _lines(file: Path, time: int, size: int) -> tuple[ConfigLine, ...]:
    """Return the lines of a file of this time and size."""
    del time, size  # they are in the key of the cache
    numbered = enumerate(read_text(file, errors="replace").splitlines(), start=1)
    found = ((tuple(line.partition("#")[0].split()), number) for number, line in numbered)
    return tuple(ConfigLine(words, Place(file, number)) for words, number in found if words)


@dataclass(frozen=True)
class Variables:
    """Variables of files such as make.defaults and make.conf. ``is_complete`` is False if a file reads others."""

    values: Mapping[str, str]
    is_complete: bool = True

    def words(self, name: str) -> list[str]:
        """Return the words of a variable."""
        return self.values.get(name, "").split()


def read_variables(paths: Iterable[Path], known: Mapping[str, str] | None = None) -> Variables:
    """Return the variables that files assign, one after the other. ``known`` are values that they may use."""
    values: dict[str, str] = {}
    is_complete = True
    for path in paths:
        for file in files_of(path):
            text = read_text(file, errors="replace")
            is_complete = is_complete and not _SOURCE.search(text)
            for found in _ASSIGNMENT.finditer(text):
                values[found["name"]] = _value(found, {**(known or {}), **values})
    return Variables(values, is_complete)


def _value(found: re.Match[str], known: Mapping[str, str]) -> str:
    if found["single"] is not None:
        return found["single"]
    text = found["double"] if found["double"] is not None else found["bare"]
    text = text.replace("\\\n", "")
    return _VARIABLE.sub(lambda name: known.get(name[1] or name[2], ""), text)


def stacked(lists: Iterable[Iterable[str]]) -> list[str]:
    """Return the words that stay of lists in which ``-word`` removes a word, and ``-*`` all (PMS 5.3.1)."""
    kept: dict[str, None] = {}
    for words in lists:
        for word in words:
            if word == "-*":
                kept.clear()
            elif word.startswith("-"):
                kept.pop(word[1:], None)
            else:
                kept[word] = None
    return list(kept)
