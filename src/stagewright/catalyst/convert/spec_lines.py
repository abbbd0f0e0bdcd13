"""The names of specs in comments: many names in few lines, with braces as in a shell."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import PurePath

WIDTH = 98


def spec_lines(names: Sequence[str]) -> list[str]:
    """Return lines that name specs: ``x/stage1-{a,b}.spec`` for x/stage1-a.spec and x/stage1-b.spec."""
    folders: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        path = PurePath(name)
        folders.setdefault(str(path.parent), []).append(path.name)
    alike: dict[str, list[str]] = {}
    for folder, files in folders.items():
        alike.setdefault(_braces(files), []).append(folder)
    texts = [
        files if folders == ["."] else f"{_braces(sorted(folders))}/{files}" for files, folders in sorted(alike.items())
    ]
    return [line for text in texts for line in _wrapped(text)]


def _braces(words: Sequence[str]) -> str:
    """Return words with their common beginning and end written once. Words are cut at dashes, dots and slashes."""
    if len(words) == 1:
        return words[0]
    prefix = os.path.commonprefix(list(words))  # noqa: RUF071  these are not always paths
    prefix = prefix[: max(prefix.rfind(mark) for mark in "-/.") + 1]
    rest = [word[len(prefix) :] for word in words]
    suffix = os.path.commonprefix([word[::-1] for word in rest])[::-1]  # noqa: RUF071
    cut = min((suffix.find(mark) for mark in "-/." if mark in suffix), default=len(suffix))
    suffix = suffix[cut:]
    inner = ",".join(word[: len(word) - len(suffix)] for word in rest)
    return f"{prefix}{{{inner}}}{suffix}"


def _wrapped(text: str) -> Iterable[str]:
    """Return a text in lines, broken after commas."""
    spaced = text.replace(" ", "\0").replace(",", ", ")
    lines = textwrap.wrap(spaced, WIDTH, break_long_words=False, break_on_hyphens=False, subsequent_indent="  ")
    return [line.replace(", ", ",").replace("\0", " ").rstrip() for line in lines]
