"""A mirror of Gentoo's with signed stage3s to tamper with, and a project whose seed comes from it.

Seeds are pinned and built in the process of the test, as a worker does it.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from integration import web
from integration.archives import ROOT, member
from integration.gentoo_mirror import STAMP, VARIANT, GentooMirror, digests
from integration.signing import Signer
from integration.support import build, edit, seeds_of, write_project
from stagewright.graph.keys import Key
from stagewright.kinds.common.base import Stage
from stagewright.kinds.common.work import Built, Grant, Work
from stagewright.kinds.registry import graph_of, kinds
from stagewright.project.load import load
from stagewright.store.store import Store

OLDER, NEWER = "20261108T170000Z", "20261122T170000Z"
NAME = f"{VARIANT}-{STAMP}.tar.xz"


def tarball(*members: object, root: bool = True) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for add in (*(ROOT if root else ()), *members):
            add(archive)  # type: ignore[operator]
    return stream.getvalue()


GOOD = lzma.compress(tarball(member("usr/noise", os.urandom(300_000))))


OUT = "../" * 20 + "tmp"
PAGE = b"<!DOCTYPE html><html><body>Welcome to this hotel</body></html>"


@dataclass(frozen=True)
class World:
    """Signers by the state of their keys, and a folder for files."""

    folder: Path
    signers: dict[str, Signer]

    def signer(self, name: str) -> Signer:
        return self.signers[name]

    @property
    def good(self) -> Signer:
        return self.signers["good"]


@dataclass
class SeedBench:
    """A mirror to tamper with, a project whose seed comes from it, and a store."""

    world: World
    mirror: GentooMirror
    project: Path
    store: Path

    def seed(self, table: str) -> Built:
        """Pin and build the seed of a project, up to the commit."""
        write_project(self.project, table)
        project = load(self.project, kinds())
        store = Store(self.store)
        node = graph_of(project).nodes["seed:it"]
        stage = project.entries["seeds"]["it"].model
        assert isinstance(stage, Stage)
        place = self.store / "work" / "it"
        place.mkdir(parents=True)
        with open(self.store / "log", "a", encoding="utf-8") as log:
            key = Key("0" * 64, {})
            work = Work[Any](node, key, {}, Grant(2, 512), (), place, store, log, lambda event: None)
            pin = stage.pin(work)
            pinned = replace(node, context=node.context.model_copy(update={"pin": pin}))
            return stage.build(replace(work, node=pinned))

    def table(self, more: str = "") -> str:
        keys = ", ".join(f'"{self.world.signers[name].fingerprint}"' for name in ("good", "expired", "revoked"))
        where = f'mirror = "{self.mirror.site.url}"\nvariant = "{VARIANT}"\n'
        return f'[seeds.it]\n{where}keys = [{keys}]\nkeyring = "keys.asc"\n{more}'

    def kept(self) -> list[str]:
        """Return the files that came from the mirror, without those of interrupted downloads."""
        found = [path for name in ("cache/seeds", "layers") for path in (self.store / name).rglob("*")]
        found += list((self.store / "work").glob("*/tree"))
        return [str(path) for path in found if not path.is_dir() and not path.name.endswith((".part", ".part.json"))]


Tamper = Callable[[SeedBench], object]


def put(end: str, make: Callable[[SeedBench], bytes]) -> Tamper:
    """Replace the file of the stage3 with this ending."""
    return lambda bench: bench.mirror.put(bench.mirror.path(end), make(bench))


def altered(end: str, old: bytes, new: bytes) -> Tamper:
    def tamper(bench: SeedBench) -> None:
        content = bench.mirror.read(bench.mirror.path(end))
        assert old in content
        bench.mirror.put(bench.mirror.path(end), content.replace(old, new, 1))

    return tamper


def latest(make: Callable[[SeedBench], bytes]) -> Tamper:
    return lambda bench: bench.mirror.put(bench.mirror.latest(), make(bench))


def digests_by(name: str, *options: str, at: str = "") -> Tamper:
    text = digests({NAME: GOOD}, "BLAKE2B", "SHA512")
    return put(".DIGESTS", lambda bench: bench.world.signer(name).clearsign(text, *options, at=at))


def hook(end: str, make: Callable[[], web.Hook]) -> Tamper:
    def tamper(bench: SeedBench) -> None:
        bench.mirror.site.hooks[bench.mirror.path(end)] = make()

    return tamper


def builds(demo: Path, store: Path, seed: str) -> dict[str, object]:
    """Build the demo's system from another seed, without a kernel; return the manifest of its tarball."""
    old = seeds_of(demo)
    edit(demo, old, seed.replace("[seeds.it]", "[seeds.debian]") + old[old.index("[seeds.debian-boot]") :])
    edit(demo, 'packages = ["virtual/demo-system", "app-misc/greet"]', 'packages = ["app-misc/greet"]')
    with (demo / "stagewright.toml").open("a", encoding="utf-8") as file:
        file.write('\n[stages.packed]\nkind = "tarball"\nroot = "system"\n')
    run = build("packed", cwd=demo, store=store)
    assert "system" in run.built(), run
    (manifest,) = (demo / "out").rglob("*.manifest.json")
    found: dict[str, object] = json.loads(manifest.read_text(encoding="utf-8"))
    return found


def seed_in(manifest: dict[str, object]) -> dict[str, object]:
    entries: list[dict[str, object]] = manifest["lineage"]  # type: ignore[assignment]
    return next(entry for entry in entries if entry["id"] == "seed:debian")
