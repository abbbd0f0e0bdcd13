"""Results in a store, made without a build, for tests of remotes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from stagewright.graph.keys import Key
from stagewright.graph.node import Yields
from stagewright.store.integrity import Finding, examine
from stagewright.store.meta import Meta
from stagewright.store.store import Store

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""cap_net_raw+ep, as the attribute security.capability has it (version 2)."""


@pytest.fixture
def here(tmp_path: Path) -> Store:
    """The store from which results are pushed."""
    return Store(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Store:
    """The store into which results are pulled."""
    return Store(tmp_path / "there")


def key_of(name: str, **more: Any) -> Key:
    return Key.of({"format": 1, "kind": "stage4", "code": name, "inputs": {}, **more})


def fill(tree: Path, seed: bytes = b"") -> None:
    """Make a tree with everything that a layer can have."""
    for folder in ("etc", "usr/bin", "usr/lib/deep/er", "var/empty"):
        (tree / folder).mkdir(parents=True)
    for number in range(40):
        (tree / "etc" / f"file{number}").write_bytes(seed + bytes([number]) * (number * 200))
    (tree / "etc" / "empty").touch()
    (tree / "usr/bin/ping").write_bytes(b"\x7fELF" + bytes(range(256)) * 1024)
    (tree / "usr/bin/su").write_bytes(b"#!/bin/sh\n")
    (tree / "usr/lib/deep/er/big").write_bytes(os.urandom(5 << 20))
    os.link(tree / "usr/bin/su", tree / "usr/lib/su")
    os.symlink("../bin/ping", tree / "usr/lib/link")
    os.mkfifo(tree / "var/pipe")
    if os.geteuid() == 0:
        os.chown(tree / "etc/file1", 250, 250)
        os.chown(tree / "var/empty", 101, 102)
        os.mknod(tree / "etc/removed", stat.S_IFCHR, os.makedev(0, 0))
        os.setxattr(tree / "usr/bin/ping", "security.capability", CAPABILITY)
    os.setxattr(tree / "etc/file2", "user.note", b"kept\0")
    os.setxattr(tree / "var", "user.overlay.opaque", b"y")
    (tree / "usr/bin/su").chmod(0o4755)
    (tree / "var/empty").chmod(0o1777)
    for path in [*tree.rglob("*"), tree]:
        os.utime(path, ns=(1_600_000_000_123_456_789,) * 2, follow_symlinks=False)


def layer(store: Store, name: str, seed: bytes = b"", node: str = "base") -> str:
    """Put a layer into a store, and return its key."""
    key = key_of(name)
    work = store.new_work(key.digest)
    (work / "tree").mkdir()
    fill(work / "tree", seed)
    (work / "binpkgs/app-misc/hello").mkdir(parents=True)
    (work / "binpkgs/app-misc/hello/hello-1-1.gpkg.tar").write_bytes(b"package" * 100)
    (work / "records").write_bytes(b"records")
    meta = Meta(key.digest, node, "stage4", 1.0, 10, key.data, [key.digest])
    store.commit(work / "tree", Yields.LAYER, meta, work / "binpkgs", work / "records")
    work.rmdir()
    return key.digest


def artifact(store: Store, name: str, data: bytes = b"image") -> str:
    """Put an artifact into a store, and return its key."""
    key = key_of(name)
    work = store.new_work(key.digest)
    (work / "tree").mkdir()
    (work / "tree" / "image.iso").write_bytes(data)
    (work / "tree" / "image.iso").chmod(0o444)
    store.commit(work / "tree", Yields.ARTIFACT, Meta(key.digest, "iso", "squashfs", 1.0, 5, key.data))
    work.rmdir()
    return key.digest


def check(store: Store, yields: Yields, key: str) -> Finding:
    return examine(store, yields, key)
