"""The same project and the same lock give the same bytes, compiled anew."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from integration.support import Warm, build

pytestmark = pytest.mark.real


def files_of(store: Path) -> dict[str, str]:
    """Digests of the files that people and loaders see, by node and name."""
    found = {}
    for meta in store.glob("artifacts/*/meta.json"):
        node = json.loads(meta.read_text(encoding="utf-8"))["node"]
        for path in (meta.parent / "tree").rglob("*"):
            if path.is_file() and not path.is_symlink():
                name = f"{node} {path.relative_to(meta.parent / 'tree')}"
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_two_builds_from_scratch_are_the_same(demo: Path, warm: Warm, tmp_path: Path) -> None:
    """In other folders, and compiled twice: one takes the packages that the warm store compiled, one compiles all."""
    results = []
    for binpkgs in (True, False):
        project = tmp_path / f"in-another-folder-{binpkgs}"
        shutil.copytree(demo, project)
        store = warm.copy(["seed:debian", "seed:debian-boot"], binpkgs=binpkgs)
        run = build("iso", cwd=project, store=store)
        assert run.built() == {"system", "live", "boot", "live+boot.squashfs", "iso"}
        log = next((store / "logs/demo/system").iterdir()).read_text(encoding="utf-8")
        assert (">>> Emerging binary (" in log) == binpkgs
        results.append(files_of(store))
        shutil.rmtree(store)
    first, second = results
    assert {name.split()[0] for name in first} == {"boot", "live+boot.squashfs", "iso"}
    assert {name for name in first if first[name] != second.get(name)} == set()
    assert first.keys() == second.keys()
