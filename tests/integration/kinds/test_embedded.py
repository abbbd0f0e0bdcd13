"""embedded: packages in a clean root, without anything of the system that built them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from integration.support import build, make_small, plan

pytestmark = pytest.mark.real


def test_packages_are_built_into_a_clean_root(demo: Path, fresh: Callable[..., Path]) -> None:
    make_small(demo)
    store = fresh("seed:debian", binpkgs=False)
    assert build("system", cwd=demo, store=store).built() == {"system"}
    step = plan("system", cwd=demo, store=store)["system"]
    tree = store / "layers" / step["key"] / "tree"
    packages = {f"{path.parent.name}/{path.name}" for path in (tree / "var/db/pkg").glob("*/*")}
    assert packages == {"sys-apps/demo-baselayout-1", "app-misc/hello-1.0"}
    assert (tree / "usr/bin/hello").read_bytes()[:4] == b"\x7fELF"
    assert (tree / "etc/passwd").exists()
    foreign = ("usr/bin/gcc", "usr/bin/emerge", "usr/bin/dpkg", "usr/bin/python3", "etc/portage", "var/lib/dpkg")
    assert [name for name in foreign if (tree / name).exists()] == []
    kept = {path.parent.name for path in (tree.parent / "binpkgs").rglob("*.gpkg.tar")}
    assert kept == {"demo-baselayout", "hello"}
