"""Giving a root to a remote and taking it back, against tar, zstd and a copy by hand; and how much a second push moves.

The remote is a folder of this computer, so that no network hides what Stagewright adds. The floor of a push packs the
same tree by tar and zstd, with the level and the threads of a push, and copies the archive to another folder; that of a
pull copies the archive and unpacks it. All four end when their files are on the disk, as a pull of Stagewright does.

Before each of them, everything is written to the disk, so none pays for what another has left in the memory. They go
first in turns, and nothing is removed before the end: ext4 looks long for inodes that were not just freed.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.measure import Row, Setting, best, copy_of_demo, seed_key, stagewright, timed
from bench.nodes import write_chain
from stagewright.graph.keys import Key
from stagewright.graph.node import Yields
from stagewright.project.remotes import Remote
from stagewright.remote.pull import pull
from stagewright.remote.push import LEVEL, THREADS, push
from stagewright.remote.remote import RemoteStore
from stagewright.store.store import Store
from stagewright.trees import remove_tree

TURNS = 6
LIMIT = 1.2
MOVED = 0.05
"""The part of a layer that the push of one with a difference of 1 % may send."""

IMAGE = 256 << 20

_PACK = 'tar --sort=name --numeric-owner --xattrs --xattrs-include=\'*\' -C "$1" -cf - . | zstd -q -T$3 -$4 > "$2"'
_UNPACK = 'zstd -q -d -c "$1" | tar -x --numeric-owner --same-permissions --xattrs --xattrs-include=\'*\' -C "$2" -f -'


def measure(setting: Setting) -> list[Row]:
    """Push and pull the demo's seed and the floor in turns, then push it with changes."""
    key, store = _layer(setting)
    folder = setting.folder
    ours: dict[str, list[tuple[float, float]]] = {"push": [], "pull": []}
    floors: dict[str, list[tuple[float, float]]] = {"push": [], "pull": []}
    for turn in range(setting.count(TURNS * 50) // 50 or 1):
        remote, target = _remote(folder / f"remote{turn}"), Store(folder / f"store{turn}")
        by_hand = folder / f"hand{turn}"
        by_hand.mkdir()
        pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "push": (
                partial(_pack, store.tree(Yields.LAYER, key), by_hand),
                partial(push, remote, store, Yields.LAYER, key),
            ),
            "pull": (partial(_unpack, by_hand), partial(pull, remote, target, Yields.LAYER, key)),
        }
        for what, (floor, own) in pairs.items():
            both = [(floors[what], floor), (ours[what], own)]
            for costs, work in both if turn % 2 else reversed(both):
                os.sync()
                costs.append(timed(work))
    return [*_speeds(ours, floors), *_differences(setting, store, key)]


def _speeds(ours: dict[str, list[tuple[float, float]]], floors: dict[str, list[tuple[float, float]]]) -> Iterator[Row]:
    for what, costs in ours.items():
        (mine, my_cpu), (floor, its_cpu) = best(costs), best(floors[what])
        note = (
            f"{mine:.2f} s against {floor:.2f} s, of processors {my_cpu:.2f} s against {its_cpu:.2f} s, all on the disk"
        )
        yield Row(f"{what} of a root / tar, zstd -{LEVEL} and cp", mine / floor, LIMIT, "", note)


def _layer(setting: Setting) -> tuple[str, Store]:
    """Return the key of a root, and its store: the demo's seed, or a small one if the input is to be tiny."""
    if setting.tiny:
        project, store = write_chain(setting.folder / "small", 1), setting.folder / "store"
        stagewright(project, store, "build", "--progress=quiet")
        return seed_key(project, store, "seed"), Store(store)
    project = copy_of_demo(setting, "remotes")
    stagewright(project, setting.store, "build", "debian", "--progress=quiet")
    return seed_key(project, setting.store, "debian"), Store(setting.store)


def _remote(folder: Path) -> RemoteStore:
    return RemoteStore.of("bench", Remote.model_validate({"url": str(folder)}), Path("/"))


def _pack(tree: Path, folder: Path) -> None:
    archive = folder / "root.tar.zst"
    subprocess.run(["sh", "-c", _PACK, "sh", tree, archive, str(THREADS), str(LEVEL)], check=True)
    _copy(archive, folder / "copy.tar.zst")


def _unpack(folder: Path) -> None:
    target = folder / "unpacked"
    target.mkdir()
    _copy(folder / "copy.tar.zst", folder / "root.tar.zst")
    subprocess.run(["sh", "-c", _UNPACK, "sh", folder / "root.tar.zst", target], check=True)
    subprocess.run(["sync", "-f", target], check=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a file, until it is on the disk."""
    shutil.copyfile(source, target)
    with target.open("rb") as stream:
        os.fsync(stream.fileno())


# what a second push moves


def _differences(setting: Setting, store: Store, key: str) -> Iterator[Row]:
    changes: dict[str, Callable[[Path], None]] = {"1 % of its files": _some_files, "1 % of a raw image": _parts}
    for what, change in changes.items():
        copy, remote = Store(setting.folder / "changed"), _remote(setting.folder / "remote")
        first = _derived(copy, store, key, "first", _with_image(setting))
        second = _derived(copy, copy, first, "second", change)
        sent = [push(remote, copy, Yields.LAYER, one).sent for one in (first, second)]
        note = f"{sent[1] >> 10} KiB after {sent[0] >> 10} KiB"
        yield Row(f"second push, {what} changed", sent[1] / sent[0], MOVED if not setting.tiny else 1.0, "", note)
        remove_tree(copy.path)
        shutil.rmtree(remote.place.name)


def _derived(target: Store, source: Store, key: str, name: str, change: Callable[[Path], None]) -> str:
    """Put a changed copy of a layer into a store, and return its key."""
    meta = source.meta(Yields.LAYER, key)
    new = Key.of({**meta.data, "bench": name})
    work = target.new_work(new.digest)
    subprocess.run(["cp", "-a", source.tree(Yields.LAYER, key), work / "tree"], check=True)
    change(work / "tree")
    changed = replace(meta, key=new.digest, data=new.data, stack=[new.digest], content="", seal="")
    target.commit(work / "tree", Yields.LAYER, changed)
    remove_tree(work)
    return new.digest


def _with_image(setting: Setting) -> Callable[[Path], None]:
    def write(tree: Path) -> None:
        with (tree / "image").open("wb") as stream:
            for number in range(setting.bytes(IMAGE) >> 12):
                stream.write(random.Random(number).randbytes(2048).ljust(4096, b"\0"))

    return write


def _some_files(tree: Path) -> None:
    """Write some bytes into each hundredth file."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    for path in files[::100]:
        data = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(data[: len(data) // 2] + b"changed" + data[len(data) // 2 :])


def _parts(tree: Path) -> None:
    """Change one percent of an image, in four places, and insert some bytes."""
    image = tree / "image"
    data = bytearray(image.read_bytes())
    part = len(data) // 400
    for place in range(4):
        at = place * len(data) // 4 + 12_345
        data[at : at + part] = random.Random(place).randbytes(part)
    data[len(data) // 3 : len(data) // 3] = b"inserted"
    image.write_bytes(data)
