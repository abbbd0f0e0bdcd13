"""Checks of confdirs before a build: shapes of their names, and variables of make.conf that a build replaces."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import IGNORED
from stagewright.lazy_pattern import lazy_pattern
from stagewright.portage.confdir import FEATURES, FIXED
from stagewright.portage.confdir_merge import FILE_OR_FOLDER, MAKE_CONF
from stagewright.portage.config_files import files_of
from stagewright.untrusted import is_dir, read_text

_FLAGS = ("COMMON_FLAGS", "CFLAGS", "CXXFLAGS", "FCFLAGS", "FFLAGS", "RUSTFLAGS", "GOAMD64")
_NATIVE = lazy_pattern(r"-(?:march|mtune|mcpu)=native|target-cpu=native")
_ASSIGNMENT = lazy_pattern(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$", re.MULTILINE)


def shape_problems(confdirs: Mapping[str, Path]) -> Iterator[StagewrightError]:
    """Yield an error for each name that is a file in one confdir and a folder in another, and cannot be both.

    ``confdirs`` are the folders by the names that the project gives them.
    """
    known: dict[str, tuple[str, bool]] = {}
    for shown, confdir in confdirs.items():
        for name, folder in _shapes(confdir):
            other, was_folder = known.setdefault(name, (shown, folder))
            if folder != was_folder and name not in FILE_OR_FOLDER:
                words = ("a folder", "a file") if folder else ("a file", "a folder")
                what = f"{shown}/{name}: {words[0]}, but {words[1]} in {other}"
                yield StagewrightError(Reason.INVALID_VALUE, what, hint="make it the same in all confdirs")
            known[name] = (shown, folder)


def _shapes(confdir: Path) -> Iterator[tuple[str, bool]]:
    """Yield the names in a confdir and in its folder ``profile``, and True for each that is a folder."""
    for prefix in ("", "profile/"):
        if is_dir(confdir / prefix):
            for entry in sorted(os.scandir(confdir / prefix), key=lambda entry: entry.name):
                if entry.name not in IGNORED:
                    yield f"{prefix}{entry.name}", entry.is_dir(follow_symlinks=False)


def make_conf_notes(shown: str, confdir: Path) -> Iterator[str]:
    """Yield what a build does not take from the make.conf of a confdir, and what depends on this computer.

    ``shown`` is the path of the confdir in the project.
    """
    for name, text in _make_conf_files(shown, confdir):
        found = _variables(text)
        fixed = sorted(set(FIXED) & set(found))
        if fixed:
            yield f"{name}: builds set {', '.join(fixed)} themselves"
        off = sorted({word for word in found.get("FEATURES", "").split() if f"-{word}" in FEATURES})
        if off:
            yield f"{name}: builds switch off FEATURES {', '.join(off)}"
        native = [flag for flag in _FLAGS if _NATIVE.search(found.get(flag, ""))]
        if native:
            yield (
                f"{name}: {', '.join(native)} with `native` depends on the processor of this computer; "
                "name the processor that the system is for"
            )
        if "MAKEOPTS" in found:
            yield f"{name}: MAKEOPTS replaces the number of jobs that fits the cores and the memory of a stage"


def _make_conf_files(shown: str, confdir: Path) -> Iterator[tuple[str, str]]:
    """Yield the files of make.conf in a confdir, with their text, in the order in which Portage reads them."""
    for path in files_of(confdir / MAKE_CONF):
        yield f"{shown}/{path.relative_to(confdir)}", read_text(path, errors="replace")


def _variables(text: str) -> dict[str, str]:
    """Return the variables of a make.conf. A text with unbalanced quotes is read line by line."""
    try:
        words: Sequence[str] = shlex.split(text, comments=True)
    except ValueError:
        return dict(_ASSIGNMENT.findall(text))
    pairs = (word.partition("=") for word in words)
    return {name: value for name, sign, value in pairs if sign and name.isidentifier()}
