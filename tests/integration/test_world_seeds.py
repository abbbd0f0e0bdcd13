"""Seeds from the world, tampered with in every way: each is refused with its own reason, and nothing of it is kept.

The cases run the kinds in this process, as a worker would; a few go through the command (test_world_builds.py).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from integration import registry, web
from integration.archives import ROOT, folder, hard_link, link, member
from integration.gentoo_mirror import AUTOBUILDS, STAMP, VARIANT, GentooMirror, digests, listing
from integration.signing import Signer
from integration.support import write_project
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.keys import Key
from stagewright.kinds.common.base import Stage
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.work import Built, Grant, Work
from stagewright.kinds.registry import graph_of, kinds
from stagewright.project.load import load
from stagewright.seeds.gentoo import KEYRING
from stagewright.store.store import Store

pytestmark = pytest.mark.real

OLDER, NEWER = "20261108T170000Z", "20261122T170000Z"
NAME = f"{VARIANT}-{STAMP}.tar.xz"


def tarball(*members: object, root: bool = True) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for add in (*(ROOT if root else ()), *members):
            add(archive)  # type: ignore[operator]
    return stream.getvalue()


GOOD = lzma.compress(tarball(member("usr/noise", os.urandom(300_000))))


@dataclass(frozen=True)
class World:
    """Who signs, by condition of their keys; and the folder where things are made."""

    folder: Path
    signers: dict[str, Signer]

    def signer(self, name: str) -> Signer:
        return self.signers[name]

    @property
    def good(self) -> Signer:
        return self.signers["good"]


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def published(world: World) -> Path:
    """The files of a mirror that is as it must be; cases change copies of it."""
    root = world.folder / "published"
    mirror = GentooMirror(web.Site(root), world.good)
    mirror.publish(GOOD, stamp=OLDER)
    mirror.publish(GOOD)
    return root


@dataclass
class Bench:
    """A mirror to tamper with, a project whose seed comes from it, and a store."""

    world: World
    mirror: GentooMirror
    project: Path
    store: Path

    def seed(self, table: str) -> Built:
        """Pin and build the seed of a project, and put it where a worker would commit it from."""
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
        """Files of the store that a stranger has a say in, but for what resuming takes."""
        found = [path for name in ("cache/seeds", "layers") for path in (self.store / name).rglob("*")]
        found += list((self.store / "work").glob("*/tree"))
        return [str(path) for path in found if not path.is_dir() and not path.name.endswith((".part", ".part.json"))]


@pytest.fixture
def bench(tmp_path: Path, world: World, published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("STAGEWRIGHT_STALL", "0.3")
    shutil.copytree(published, tmp_path / "www")
    (tmp_path / "project").mkdir()
    shutil.copy(world.folder / "keys.asc", tmp_path / "project")
    with web.serve(tmp_path / "www") as site:
        yield Bench(world, GentooMirror(site, world.good), tmp_path / "project", tmp_path / "store")


def test_as_it_must_be(bench: Bench) -> None:
    built = bench.seed(bench.table())
    assert (built.tree / "usr/noise").stat().st_size == 300_000
    assert isinstance(built.facts, LayerFacts) and (built.facts.archive or {})["file"] == NAME
    assert len(bench.kept()) == 1


Tamper = Callable[[Bench], object]


def put(end: str, make: Callable[[Bench], bytes]) -> Tamper:
    """Another content for the file of the stage3 with this ending."""
    return lambda bench: bench.mirror.put(bench.mirror.path(end), make(bench))


def altered(end: str, old: bytes, new: bytes) -> Tamper:
    def tamper(bench: Bench) -> None:
        content = bench.mirror.read(bench.mirror.path(end))
        assert old in content
        bench.mirror.put(bench.mirror.path(end), content.replace(old, new, 1))

    return tamper


def latest(make: Callable[[Bench], bytes]) -> Tamper:
    return lambda bench: bench.mirror.put(bench.mirror.latest(), make(bench))


def digests_by(name: str, *options: str, at: str = "") -> Tamper:
    text = digests({NAME: GOOD}, "BLAKE2B", "SHA512")
    return put(".DIGESTS", lambda bench: bench.world.signer(name).clearsign(text, *options, at=at))


def hook(end: str, make: Callable[[], web.Hook]) -> Tamper:
    def tamper(bench: Bench) -> None:
        bench.mirror.site.hooks[bench.mirror.path(end)] = make()

    return tamper


def signed(make: Callable[[Path], bytes]) -> Tamper:
    """A hostile tarball that is signed all the same."""
    return lambda bench: bench.mirror.publish(make(bench.world.folder))


def tar(*members: object, root: bool = True) -> Tamper:
    return signed(lambda _: lzma.compress(tarball(*members, root=root), preset=0))


def many_members(_: Path) -> bytes:
    """A million empty files in some hundred kilobytes."""
    header = tarball(member("usr/x"), root=False)[:512]
    return lzma.compress(header * 10_000) * 100


def huge_sparse(place: Path) -> bytes:
    """A file of four tebibytes that is one hole."""
    (place / "etc").mkdir(exist_ok=True)
    with (place / "etc" / "hole").open("wb") as stream:
        stream.truncate(4 << 40)
    return subprocess.run(["tar", "-C", place, "-cSzf", "-", "etc"], check=True, capture_output=True).stdout


def claims(size: int, **pax: str) -> bytes:
    """A header that claims a file of this size, and no content."""
    info = tarfile.TarInfo("usr/large")
    info.size, info.pax_headers = size, pax
    kind = tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT
    return gzip.compress(tarball()[: 4 * tarfile.BLOCKSIZE] + info.tobuf(kind))


OUT = "../" * 20 + "tmp"
PAGE = b"<!DOCTYPE html><html><body>Welcome to this hotel</body></html>"

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
def test_a_mirror_that_was_tampered_with(bench: Bench, case: str) -> None:
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


def url_table(more: str, path: str = f"{AUTOBUILDS}/{STAMP}/{NAME}") -> Callable[[Bench], str]:
    return lambda bench: f'[seeds.it]\nurl = "{bench.mirror.site.url}/{path}"\n{more}'.replace(
        "KEY", bench.world.good.fingerprint
    ).replace("SITE", bench.mirror.site.url)


SIGNED = f'keys = ["KEY"]\nkeyring = "keys.asc"\nsignature = "SITE/{AUTOBUILDS}/{STAMP}/{NAME}.asc"\n'

URL: dict[str, tuple[Callable[[Bench], str], Tamper, Reason]] = {
    "another sha256": (url_table(f'sha256 = "{"0" * 64}"'), lambda _: None, Reason.DIGEST_MISMATCH),
    "another sha512": (url_table(f'sha512 = "{"0" * 128}"'), lambda _: None, Reason.DIGEST_MISMATCH),
    "altered": (
        url_table(f'sha256 = "{hashlib.sha256(GOOD).hexdigest()}"'),
        put("", lambda _: GOOD[:-1] + b"!"),
        Reason.DIGEST_MISMATCH,
    ),
    "altered and signed before": (url_table(SIGNED), put("", lambda _: GOOD[:-1] + b"!"), Reason.BAD_SIGNATURE),
    "signed by another key": (
        url_table(SIGNED),
        put(".asc", lambda b: b.world.signer("other").detached(GOOD)),
        Reason.UNKNOWN_SIGNER,
    ),
    "not signed": (url_table(SIGNED), put(".asc", lambda _: b"nothing\n"), Reason.NO_SIGNATURE),
    "a page": (url_table(f'sha256 = "{"0" * 64}"'), put("", lambda _: PAGE), Reason.NOT_A_FILE),
}


@pytest.mark.parametrize("case", URL)
def test_a_file_on_the_web_that_was_tampered_with(bench: Bench, case: str) -> None:
    table, tamper, reason = URL[case]
    tamper(bench)
    with pytest.raises(StagewrightError) as caught:
        bench.seed(table(bench))
    assert caught.value.reason is reason, caught.value
    assert bench.kept() == []


def test_a_signed_file_on_the_web(bench: Bench) -> None:
    built = bench.seed(url_table(SIGNED)(bench))
    assert (built.tree / "usr/noise").stat().st_size == 300_000
    assert len(bench.kept()) == 1


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registry.Registry]:
    if missing := registry.missing():
        pytest.skip(f"NOT TESTED: {', '.join(missing)} not installed (packages/install installs them)")
    with registry.serve(tmp_path_factory.mktemp("registry") / "data") as running:
        yield running


@dataclass
class Image:
    """An image in the registry, to tamper with."""

    registry: registry.Registry
    digest: str

    def manifest(self) -> Path:
        return self.registry.blob(self.digest)

    def layer(self) -> Path:
        return self.registry.blob(json.loads(self.manifest().read_text(encoding="utf-8"))["layers"][0]["digest"])


def in_manifest(old: bytes, new: bytes) -> Callable[[Image], None]:
    return lambda image: rewrite(image.manifest(), image.manifest().read_bytes().replace(old, new))


def rewrite(path: Path, content: bytes) -> None:
    assert path.read_bytes() != content
    path.write_bytes(content)


NOISE = os.urandom(100_000)

OCI: dict[str, tuple[Sequence[Sequence[Any]], Callable[[Image], object], str, tuple[Reason, ...]]] = {
    "manifest altered": ([], in_manifest(b'"size"', b'"s1ze"'), "", (Reason.DIGEST_MISMATCH,)),
    "another layer in the manifest": (
        [],
        lambda image: rewrite(
            image.manifest(), re.sub(rb"(layers.*sha256:)....", rb"\g<1>0000", image.manifest().read_bytes())
        ),
        "",
        (Reason.DIGEST_MISMATCH,),
    ),
    "layer altered": (
        [[member("usr/noise", NOISE)]],
        lambda image: rewrite(image.layer(), image.layer().read_bytes()[:-9] + b"012345678"),
        "",
        (Reason.DIGEST_MISMATCH,),
    ),
    "layer cut short": (
        [[member("usr/noise", NOISE)]],
        lambda image: rewrite(image.layer(), image.layer().read_bytes()[:-1000]),
        "",
        (Reason.DIGEST_MISMATCH, Reason.WRONG_LENGTH, Reason.FETCH_CUT),
    ),
    "layer missing": ([], lambda image: image.layer().unlink(), "", (Reason.NOT_FOUND, Reason.FETCH_FAILED)),
    "another architecture": ([], lambda image: None, 'arch = "s390"', (Reason.INVALID_VALUE,)),
    "name with dots": ([[member("../evil", b"x")]], lambda image: None, "", (Reason.UNSAFE_ARCHIVE,)),
    "through a link": (
        [[link("usr/x", OUT), member("usr/x/evil", b"x")]],
        lambda image: None,
        "",
        (Reason.UNSAFE_ARCHIVE,),
    ),
    "hard link out": ([[hard_link("usr/x", "/etc/passwd")]], lambda image: None, "", (Reason.UNSAFE_ARCHIVE,)),
}


@pytest.mark.parametrize("case", OCI)
def test_an_image_that_was_tampered_with(bench: Bench, images: registry.Registry, tmp_path: Path, case: str) -> None:
    layers, tamper, more, reasons = OCI[case]
    name = f"seeds/{case.replace(' ', '-')}"
    content = [tarball(member("usr/name", name.encode()), *members) for members in layers or [[]]]
    digest = registry.image(tmp_path / "image", content, others=["arm64"])
    images.push(tmp_path / "image", f"{name}:latest")
    tamper(Image(images, digest))
    with pytest.raises(StagewrightError) as caught:
        bench.seed(f'[seeds.it]\noci = "{images.address}/{name}"\ntls = false\n{more or AMD64}')
    assert caught.value.reason in reasons, caught.value
    assert caught.value.hint, caught.value
    assert [path for path in bench.kept() if caught.value.reason is not Reason.UNSAFE_ARCHIVE] == []


AMD64 = 'arch = "amd64"'


def test_an_unknown_tag(bench: Bench, images: registry.Registry) -> None:
    with pytest.raises(StagewrightError) as caught:
        bench.seed(f'[seeds.it]\noci = "{images.address}/no/such:tag"\ntls = false\n')
    assert caught.value.reason is Reason.NOT_FOUND


def test_a_manifest_by_a_digest_that_it_has_not(bench: Bench, images: registry.Registry, tmp_path: Path) -> None:
    digest = registry.image(tmp_path / "image", [tarball()])
    images.push(tmp_path / "image", "seeds/pinned:latest")
    rewrite(images.blob(digest), images.blob(digest).read_bytes() + b" ")
    with pytest.raises(StagewrightError) as caught:
        bench.seed(f'[seeds.it]\noci = "{images.address}/seeds/pinned@{digest}"\ntls = false\n')
    assert caught.value.reason is Reason.DIGEST_MISMATCH
    assert bench.kept() == []


def test_another_variant_has_a_near_name(bench: Bench) -> None:
    mirror = bench.mirror
    both = {f"{STAMP}/{NAME}": 1, f"{STAMP}/stage3-amd64-openrc-{STAMP}.tar.xz": 2}
    mirror.put(f"/{AUTOBUILDS}/latest-stage3.txt", bench.world.good.clearsign(listing(both)))
    with pytest.raises(StagewrightError) as caught:
        bench.seed(bench.table().replace(VARIANT, "stage3-amd64-sistemd"))
    assert caught.value.reason is Reason.UNKNOWN_NAME
    assert VARIANT in caught.value.hint


def test_an_older_one_than_the_one_that_is_pinned(bench: Bench) -> None:
    bench.seed(bench.table())
    shutil.rmtree(bench.store / "work" / "it")
    lock = f'format = 1\nsource_date_epoch = 1\n[seeds.it]\nfile = "{NAME}"\n'
    (bench.project / "stagewright.lock").write_text(lock, encoding="utf-8")
    bench.mirror.announce({f"{OLDER}/{VARIANT}-{OLDER}.tar.xz": len(GOOD)})
    with pytest.raises(StagewrightError) as caught:
        bench.seed(bench.table())
    assert caught.value.reason is Reason.REPLAYED


def test_the_next_mirror_is_asked(bench: Bench) -> None:
    """The first has an altered listing, and then an altered tarball: the second one stands in."""
    site = bench.mirror.site
    shutil.copytree(site.root / "releases", site.root / "bad" / "releases")
    for path in (bench.mirror.latest(), bench.mirror.path()):
        bad = site.root / "bad" / path.lstrip("/")
        bad.write_bytes(bad.read_bytes()[::-1])
    table = bench.table().replace(f'"{site.url}"', f'["{site.url}/bad", "{site.url}"]')
    assert (bench.seed(table).tree / "usr/noise").exists()
    assert site.sent[f"/bad{bench.mirror.path()}"] == len(GOOD)


def test_without_keys(bench: Bench) -> None:
    if KEYRING.exists():
        pytest.skip("NOT TESTED: this machine has Gentoo's keys")
    with pytest.raises(StagewrightError) as caught:
        bench.seed(f'[seeds.it]\nmirror = "{bench.mirror.site.url}"\nvariant = "{VARIANT}"\n')
    assert caught.value.reason is Reason.NO_KEYS
    assert "openpgp-keys-gentoo-release" in caught.value.hint
