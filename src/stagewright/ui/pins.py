"""Pins as text: what moved, and which packages differ because of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stagewright.engine.pins import PinChange
from stagewright.engine.versions import VersionChange
from stagewright.project.lock import Pin
from stagewright.ui.text import plural


def change_lines(change: PinChange) -> Iterator[str]:
    """Yield the lines for one pin that was looked up."""
    yield from _repository(change) if change.target.is_repository else _seed(change)


def version_line(change: VersionChange) -> str:
    """Return the line for a package that has another version."""
    if change.old == change.new:
        return f"{change.stage}: {change.package}-{change.new} (its ebuild changed)"
    return f"{change.stage}: {change.package} {change.old or 'nothing'} -> {change.new or 'nothing'}"


def _seed(change: PinChange) -> Iterator[str]:
    name, old, new = change.target.name, change.old, change.new
    if old is None:
        yield f"{name}: pinned"
    elif change.unchanged:
        yield f"{name}: nothing moved"
    else:
        for key in sorted({*old, *new} - {"request", "resolved"}):
            before, after = old.get(key), new.get(key)
            if isinstance(before, list) and isinstance(after, list):
                yield from (f"{name}: -{item}" for item in before if item not in after)
                yield from (f"{name}: +{item}" for item in after if item not in before)
            elif isinstance(before, Mapping) and isinstance(after, Mapping):
                for one in sorted({*before, *after}):
                    if before.get(one) != after.get(one):
                        yield f"{name}: {one} {before.get(one, 'nothing')} -> {after.get(one, 'nothing')}"
            elif before != after:
                yield f"{name}: {key} {before} -> {after}"


def _repository(change: PinChange) -> Iterator[str]:
    name, old, new, commits = change.target.name, change.old, change.new, change.commits
    if old is None:
        yield f"{name}: pinned to {_state(new)}"
    elif change.unchanged:
        yield f"{name}: nothing moved, {_state(new)}"
    else:
        yield f"{name}: {_state(old)} -> {_state(new)}"
        if commits:
            yield f"{name}: {plural(commits.count, 'commit')}"
            yield from (f"  {subject}" for subject in commits.subjects)
            if commits.count > len(commits.subjects):
                yield f"  and {commits.count - len(commits.subjects)} more"
        elif "commit" in old and "commit" in new:
            yield f"{name}: cannot list the commits: the old one is not an ancestor of the new one"


def _state(pin: Pin) -> str:
    """Return the pinned state of a repository in a few words."""
    return f"{pin['date']} ({pin['commit'][:12]})" if "commit" in pin else str(pin.get("file", pin.get("tree")))
