"""Write a converted release as a project folder: ``stagewright.toml``, copies of small files, links to large ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stagewright.catalyst.convert.converter import ConvertedRelease
from stagewright.catalyst.convert.entry_draft import EntryDraft
from stagewright.catalyst.convert.matrices import FileEntry, merge_entries, single_entries
from stagewright.catalyst.convert.spec_lines import spec_lines
from stagewright.graph.file_digest import IGNORED
from stagewright.project import tarballs as tarballs_of
from stagewright.project import toml
from stagewright.project.lock import Lock
from stagewright.project.model import FILE_NAME, Project

WIDTH = 120
"""Longest line of a list in characters."""

_SHORT = 90
"""Longest table in characters that is written in one line."""

_ORDER = ("repos", "seeds", "stages")


def project_text(converted: ConvertedRelease, folder: Path, *, merged: bool = True) -> str:
    """Return the text of ``stagewright.toml``. Comments name specs, relative to ``folder`` if they are below it.

    With ``merged``, entries that differ in words become one entry with a matrix.
    """
    head = dict(converted.head.data)
    lines = ["# Converted from Catalyst's specs by `stagewright catalyst convert`. Comments name the specs."]
    if converted.refused:
        lines += ["# These keys cannot be honoured and are not in this file:"]
        lines += [f"#   {_short(str(problem.place), folder)}: {problem.message}" for problem in converted.refused]
    lines += ["", f"format = {head.pop('format')}"]
    text = "\n".join(lines) + "\n"
    text += "".join("\n" + toml.table((name,), data) for name, data in head.items())
    drafts = with_tarballs(sorted(converted.drafts, key=lambda draft: _ORDER.index(draft.table)))
    entries = merge_entries(drafts) if merged else single_entries(drafts)
    above: list[list[str]] = [[], *(entry.comments for entry in entries)]
    return text + "".join(_entry(one, folder, before) for one, before in zip(entries, above, strict=False))


def with_tarballs(drafts: Sequence[EntryDraft]) -> list[EntryDraft]:
    """Return entries in which each stage has its tarball as a setting."""
    tarballs = {str(draft.data["root"]): draft for draft in drafts if draft.data.get("kind") == tarballs_of.KIND}
    found = []
    for draft in drafts:
        own = tarballs.get(draft.name) if draft.table == "stages" else None
        if own and own.name == f"{draft.name}.{tarballs_of.SETTING}":
            settings = {name: value for name, value in own.data.items() if name not in ("kind", "root")}
            found.append(replace(draft, data={**draft.data, tarballs_of.SETTING: settings or True}))
        elif draft.data.get("kind") != tarballs_of.KIND or draft.name != f"{draft.data['root']}.{tarballs_of.SETTING}":
            found.append(draft)
    return found


def _entry(one: FileEntry, folder: Path, above: list[str]) -> str:
    """Return an entry as text. Its comment is left out if it is the one of the entry above."""
    specs = [] if one.comments == above else [_short(spec, folder) for spec in one.comments]
    comments = "".join(f"# {line}\n" for line in spec_lines(specs))
    kind, matrix = {"kind": one.data["kind"]} if "kind" in one.data else {}, {"matrix": one.matrix}
    data = {**kind, **(matrix if one.matrix is not None else {}), **one.data}
    inner = {name: item for name, item in data.items() if isinstance(item, dict) and not _fits(name, item)}
    lines = [f"[{toml.key(one.table)}.{toml.key(one.name)}]"]
    lines += [f"{toml.key(name)} = {toml.value(item, WIDTH)}" for name, item in data.items() if name not in inner]
    tables = "".join("\n" + toml.table((one.table, one.name, name), item, WIDTH) for name, item in inner.items())
    return f"\n{comments}" + "\n".join(lines) + f"\n{tables}"


def _fits(name: str, item: Mapping[str, Any]) -> bool:
    """Return True if a table is written in one line."""
    return name in ("matrix", tarballs_of.SETTING) or not item or len(toml.value(item)) + len(name) < _SHORT


def _short(text: str, folder: Path) -> str:
    return text.removeprefix(f"{folder}/")


def write_project(
    converted: ConvertedRelease, project: Project, folder: Path, caches: Path
) -> Iterator[tuple[str, Path]]:
    """Write the folder. Yield the name and source of each file that is copied or linked.

    Seeds and repositories are linked, unless they are below ``caches``, where they may be removed at any time. All
    other files are copied. Missing files are skipped; a check of the project reports them. ``project`` is the
    converted release, for the time stamp of its lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in sorted(_files(converted, project)):
        target = folder / name
        if not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.startswith(("builds/", "repos/")) and not source.is_relative_to(caches):
            target.symlink_to(source.absolute())
        elif source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=_ignored)
        else:
            shutil.copy2(source, target)
        yield name, source
    if project.info.source_date_epoch is None:
        (folder / project.lock.file.name).write_text(
            Lock(folder / project.lock.file.name, project.epoch).text(), encoding="utf-8"
        )
    write_text(converted, folder)


def write_text(converted: ConvertedRelease, folder: Path, *, merged: bool = True) -> None:
    """Write the project file."""
    specs = os.path.commonpath([result.member.spec.file.absolute() for result, _, _ in converted.applied] or [folder])
    text = project_text(converted, Path(specs), merged=merged)
    (folder / FILE_NAME).write_text(text, encoding="utf-8", errors="replace")  # names of specs may be any bytes


def _ignored(_: str, names: Iterable[str]) -> set[str]:
    return {name for name in names if name in IGNORED}


def _files(converted: ConvertedRelease, project: Project) -> Iterator[tuple[str, Path]]:
    """Yield the names and sources of all files of the project."""
    yield from converted.files.elsewhere.items()
    for entry in project.entries["seeds"].values():
        name = getattr(entry.model, "file", None)
        if isinstance(name, str) and name not in converted.files.elsewhere:
            yield name, project.path(name)
