"""Seeds from the world, by the command: the demo's Debian root under Gentoo's naming and as an image, built upon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration import registry, web
from integration.archives import folder, member
from integration.gentoo_mirror import AUTOBUILDS, STAMP, VARIANT, GentooMirror, listing
from integration.signing import Signer
from integration.support import Warm, build, call, command, edit, seeds_of, states, write_project
from integration.test_world_seeds import GOOD, tarball

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    made = Signer.make(tmp_path_factory.mktemp("keys") / "home")
    yield made
    made.close()


@pytest.fixture(scope="module")
def packed(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's Debian root as a tarball."""
    tree = warm.store / "layers" / warm.keys["seed:debian"] / "tree"
    target = tmp_path_factory.mktemp("packed") / "debian.tar.zst"
    words = ["tar", "--create", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--directory", tree, "."]
    with target.open("wb") as stream:
        tar = subprocess.Popen(words, stdout=subprocess.PIPE)
        subprocess.run(["zstd", "-q", "-1", "-T0"], stdin=tar.stdout, stdout=stream, check=True)
        assert tar.wait() == 0
    return target


def builds(demo: Path, store: Path, seed: str) -> dict[str, object]:
    """Build the demo's system from another seed, without its kernel; the manifest of what came out."""
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


def test_the_demo_from_a_mirror(
    demo: Path, fresh: Callable[..., Path], packed: Path, signer: Signer, tmp_path: Path
) -> None:
    store = fresh("seed:debian-boot")
    signer.public(demo / "keys.asc")
    with web.serve(tmp_path / "www") as site:
        mirror = GentooMirror(site, signer)
        mirror.publish(packed.read_bytes())
        manifest = builds(demo, store, mirror.table())
        assert site.sent[mirror.path()] == packed.stat().st_size  # fetched once, for the pin
    entry = seed_in(manifest)
    assert entry["kind"] == "mirror"
    assert entry["pin"]["file"] == f"{VARIANT}-{STAMP}.tar.xz"  # type: ignore[index]
    assert len(entry["pin"]["sha512"]) == 128  # type: ignore[index]
    lock = (demo / "stagewright.lock").read_text(encoding="utf-8")
    assert signer.fingerprint in lock
    shutil.rmtree(store / "layers")  # and with the mirror gone, what the lock pins is in the cache
    (store / "layers").mkdir()
    assert "seed:debian" in build("debian", cwd=demo, store=store).built()


def test_the_demo_from_a_registry(demo: Path, fresh: Callable[..., Path], packed: Path, tmp_path: Path) -> None:
    if missing := registry.missing():
        pytest.skip(f"NOT TESTED: {', '.join(missing)} not installed (packages/install installs them)")
    store = fresh("seed:debian-boot")
    above = tarball(
        folder("usr/share"),
        folder("usr/share/perl"),
        member("usr/share/perl/.wh..wh..opq", b""),
        member(".wh.srv", b""),
    )
    with registry.serve(tmp_path / "registry") as images:
        digest = registry.image(tmp_path / "image", [packed.read_bytes(), above], others=["riscv64"])
        images.push(tmp_path / "image", "gentoo/stage3:systemd")
        table = f'[seeds.it]\noci = "{images.address}/gentoo/stage3:systemd"\ntls = false\narch = "amd64"\n'
        manifest = builds(demo, store, table)
    entry = seed_in(manifest)
    assert entry["kind"] == "oci"
    assert entry["archive"]["digest"] == digest  # type: ignore[index]
    key = states_key(demo, store)
    tree = store / "layers" / key / "tree"
    assert not (tree / "srv").exists()
    assert list((tree / "usr/share/perl").iterdir()) == []
    assert (tree / "etc/os-release").exists()


def states_key(project: Path, store: Path) -> str:
    return str(call("plan", "--json", "debian", cwd=project, store=store).plan["seed:debian"]["key"])


@pytest.fixture
def mirror(tmp_path: Path, signer: Signer) -> Iterator[GentooMirror]:
    with web.serve(tmp_path / "www") as site:
        made = GentooMirror(site, signer)
        made.publish(GOOD)
        (tmp_path / "project").mkdir()
        signer.public(tmp_path / "project" / "keys.asc")
        yield made


def test_killed_while_fetching_and_run_again(mirror: GentooMirror, tmp_path: Path) -> None:
    project, store = write_project(tmp_path / "project", mirror.table()), tmp_path / "store"
    site, path = mirror.site, mirror.path()

    def half(handler: web.Handler, body: bytes) -> None:
        real, handler.send = handler.send, lambda data: real(data[:150_000])  # type: ignore[method-assign]
        handler.serve(body)
        handler.wfile.flush()
        time.sleep(60)

    site.hooks[path] = half
    process = subprocess.Popen(command("build", "it", cwd=project, store=store), stderr=subprocess.DEVNULL)
    part = None
    while part is None or part.stat().st_size < 150_000:
        assert process.poll() is None
        time.sleep(0.05)
        part = next(iter((store / "cache").rglob("*.part")), None)
    process.kill()
    process.wait()
    del site.hooks[path]
    assert build("it", cwd=project, store=store).built() == {"seed:it"}
    assert site.sent[path] == len(GOOD)


def test_refused_by_the_command(mirror: GentooMirror, tmp_path: Path) -> None:
    """The same as in test_world_seeds, through pinning in a worker: reason, exit code, nothing left."""
    project, store = write_project(tmp_path / "project", mirror.table()), tmp_path / "store"
    mirror.put(mirror.path(), GOOD[:-1] + b"!")
    run = build("it", cwd=project, store=store, check=False)
    assert run.code == 2
    assert run.reasons["seed:it"] == "digest-mismatch"
    assert not (project / "stagewright.lock").exists()
    assert [path for path in (store / "cache/seeds").rglob("*") if path.is_file()] == []
    assert list((store / "layers").iterdir()) == []


def test_the_mirror_moves(mirror: GentooMirror, tmp_path: Path) -> None:
    """`update` takes the newer one; another address of the same file builds nothing anew."""
    project, store = write_project(tmp_path / "project", mirror.table()), tmp_path / "store"
    build("it", cwd=project, store=store)
    newer = "20261122T170000Z"
    mirror.publish(GOOD, stamp=newer)
    assert build("it", cwd=project, store=store).built() == set()
    shown = call("update", cwd=project, store=store).stdout
    assert f"{VARIANT}-{STAMP}.tar.xz -> {VARIANT}-{newer}.tar.xz" in shown
    call("build", "it", cwd=project, store=store)
    edit(project, mirror.site.url, f"{mirror.site.url}/")
    build("it", cwd=project, store=store)
    assert states("it", cwd=project, store=store)["seed:it"] == "cached"


def test_seeds_lists_what_there_is(mirror: GentooMirror, tmp_path: Path) -> None:
    project, store = write_project(tmp_path / "project", mirror.table()), tmp_path / "store"
    other = "stage3-amd64-openrc"
    entries = {f"{STAMP}/{name}-{STAMP}.tar.xz": 1 << 28 for name in (VARIANT, other)}
    mirror.put(f"/{AUTOBUILDS}/latest-stage3.txt", mirror.signer.clearsign(listing(entries)))
    found = json.loads(call("seeds", "--json", cwd=project, store=store).stdout)
    assert [(one["variant"], one["date"], one["size"]) for one in found["variants"]] == [
        (other, "2026-11-15", 1 << 28),
        (VARIANT, "2026-11-15", 1 << 28),
    ]
    assert [one["seeds"] for one in found["variants"]] == [[], [{"name": "it", "pinned": None}]]
    build("it", cwd=project, store=store)
    shown = call("seeds", cwd=project, store=store).stdout
    assert "seed it" in shown
    mirror.put(f"/{AUTOBUILDS}/latest-stage3.txt", listing(entries))
    run = call("seeds", cwd=project, store=store, check=False)
    assert run.code == 1
    assert "not signed" in run.stderr


def test_a_folder_and_another_project(tmp_path: Path) -> None:
    """A root as a folder, owners and links included; and that of another project, whose layers are shared."""
    store, other, mine = tmp_path / "store", tmp_path / "other", tmp_path / "mine"
    write_project(other, '[seeds.tree]\nfile = "root"\n', name="other")
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
    info = (store / "layers" / key / "tree/etc/motd").stat()
    assert (info.st_uid, info.st_gid) == (7, 8)
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
