"""The same project and the same lock give the same bytes, compiled again in another folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from integration.support import Warm, build

pytestmark = pytest.mark.real

NODES = {"boot", "live+boot.squashfs", "iso"}


def files_of(artifact: Path) -> dict[str, str]:
    """Digests of the files of an artifact, by node and name."""
    node = json.loads((artifact / "meta.json").read_text(encoding="utf-8"))["node"]
    found = {}
    for path in (artifact / "tree").rglob("*"):
        if path.is_file() and not path.is_symlink():
            found[f"{node} {path.relative_to(artifact / 'tree')}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def packages_of(store: Path) -> dict[tuple[str, ...], str]:
    """Digests of the binary packages in the cache of a store, by the parts of their path, origin included."""
    cache = store / "cache/binpkgs"
    paths = {path: path.relative_to(cache).parts for path in cache.rglob("*.gpkg.tar")}
    return {parts: hashlib.sha256(path.read_bytes()).hexdigest() for path, parts in paths.items()}


def test_two_builds_from_scratch_are_the_same(demo: Path, warm: Warm, tmp_path: Path) -> None:
    """The warm store has compiled every package and made everything from that; a second store does it again."""
    project = tmp_path / "in-another-folder"
    shutil.copytree(demo, project)
    store = warm.copy(["seed:debian", "seed:debian-boot"], binpkgs=False)
    run = build("iso", cwd=project, store=store, env={"PYTHONHASHSEED": "random"})  # another order of sets
    assert run.built() == {"system", "live", *NODES}
    log = next((store / "logs").glob("demo-*/system/*")).read_text(encoding="utf-8")
    assert ">>> Emerging (" in log and ">>> Emerging binary (" not in log
    first = {name: digest for node in NODES for name, digest in files_of(warm.result(node)).items()}
    second: dict[str, str] = {}
    for meta in store.glob("artifacts/*/meta.json"):
        second |= files_of(meta.parent)
    packages, others = packages_of(store), packages_of(warm.store)
    shutil.rmtree(store)
    both = packages.keys() & others.keys()  # from the same inputs; other tests may have built them from others
    assert len(both) > 5
    assert {parts[:3] for parts in both} == {parts[:3] for parts in packages}
    assert {parts for parts in both if packages[parts] != others[parts]} == set(), "also BUILD_TIME, and times of files"
    assert {name.split()[0] for name in first} == NODES
    assert {name for name in first if first[name] != second.get(name)} == set()
    assert first.keys() == second.keys()
