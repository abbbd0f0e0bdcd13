"""mirror: a stage3 of a mirror of Gentoo's, pinned and built upon; tampered with in every way, each is refused.

Each refusal has a reason and a hint, and no file of the seed is kept. Most cases run in the process of the test.
"""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration import web
from integration.archives import folder, hard_link, link, member
from integration.gentoo_mirror import AUTOBUILDS, STAMP, VARIANT, GentooMirror, digests, listing
from integration.seed_world import (
    GOOD,
    NAME,
    NEWER,
    OLDER,
    OUT,
    PAGE,
    SeedBench,
    Tamper,
    altered,
    builds,
    put,
    seed_in,
    tarball,
)
from integration.signing import Signer
from integration.support import build, call, command, edit, states, write_project
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.facts import LayerFacts
from stagewright.seeds.gentoo_keyring import KEYRING

pytestmark = pytest.mark.real


def test_a_signed_stage3_is_accepted(bench: SeedBench) -> None:
    built = bench.seed(bench.table())
    assert (built.tree / "usr/noise").stat().st_size == 300_000
    assert isinstance(built.facts, LayerFacts) and (built.facts.archive or {})["file"] == NAME
    assert len(bench.kept()) == 1


def latest(make: Callable[[SeedBench], bytes]) -> Tamper:
    return lambda bench: bench.mirror.put(bench.mirror.latest(), make(bench))


def digests_by(name: str, *options: str, at: str = "") -> Tamper:
    text = digests({NAME: GOOD}, "BLAKE2B", "SHA512")
    return put(".DIGESTS", lambda bench: bench.world.signer(name).clearsign(text, *options, at=at))


def hook(end: str, make: Callable[[], web.Hook]) -> Tamper:
    def tamper(bench: SeedBench) -> None:
        bench.mirror.site.hooks[bench.mirror.path(end)] = make()

    return tamper


def signed(make: Callable[[Path], bytes]) -> Tamper:
    """Publish a hostile tarball with valid signatures."""
    return lambda bench: bench.mirror.publish(make(bench.world.folder))


def tar(*members: object, root: bool = True) -> Tamper:
    return signed(lambda _: lzma.compress(tarball(*members, root=root), preset=0))


def many_members(_: Path) -> bytes:
    """Return a million empty files in some hundred kilobytes."""
    header = tarball(member("usr/x"), root=False)[:512]
    return lzma.compress(header * 10_000) * 100


def huge_sparse(place: Path) -> bytes:
    """Return an archive of a file of four tebibytes that is one hole."""
    (place / "etc").mkdir(exist_ok=True)
    with (place / "etc" / "hole").open("wb") as stream:
        stream.truncate(4 << 40)
    return subprocess.run(["tar", "-C", place, "-cSzf", "-", "etc"], check=True, capture_output=True).stdout


def claims(size: int, **pax: str) -> bytes:
    """Return an archive whose header claims a file of this size, without content."""
    info = tarfile.TarInfo("usr/large")
    info.size, info.pax_headers = size, pax
    kind = tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT
    return gzip.compress(tarball()[: 4 * tarfile.BLOCKSIZE] + info.tobuf(kind))


