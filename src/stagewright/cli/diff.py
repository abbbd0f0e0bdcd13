"""``stagewright diff``."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from stagewright.cli.common import session_or_none, store_folder
from stagewright.cli.complete import complete_sides
from stagewright.engine.compare import compare
from stagewright.engine.diff_sources import DiffSource, diff_sources
from stagewright.store.reading import ReadOnlyStore
from stagewright.ui.streams import note
from stagewright.ui.text import shown, size

SHOWN = 20
"""Number of files that are shown without ``--files``."""


@click.command(name="diff")
@click.argument("old", metavar="A", shell_complete=complete_sides)
@click.argument("new", metavar="B", shell_complete=complete_sides)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON; `equal` is true without differences.")
@click.option("--files", "all_files", is_flag=True, help=f"List all files, not only the {SHOWN} largest changes.")
@click.pass_context
def command(ctx: click.Context, old: str, new: str, as_json: bool, all_files: bool) -> None:
    """Show the differences between two results.

    These are packages, then files and sizes. A and B are names of stages or seeds
    (their present build), NAME@previous (the last build with another key), the
    beginning of a key in the store, a manifest file, or an artifact with its manifest
    in the same folder. Roots are compared by content, owner, mode and attributes of
    files; tarballs by their listing. Times are ignored. The exit code is 0 in any case;
    `--json` says if A and B are equal.

    \b
      stagewright diff desktop@previous desktop
      stagewright diff out/old.iso.manifest.json out/new.iso
    """
    project = functools.cache(lambda: session_or_none(ctx, reads_only=True))
    first, second = diff_sources([old, new], ReadOnlyStore(store_folder(ctx)), project)
    for root, files in ((first, second), (second, first)):
        if root.is_root and files.is_files:
            note(f"{root.name} is a root, and {files.name} is files: only their packages can be compared")
    result = compare(first, second)
    if as_json:
        both = {name: {"name": one.name, "key": one.key} for name, one in (("a", first), ("b", second))}
        print(json.dumps({**both, **result}, indent=2))
        return
    for line in _report(first, second, result, all_files):
        print(line)


def _report(old: DiffSource, new: DiffSource, result: Mapping[str, Any], all_files: bool) -> Iterator[str]:
    yield f"{old.name} ({old.key[:12]}) -> {new.name} ({new.key[:12]})" + (": no difference" if result["equal"] else "")
    yield from _packages(result["packages"])
    if result["files"] is None:
        yield "files: not compared, because a listing is missing"
    else:
        yield from _files(result["files"], all_files)


def _packages(packages: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    yield f"packages: {_counts(packages)}"
    lines = [(package["name"], f"  + {package['name']}") for package in packages["added"]]
    lines += [(package["name"], f"  - {package['name']}") for package in packages["removed"]]
    lines += [(change["new"]["name"], f"  ~ {_package(change)}") for change in packages["changed"]]
    yield from (line for _, line in sorted(lines))


def _package(change: Mapping[str, Any]) -> str:
    old, new = change["old"], change["new"]
    words = [old["name"] if old["name"] == new["name"] else f"{old['name']} -> {new['name'].partition('/')[2]}"]
    words += [f"slot {old['slot']} -> {new['slot']}"] if old["slot"] != new["slot"] else []
    words += [f"from {old['repository']} -> {new['repository']}"] if old["repository"] != new["repository"] else []
    words += [f"USE: {' '.join(change['use'])}"] if change["use"] else []
    return "  ".join(words)


def _files(files: Mapping[str, Any], all_files: bool) -> Iterator[str]:
    old, new = files["total"]["old"], files["total"]["new"]
    yield f"files: {_counts(files)}; {size(old)} -> {size(new)}, {_signed(new - old)}"
    rows = [(file["size"], file["path"], f"+ {_signed(file['size']):>10}", "") for file in files["added"]]
    rows += [(file["size"], file["path"], f"- {_signed(-file['size']):>10}", "") for file in files["removed"]]
    for file in files["changed"]:
        growth = file["new_size"] - file["old_size"]
        rows.append((abs(growth), file["path"], f"~ {_signed(growth):>10}", f"  ({', '.join(file['what'])})"))
    listed = sorted(rows, key=lambda row: row[1] if all_files else (-row[0], row[1]))
    for _, path, change, what in listed if all_files else listed[:SHOWN]:
        yield f"  {change}  {shown(path)}{what}"
    if len(listed) > SHOWN and not all_files:
        yield f"  and {len(listed) - SHOWN} more with smaller changes; --files lists them"


def _counts(lists: Mapping[str, Any]) -> str:
    return ", ".join(f"{len(lists[name])} {name}" for name in ("added", "removed", "changed"))


def _signed(count: int) -> str:
    return f"+{size(count)}" if count > 0 else f"-{size(-count)}" if count else "0 B"
