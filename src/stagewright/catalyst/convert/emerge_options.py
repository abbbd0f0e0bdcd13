"""Options of emerge among the packages of a spec: those that a build has or does not need, and all others.

Catalyst gives the words of a list to emerge as they are. An option that only decides how emerge shows, orders or
updates packages has no effect here; a notice says why. An option that changes what a result contains is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class _Option:
    """An option in all its spellings, the reason why it has no effect, and the pattern of a value that may follow."""

    names: tuple[str, ...]
    why: str
    value: str = ""


_YES = "y|n|yes|no|True|False"

_OPTIONS = (
    _Option(("--usepkg", "-k"), "binary packages are used if they match", _YES),
    _Option(("--buildpkg", "-b"), "the store keeps all binary packages", _YES),
    _Option(("--with-bdeps",), "packages that are built get their build dependencies", _YES),
    _Option(("--update", "-u"), "packages of the list are updated"),
    _Option(("--deep", "-D"), "dependencies are updated, too", r"\d+"),
    _Option(("--newuse", "-N"), "packages with other USE flags are built again"),
    _Option(("--changed-use", "-U"), "packages with other USE flags are built again"),
    _Option(("--jobs", "-j"), "the number of jobs follows from cores and memory", r"\d+"),
    _Option(("--load-average",), "the number of jobs follows from cores and memory", r"[\d.]+"),
    _Option(("--ask", "-a"), "nothing is asked", "n|False"),
    _Option(("--verbose", "-v", "--quiet", "-q"), "the log has the output of emerge", _YES),
    _Option(("--quiet-build", "--nospinner", "--tree", "-t"), "the log has the output of emerge", _YES),
    _Option(("--color",), "the log has the output of emerge", "y|n"),
)

_BY_NAME = {name: option for option in _OPTIONS for name in option.names}


@dataclass(frozen=True)
class EmergeOption:
    """An option in a list: the number of its word, its text with a value, and why it has no effect ("": refused)."""

    number: int
    text: str
    why: str


def split_options(words: Sequence[str]) -> tuple[list[int], list[EmergeOption]]:
    """Return the numbers of the words that are packages, and the options with their values."""
    packages: list[int] = []
    options: list[EmergeOption] = []
    numbers = iter(range(len(words)))
    for number in numbers:
        word = words[number]
        if not word.startswith("-"):
            packages.append(number)
            continue
        option = _known(word)
        following = words[number + 1] if number + 1 < len(words) else ""
        if option and option.value and "=" not in word and re.fullmatch(option.value, following):
            word = f"{word} {words[next(numbers)]}"
        options.append(EmergeOption(number, word, option.why if option else ""))
    return packages, options


def _known(word: str) -> _Option | None:
    """Return the option of a word, or None if it is refused. Short options can be joined, as in -uDN."""
    name, equals, value = word.partition("=")
    option = _BY_NAME.get(name)
    if option:
        return option if not equals or re.fullmatch(option.value or "(?!)", value) else None
    joined = re.fullmatch(r"-([A-Za-z]+)(\d*)", word)
    found = [_BY_NAME.get(f"-{letter}") for letter in joined[1]] if joined else [None]
    return found[-1] if all(found) else None