MIRROR: dict[str, tuple[Tamper, Reason]] = {
    "tarball altered": (put("", lambda _: GOOD[:-20] + b"!" + GOOD[-19:]), Reason.DIGEST_MISMATCH),
    "tarball cut short": (put("", lambda _: GOOD[:-1]), Reason.WRONG_LENGTH),
    "tarball with more at its end": (put("", lambda _: GOOD + b"more"), Reason.WRONG_LENGTH),
    "tarball missing": (hook("", lambda: web.status(404)), Reason.NOT_FOUND),
    "older tarball under a newer name": (put("", lambda _: GOOD[::-1]), Reason.DIGEST_MISMATCH),
    "signature altered": (altered(".asc", b"\n\n", b"\n\nBBBB"), Reason.NO_SIGNATURE),
    "signature of another file": (put(".asc", lambda b: b.world.good.detached(b"else")), Reason.BAD_SIGNATURE),
    "signature by another key": (put(".asc", lambda b: b.world.signer("other").detached(GOOD)), Reason.UNKNOWN_SIGNER),
    "signature by an expired key": (
        put(".asc", lambda b: b.world.signer("expired").detached(GOOD, at="20200301T000000")),
        Reason.EXPIRED_KEY,
    ),
    "signature with a broken digest": (
        put(".asc", lambda b: b.world.good.detached(GOOD, "--digest-algo", "SHA1")),
        Reason.WEAK_DIGEST,
    ),
    "signature missing": (hook(".asc", lambda: web.status(404)), Reason.NOT_FOUND),
    "signature empty": (put(".asc", lambda _: b""), Reason.FETCH_CUT),
    "digest altered": (altered(".DIGESTS", b"# SHA512 HASH\n", b"# SHA512 HASH\n0"), Reason.BAD_SIGNATURE),
    "name in the digests altered": (altered(".DIGESTS", NAME.encode(), b"x" + NAME.encode()), Reason.BAD_SIGNATURE),
    "digests unsigned": (put(".DIGESTS", lambda _: digests({NAME: GOOD}, "BLAKE2B", "SHA512")), Reason.NO_SIGNATURE),
    "digests by another key": (digests_by("other"), Reason.UNKNOWN_SIGNER),
    "digests by an expired key": (digests_by("expired", at="20200301T000000"), Reason.EXPIRED_KEY),
    "digests by a revoked key": (
        put(".DIGESTS", lambda b: (b.world.folder / "revoked.sig").read_bytes()),
        Reason.REVOKED_KEY,
    ),
    "digests with an expired signature": (
        digests_by("good", "--default-sig-expire", "1d", at="20250101T000000"),
        Reason.EXPIRED_SIGNATURE,
    ),
    "digests signed with a broken digest": (digests_by("good", "--digest-algo", "SHA1"), Reason.WEAK_DIGEST),
    "digests of an older file": (
        put(".DIGESTS", lambda b: b.mirror.read(b.mirror.path(".DIGESTS", stamp=OLDER))),
        Reason.WRONG_NAME,
    ),
    "digests of one kind only": (
        put(".DIGESTS", lambda b: b.world.good.clearsign(digests({NAME: GOOD}, "SHA512"))),
        Reason.BAD_LISTING,
    ),
    "digests of nothing": (put(".DIGESTS", lambda b: b.world.good.clearsign(b"nothing\n")), Reason.BAD_LISTING),
    "text before the digests": (altered(".DIGESTS", b"-----BEGIN", b"# SHA512\n-----BEGIN"), Reason.UNSIGNED_TEXT),
    "digests cut off": (
        put(".DIGESTS", lambda b: b.mirror.read(b.mirror.path(".DIGESTS"))[:-60]),
        Reason.BAD_SIGNATURE,
    ),
    "sha256 altered": (altered(".sha256", b"HASH\n", b"HASH\n0"), Reason.BAD_SIGNATURE),
    "sha256 of another content": (
        put(".sha256", lambda b: b.world.good.clearsign(digests({NAME: b"else"}, "SHA256"))),
        Reason.DIGEST_MISMATCH,
    ),
    "sha256 of another file": (
        put(".sha256", lambda b: b.world.good.clearsign(digests({"else": GOOD}, "SHA256"))),
        Reason.WRONG_NAME,
    ),
    "listing altered": (
        latest(lambda b: b.mirror.read(b.mirror.latest()).replace(STAMP.encode(), NEWER.encode())),
        Reason.BAD_SIGNATURE,
    ),
    "listing unsigned": (latest(lambda _: listing({f"{STAMP}/{NAME}": len(GOOD)})), Reason.NO_SIGNATURE),
    "listing of another variant": (
        latest(lambda b: b.world.good.clearsign(listing({f"{STAMP}/stage3-amd64-openrc-{STAMP}.tar.xz": 1}))),
        Reason.WRONG_NAME,
    ),
    "listing of a file elsewhere": (
        latest(lambda b: b.world.good.clearsign(listing({f"{STAMP}/../../{NAME}": 1}))),
        Reason.BAD_LISTING,
    ),
    "listing of two files": (
        latest(lambda b: b.world.good.clearsign(listing({f"{STAMP}/{NAME}": 1, f"{STAMP}/{NAME[:-2]}gz": 1}))),
        Reason.BAD_LISTING,
    ),
    "listing of another size": (
        latest(lambda b: b.world.good.clearsign(listing({f"{STAMP}/{NAME}": len(GOOD) + 1}))),
        Reason.WRONG_LENGTH,
    ),
    "listing is a page": (latest(lambda _: PAGE), Reason.NOT_A_FILE),
    "listing is endless": (latest(lambda _: b"x" * (2 << 20)), Reason.WRONG_LENGTH),
    "server cuts": (hook("", lambda: web.cut_after(0, times=99)), Reason.FETCH_CUT),
    "server resets": (hook("", lambda: lambda handler, _: handler.reset()), Reason.FETCH_CUT),
    "server stalls": (hook("", lambda: web.stall(1000)), Reason.FETCH_STALLED),
    "server is silent": (hook(".DIGESTS", lambda: web.stall(0)), Reason.FETCH_STALLED),
    "server breaks": (hook("", lambda: web.status(503)), Reason.FETCH_FAILED),
    "server claims more": (hook("", lambda: web.length(len(GOOD) + 100)), Reason.WRONG_LENGTH),
    "server claims less": (hook("", lambda: web.length(100)), Reason.WRONG_LENGTH),
    "server sends without end": (hook("", web.without_end), Reason.WRONG_LENGTH),
    "server sends a page": (hook("", lambda: web.body(PAGE, **{"Content-Type": "text/html"})), Reason.NOT_A_FILE),
    "server points to a file": (hook("", lambda: web.redirect("file:///etc/passwd")), Reason.BAD_REDIRECT),
    "server points to ftp": (hook(".asc", lambda: web.redirect("ftp://127.0.0.1/")), Reason.BAD_REDIRECT),
    "server points to itself": (hook("", lambda: web.redirect(f"/{AUTOBUILDS}/{STAMP}/{NAME}")), Reason.BAD_REDIRECT),
    "name with dots": (tar(member("../evil", b"x")), Reason.UNSAFE_ARCHIVE),
    "absolute name": (tar(member("/tmp/evil", b"x")), Reason.UNSAFE_ARCHIVE),
    "through a link": (tar(link("usr/x", OUT), member("usr/x/evil", b"x")), Reason.UNSAFE_ARCHIVE),
    "folder swapped for a link": (
        tar(folder("x"), member("x/a", b"x"), link("x", OUT), member("x/evil", b"x")),
        Reason.UNSAFE_ARCHIVE,
    ),
    "hard link out": (tar(hard_link("usr/x", "/etc/passwd"), member("usr/x", b"evil")), Reason.UNSAFE_ARCHIVE),
    "hard link through a link": (tar(link("usr/x", "/etc"), hard_link("usr/y", "usr/x/passwd")), Reason.UNSAFE_ARCHIVE),
    "a million members": (signed(many_members), Reason.ARCHIVE_TOO_LARGE),
    "a huge hole": (signed(huge_sparse), Reason.ARCHIVE_TOO_LARGE),
    "a huge claim": (signed(lambda _: claims(1 << 40)), Reason.ARCHIVE_TOO_LARGE),
    "a huge claim in words": (
        signed(lambda _: claims(0, **{"GNU.sparse.realsize": str(1 << 40)})),
        Reason.ARCHIVE_TOO_LARGE,
    ),
    "a truncated archive": (signed(lambda _: GOOD[: len(GOOD) // 2]), Reason.BAD_ARCHIVE),
    "no archive": (signed(lambda _: b"just a text\n" * 1000), Reason.BAD_ARCHIVE),
    "no root": (tar(member("README", b"x"), root=False), Reason.BAD_ARCHIVE),
}


@pytest.mark.parametrize("case", MIRROR)
def test_a_mirror_that_was_tampered_with_is_refused(bench: SeedBench, case: str) -> None:
    tamper, reason = MIRROR[case]
    tamper(bench)
    passwd = Path("/etc/passwd").stat()
    with pytest.raises(StagewrightError) as caught:
        bench.seed(bench.table())
    assert caught.value.reason is reason, caught.value
    assert caught.value.hint, caught.value
    after_fetching = reason in (Reason.UNSAFE_ARCHIVE, Reason.ARCHIVE_TOO_LARGE, Reason.BAD_ARCHIVE)
    assert [path for path in bench.kept() if not (after_fetching and path.endswith(NAME))] == []
    assert not Path("/tmp/evil").exists()
    assert Path("/etc/passwd").stat() == passwd


def test_an_unknown_variant_is_reported_with_the_nearest_name(bench: SeedBench) -> None:
    mirror = bench.mirror
    both = {f"{STAMP}/{NAME}": 1, f"{STAMP}/stage3-amd64-openrc-{STAMP}.tar.xz": 2}
    mirror.put(f"/{AUTOBUILDS}/latest-stage3.txt", bench.world.good.clearsign(listing(both)))
    with pytest.raises(StagewrightError) as caught:
        bench.seed(bench.table().replace(VARIANT, "stage3-amd64-sistemd"))
    assert caught.value.reason is Reason.UNKNOWN_NAME
    assert VARIANT in caught.value.hint


def test_a_stage3_older_than_the_pinned_one_is_refused(bench: SeedBench) -> None:
    bench.seed(bench.table())
    shutil.rmtree(bench.store / "work" / "it")
    lock = f'format = 1\nsource_date_epoch = 1\n[seeds.it]\nfile = "{NAME}"\n'
    (bench.project / "stagewright.lock").write_text(lock, encoding="utf-8")
    bench.mirror.announce({f"{OLDER}/{VARIANT}-{OLDER}.tar.xz": len(GOOD)})
    with pytest.raises(StagewrightError) as caught:
        bench.seed(bench.table())
    assert caught.value.reason is Reason.REPLAYED


def test_the_next_mirror_is_used(bench: SeedBench) -> None:
    """The first one has an altered listing and an altered tarball; the second one serves both."""
    site = bench.mirror.site
    shutil.copytree(site.root / "releases", site.root / "bad" / "releases")
    for path in (bench.mirror.latest(), bench.mirror.path()):
        bad = site.root / "bad" / path.lstrip("/")
        bad.write_bytes(bad.read_bytes()[::-1])
    table = bench.table().replace(f'"{site.url}"', f'["{site.url}/bad", "{site.url}"]')
    assert (bench.seed(table).tree / "usr/noise").exists()
    assert site.sent[f"/bad{bench.mirror.path()}"] == len(GOOD)


def test_missing_release_keys_are_reported(bench: SeedBench) -> None:
    if KEYRING.exists():
        pytest.skip("NOT TESTED: this machine has Gentoo's keys")
    with pytest.raises(StagewrightError) as caught:
        bench.seed(f'[seeds.it]\nmirror = "{bench.mirror.site.url}"\nvariant = "{VARIANT}"\n')
    assert caught.value.reason is Reason.NO_KEYS
    assert "openpgp-keys-gentoo-release" in caught.value.hint


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    made = Signer.make(tmp_path_factory.mktemp("keys") / "home")
    yield made
    made.close()


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


@pytest.fixture
def mirror(tmp_path: Path, signer: Signer) -> Iterator[GentooMirror]:
    with web.serve(tmp_path / "www") as site:
        made = GentooMirror(site, signer)
        made.publish(GOOD)
        (tmp_path / "project").mkdir()
        signer.public(tmp_path / "project" / "keys.asc")
        yield made


def test_a_killed_download_is_resumed(mirror: GentooMirror, tmp_path: Path) -> None:
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


def test_the_command_refuses_an_altered_stage3(mirror: GentooMirror, tmp_path: Path) -> None:
    """A worker pins the seed: the command reports the reason and leaves no files."""
    project, store = write_project(tmp_path / "project", mirror.table()), tmp_path / "store"
    mirror.put(mirror.path(), GOOD[:-1] + b"!")
    run = build("it", cwd=project, store=store, check=False)
    assert run.code == 2
    assert run.reasons["seed:it"] == "digest-mismatch"
    assert not (project / "stagewright.lock").exists()
    assert [path for path in (store / "cache/seeds").rglob("*") if path.is_file()] == []
    assert list((store / "layers").iterdir()) == []


def test_update_takes_the_newer_stage3(mirror: GentooMirror, tmp_path: Path) -> None:
    """`update` takes the newer one; another address of the same file rebuilds nothing."""
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


def test_seeds_lists_the_variants_of_the_mirror(mirror: GentooMirror, tmp_path: Path) -> None:
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
