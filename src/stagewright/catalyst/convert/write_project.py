"""Write a converted release as a project folder: ``stagewright.toml``, copies of small files, links to large ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from stagewright.catalyst.convert.converter import ConvertedRelease
from stagewright.catalyst.convert.matrices import FileEntry, merge_entries
from stagewright.graph.file_digest import IGNORED
from stagewright.project import toml
from stagewright.project.lock import Lock
from stagewright.project.model import FILE_NAME, Project

_ORDER = ("repos", "seeds", "stages")


def project_text(converted: ConvertedRelease, folder: Path) -> str:
    """Return the text of ``stagewright.toml``. Comments name specs, relative to ``folder`` if they are below it."""
    head = dict(converted.head.data)
    lines = ["# Converted from Catalyst's specs by `stagewright catalyst convert`. Comments name the specs."]
    if converted.refused:
        lines += ["# These keys cannot be honoured and are not in this file:"]
        lines += [f"#   {_short(str(problem.place), folder)}: {problem.message}" for problem in converted.refused]
    lines += ["", f"format = {head.pop('format')}"]
    text = "\n".join(lines) + "\n"
    text += "".join("\n" + toml.table((name,), data) for name, data in head.items())
    drafts = sorted(converted.drafts, key=lambda draft: _ORDER.index(draft.table))
    return text + "".join(_entry(one, folder) for one in merge_entries(drafts))


def _entry(one: FileEntry, folder: Path) -> str:
    comments = [f"# {_short(spec, folder)}\n" for spec in dict.fromkeys(one.comments)]
    data = dict(one.data)
    if one.rows:
        kind = {"kind": data.pop("kind")} if "kind" in data else {}
        inner = {name: item for name, item in data.items() if isinstance(item, dict)}
        plain = {name: item for name, item in data.items() if name not in inner}
        data = {**kind, "matrix": one.matrix, **plain, **inner}
        if isinstance(one.matrix, dict):  # toml.table would write it as a separate table and not in one line
            text = toml.table((one.table, one.name), {name: item for name, item in data.items() if name != "matrix"})
            head, _, rest = text.partition("\n")
            return f"\n{''.join(comments)}{head}\nmatrix = {toml.value(one.matrix)}\n{rest}"
    return f"\n{''.join(comments)}{toml.table((one.table, one.name), data)}"


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
    specs = os.path.commonpath([result.member.spec.file.absolute() for result, _, _ in converted.applied] or [folder])
    text = project_text(converted, Path(specs))
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
