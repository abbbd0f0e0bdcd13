"""Limits for the sizes of artifacts: a largest size, and a largest growth since the release before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.release.manifest import SUFFIX, read_manifest
from stagewright.release.notes import NotedArtifact, growth_by_package
from stagewright.trees import files_below
from stagewright.units import parse_size

SHOWN = 10
"""The largest number of packages, and of files, that an error lists."""

Row = tuple[int, str]
"""A number of bytes, and what has it."""


def packages_in(tree: Path) -> list[Row]:
    """Return the packages of Portage in the root of an artifact, with their sizes, by its manifest if it has one."""
    manifests = map(read_manifest, sorted(tree.glob(f"*.{SUFFIX}")))
    return [(one["size"], one["name"]) for manifest in manifests for one in manifest["packages"]]


def check_size(name: str, tree: Path, main: str | None, limit: str) -> None:
    """Check the size of an artifact: that of its main file, or of all files without one. Raises: TOO_LARGE."""
    names = [main] if main else files_below(tree)
    sizes = {file: (tree / file).lstat().st_size for file in names}
    total, allowed = sum(sizes.values()), parse_size(limit)
    if total <= allowed:
        return
    packages = _largest(packages_in(tree))
    files = _largest((size, file) for file, size in sizes.items()) if not main else []
    lines = [*_table("its largest packages, before compression:", packages), *_table("its largest files:", files)]
    what = f"{name}: {shown(total)}, which is {shown(total - allowed)} more than size = {limit!r}"
    hint = "remove something, or raise `size`"
    raise StagewrightError(Reason.TOO_LARGE, what, detail="\n".join(lines), hint=hint)


def check_growth(old: NotedArtifact, new: NotedArtifact, version: str, limit: str) -> None:
    """Check the growth of an artifact since its size in an earlier version, in percent. Raises: TOO_LARGE."""
    growth, allowed = new.size - old.size, old.size * float(limit.removesuffix("%")) / 100
    if growth <= allowed:
        return
    lines = _table("packages that grew, before compression:", growth_by_package(old, new)[:SHOWN])
    percent = f" ({growth * 100 / old.size:.1f}%)" if old.size else ""
    what = f"{new.stage}: grew by {shown(growth)}{percent} since version {version}, to {shown(new.size)}"
    raise StagewrightError(
        Reason.TOO_LARGE,
        f"{what}; grow = {limit!r} allows {shown(int(allowed))}",
        detail="\n".join(lines) or "  no package grew: compare the files of both artifacts with `stagewright diff`",
        hint="remove something, or raise `grow` for this version",
    )


def shown(size: int) -> str:
    """Return a number of bytes for people, with one decimal."""
    return f"{size / (1 << 20):.1f} MiB" if size >= 1 << 20 else f"{size} bytes"


def _largest(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-row[0], row[1]))[:SHOWN]


def _table(title: str, rows: Sequence[Row]) -> list[str]:
    return [title, *(f"  {shown(size):>12}  {name}" for size, name in rows)] if rows else []
