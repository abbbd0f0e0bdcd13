"""Fixtures of the tests of several kinds."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration import web
from integration.fleet import Fleet, fleet_of
from integration.gentoo_mirror import GentooMirror, digests
from integration.seed_world import GOOD, NAME, OLDER, SeedBench, World
from integration.signing import Signer
from integration.sites import OVMF, SNAKEOIL, Disk, Media, NetSite, disk_of, media_of, net_of
from integration.support import Warm
from stagewright.engine.worker import isolated


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    place = tmp_path_factory.mktemp("world")
    signers = {
        "good": Signer.make(place / "good", at="20240101T000000"),
        "other": Signer.make(place / "other", "Other <other@example.org>"),
        "expired": Signer.make(place / "expired", "Old <old@example.org>", expires="1y", at="20200101T000000"),
        "revoked": Signer.make(place / "revoked", "Lost <lost@example.org>"),
    }
    (place / "revoked.sig").write_bytes(signers["revoked"].clearsign(digests({NAME: GOOD}, "BLAKE2B", "SHA512")))
    signers["revoked"].revoke()
    trusted = [signers[name].public(place / f"{name}.pub").read_bytes() for name in ("good", "expired", "revoked")]
    (place / "keys.asc").write_bytes(b"".join(trusted))
    yield World(place, signers)
    for signer in signers.values():
        signer.close()


@pytest.fixture(scope="session")
def published(world: World) -> Path:
    """The files of a mirror that is as it must be; cases change copies of it."""
    root = world.folder / "published"
    mirror = GentooMirror(web.Site(root), world.good)
    mirror.publish(GOOD, stamp=OLDER)
    mirror.publish(GOOD)
    return root


@pytest.fixture
def bench(tmp_path: Path, world: World, published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeedBench]:
    monkeypatch.setenv("STAGEWRIGHT_STALL", "0.3")
    shutil.copytree(published, tmp_path / "www")
    (tmp_path / "project").mkdir()
    shutil.copy(world.folder / "keys.asc", tmp_path / "project")
    with web.serve(tmp_path / "www") as site:
        yield SeedBench(world, GentooMirror(site, world.good), tmp_path / "project", tmp_path / "store")


@pytest.fixture(scope="session")
def packed(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's Debian root as a tarball."""
    tree = warm.tree("seed:debian")
    target = tmp_path_factory.mktemp("packed") / "debian.tar.zst"
    words = ["tar", "--create", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--directory", str(tree), "."]
    with target.open("wb") as stream:
        tar = subprocess.Popen(isolated(words), stdout=subprocess.PIPE)
        subprocess.run(["zstd", "-q", "-1", "-T0"], stdin=tar.stdout, stdout=stream, check=True)
        assert tar.wait() in (0, 1)  # 1: a test of another process linked a file meanwhile, which changes its ctime
    return target


@pytest.fixture(scope="session")
def disk(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """Two disk images of the demo's system."""
    with disk_of(warm, tmp_path_factory.mktemp("disk")) as made:
        yield made


@pytest.fixture(scope="session")
def site(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetSite]:
    """The demo with its ISO and its set for the network."""
    with net_of(warm, tmp_path_factory.mktemp("netboot")) as made:
        yield made


@pytest.fixture(scope="session")
def media(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Media]:
    """The demo with further payloads and media, one of them signed."""
    if not (OVMF.exists() and SNAKEOIL.exists()):
        pytest.skip("NOT TESTED: no OVMF with keys for tests (package ovmf)")
    with media_of(warm, tmp_path_factory.mktemp("media")) as made:
        yield made


@pytest.fixture(scope="session")
def fleet(trixie: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A system that updates itself, with the feed of its first version."""
    with fleet_of(trixie, tmp_path_factory.mktemp("fleet")) as made:
        yield made
