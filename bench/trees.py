"""A tree of the size of Gentoo's repository: reading it for the first time, and when nothing has changed."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.measure import Row, Setting, best, timed
from stagewright.graph.file_digest import REPOSITORY_BITS, tree_digest
from stagewright.store.digest_cache import DigestCache
from stagewright.store.tree_memory import FolderMemory

PACKAGES = 20_000
ROUNDS = 3
LATER_ROUNDS = 7

_SUMS = 'find "$1" -name .git -prune -o -type f -print0 | xargs -0 sha256sum > "$2"'
_COMMIT = 'cd "$1" && git init -q && git add -A && git -c user.name=n -c user.email=e -c gc.auto=0 commit -qm tree'


def measure(setting: Setting) -> list[Row]:
    """Compare the digest of a tree with sha256sum of its files, and the second one with ``git status``.

    Each is measured in turns with its floor, because the first program that reads a file after it was written pays for
    that. Limits are for processor time: the disk and other programs do not count.
    """
    tree = _tree(setting.folder / "tree", setting.count(PACKAGES))
    cache, log = setting.folder / "cache", setting.folder / "sums"
    works = lambda: _first(tree, cache), lambda: _shell(_SUMS, tree, log)
    first, floor = _in_turns(works, range(setting.count(ROUNDS)))
    subprocess.run(["sh", "-ec", _COMMIT, "sh", tree], check=True, capture_output=True)
    _first(tree, cache)
    status = 'git -C "$1" status --short > "$2"'
    works = lambda: _digest(tree, cache), lambda: _shell(status, tree, log)
    later, its = _in_turns(works, range(setting.count(LATER_ROUNDS)))
    files = setting.count(PACKAGES) * 7
    return [
        _row(f"tree of {files} files, first / find + sha256sum", first, floor, 1.5),
        _row("tree again, unchanged / git status", later, its, 1.5),
    ]


def _in_turns(works: Sequence[Callable[[], None]], rounds: range) -> list[tuple[float, float]]:
    """Return the least wall time and processor time of each work."""
    costs = [[timed(work) for work in works] for _ in rounds]
    return [best(column) for column in zip(*costs, strict=True)]


def _row(name: str, ours: tuple[float, float], floor: tuple[float, float], limit: float) -> Row:
    note = f"{ours[0]:.2f} s against {floor[0]:.2f} s, of processors {ours[1]:.2f} s against {floor[1]:.2f} s"
    return Row(name, ours[1] / max(floor[1], 0.01), limit, "", note)


def _first(tree: Path, cache: Path) -> None:
    """Digest a tree of which nothing is remembered."""
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir()
    _digest(tree, cache)


def _digest(tree: Path, cache: Path) -> None:
    with DigestCache(cache / "digests.db") as digest, FolderMemory(cache / "trees", tree) as memory:
        tree_digest(tree, digest, REPOSITORY_BITS, memory)


def _shell(script: str, *arguments: Path) -> None:
    subprocess.run(["sh", "-ec", script, "sh", *arguments], check=True)


def _tree(folder: Path, packages: int) -> Path:
    """Write packages of seven files each."""
    chance = random.Random(1)
    for number in range(packages):
        package = folder / f"category-{number // 115}" / f"package-{number % 115}"
        (package / "files").mkdir(parents=True)
        names = ["a-1.ebuild", "a-2.ebuild", "a-3.ebuild", "Manifest", "metadata.xml", "files/a.patch", "files/b.patch"]
        for name in names:
            (package / name).write_text(f"{number} {name}\n" * chance.randrange(20, 300), encoding="utf-8")
    return folder
