"""Details of the nodes of a run from the store: logs, packages, sizes and the files of tests."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.engine.recorded_runs import NodeRun, RecordedRun
from stagewright.errors import StagewrightError
from stagewright.graph.node import Yields
from stagewright.kinds.common.guest import TEST_ARTIFACTS
from stagewright.kinds.common.records import Records, read_data
from stagewright.portage.ebuilds import split_version
from stagewright.store.meta import Meta
from stagewright.store.store import Store
from stagewright.ui.text import printable

LARGEST_LOG = 200_000
"""Bytes of a log in a report, from its end. A failed node has five times as much."""

LARGEST_LOGS = 32_000_000
"""Bytes of all logs in a report. Logs of failed nodes come first, then the newest."""

LARGEST_PICTURE = 4_000_000
"""Bytes of a picture in a report."""

_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Log:
    """The end of a log. ``omitted`` are the bytes before it."""

    path: str
    text: str
    omitted: int = 0


@dataclass(frozen=True)
class Image:
    """A picture of a test as a data URL, by the name of its file."""

    name: str
    url: str


@dataclass(frozen=True)
class PackageChange:
    """A package that differs from the result before: its old and new version; empty if it is not there."""

    name: str
    old: str
    new: str


@dataclass(frozen=True)
class Details:
    """Facts of a node that are not in the events of the run.

    ``size_before`` is the size in bytes of the result before, None if there is none. ``packages`` are those that the
    node added, as category/name-version. ``files`` are the names and sizes of the files of an artifact.
    """

    log: Log | None = None
    size_before: int | None = None
    packages: Sequence[str] = ()
    changes: Sequence[PackageChange] = ()
    files: Sequence[tuple[str, int]] = ()
    images: Sequence[Image] = ()


@dataclass
class _Budget:
    left: int = LARGEST_LOGS


def details_of(run: RecordedRun, store: Store) -> dict[str, Details]:
    """Return the details of each node that started. What the store lacks, or closes to this user, is left out."""
    budget = _Budget()
    first = sorted(run.nodes.values(), key=lambda node: (node.error is None, -(node.started or 0)))
    logs = {node.node: _log(node, budget) for node in first if node.log}
    return {name: _details(run, node, store, logs.get(name)) for name, node in run.nodes.items() if node.started}


def _details(run: RecordedRun, node: NodeRun, store: Store, log: Log | None) -> Details:
    with contextlib.suppress(PermissionError, StagewrightError):
        now = _result(store, node.key)
        if now is None:
            return Details(log=log, images=_images(store.failed(run.records, node.node) / TEST_ARTIFACTS))
        yields, _meta = now
        before = _result(store, _key_before(store, run.records, node))
        old, new = _packages(store, before), _packages(store, now)
        return Details(
            log=log,
            size_before=before[1].size if before else None,
            packages=[f"{name}-{version}" for name, version in sorted(new.items())],
            changes=_changes(old, new) if before else (),
            files=_files(store.tree(yields, node.key)) if yields is Yields.ARTIFACT else (),
            images=_images(store.tree(yields, node.key)) if node.node.startswith("test:") else (),
        )
    return Details(log=log)


def _result(store: Store, key: str) -> tuple[Yields, Meta] | None:
    for yields in Yields:
        if key and store.is_complete(yields, key):
            return yields, store.meta(yields, key)
    return None


def _key_before(store: Store, records: str, node: NodeRun) -> str:
    """Return the key of the last different build of a node before this one; empty if it is not known."""
    former = store.former(records, node.node)
    place = former.index(node.key) if node.key in former else len(former)
    return former[place - 1] if place > 0 else ""


def _packages(store: Store, result: tuple[Yields, Meta] | None) -> Mapping[str, str]:
    """Return the versions of the packages that a result has records of, by category/name."""
    if result is None:
        return {}
    records = Records.of_data(read_data(store, *result))
    return dict(split_version(package) for package in records.by_package)


def _changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[PackageChange]:
    return [
        PackageChange(name, old.get(name, ""), new.get(name, ""))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _files(tree: Path) -> list[tuple[str, int]]:
    files = (path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink())
    return [(printable(str(path.relative_to(tree))), path.stat().st_size) for path in files]


def _images(folder: Path) -> list[Image]:
    """Return the pictures of a test: screens and charts, also those of several machines."""
    found = []
    for path in sorted(_pictures(folder)):
        if path.stat().st_size <= LARGEST_PICTURE:
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            found.append(Image(str(path.relative_to(folder)), f"data:{_TYPES[path.suffix]};base64,{data}"))
    return found


def _pictures(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.suffix in _TYPES and path.is_file() and not path.is_symlink())


def _log(node: NodeRun, budget: _Budget) -> Log | None:
    path = Path(node.log)
    most = min(LARGEST_LOG * (5 if node.error else 1), budget.left)
    try:
        with path.open("rb") as stream:
            whole = path.stat().st_size
            stream.seek(max(whole - most, 0))
            data = stream.read(most)
    except OSError:
        return None
    budget.left -= len(data)
    if len(data) < whole:  # the first line is not complete
        data = data.partition(b"\n")[2]
    return Log(str(path), printable(data.decode(errors="replace")), whole - len(data))
