"""project: a root of another project in the same store, whose layers are shared and kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from integration.support import build, call, owner_in_layer, states, write_project

pytestmark = pytest.mark.real


def test_a_root_of_another_project_is_shared_and_kept(tmp_path: Path) -> None:
    """The other project's root is a folder, with owners and links; its layer is the base of this project's."""
    store, other, mine = tmp_path / "store", tmp_path / "other", tmp_path / "mine"
    write_project(other, '[seeds.tree]\nfile = "root"\nowners = "keep"\n', name="other")
    root = other / "root"
    (root / "etc").mkdir(parents=True)
    (root / "usr").mkdir()
    (root / "etc/motd").write_text("hello\n", encoding="utf-8")
    (root / "etc/out").symlink_to("/etc/passwd")
    os.chown(root / "etc/motd", 7, 8)
    write_project(mine, '[seeds.base]\nproject = "../other"\nstage = "tree"\n', name="mine")
    run = build("base", cwd=mine, store=store, check=False)
    assert run.reasons["seed:base"] == "not-built"
    build("tree", cwd=other, store=store)
    assert build("base", cwd=mine, store=store).built() == {"seed:base"}
    lock = (mine / "stagewright.lock").read_text(encoding="utf-8")
    key = call("plan", "--json", "tree", cwd=other, store=store).plan["seed:tree"]["key"]
    assert key in lock
    assert owner_in_layer(store / "layers" / key / "tree/etc/motd") == (7, 8)
    assert (store / "layers" / key / "tree/etc/out").readlink() == Path("/etc/passwd")
    mine_key = call("plan", "--json", "base", cwd=mine, store=store).plan["seed:base"]["key"]
    assert json.loads((store / "layers" / mine_key / "meta.json").read_text(encoding="utf-8"))["stack"] == [
        mine_key,
        key,
    ]
    call("gc", cwd=mine, store=store)
    assert (store / "layers" / key / "meta.json").exists()
    os.chown(root / "etc/motd", 9, 8)
    assert states("tree", cwd=other, store=store)["seed:tree"] == "build"
