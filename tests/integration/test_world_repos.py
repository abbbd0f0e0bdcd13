"""Repositories from elsewhere are found, pinned and fetched again; a bad one is refused with its own reason."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from integration.gits import Git, smart_http, tiny
from integration.signing import Signer
from integration.support import Run, call
from integration.web import Site, body, cut_after, redirect, serve, status
from stagewright.engine.repositories import fetch_repositories
from stagewright.engine.session import Session
from stagewright.engine.workspace import Workspace
from stagewright.errors import ProblemsError, StagewrightError
from stagewright.events import Event, Listener, NodeNotice

pytestmark = pytest.mark.real

LONG_AGO = "20200101T000000"
DAY = 86400
HTML = body(b"<!DOCTYPE html>\n<html>welcome</html>", **{"Content-Type": "text/html"})
PATIENT = {"STAGEWRIGHT_STALL": "2"}


def day(back: int = 1) -> str:
    return time.strftime("%Y%m%d", time.gmtime(time.time() - back * DAY))


TODAY, OLDER = day(1), day(3)


@dataclass(frozen=True)
class Keys:
    """Signers with a good key, an untrusted one, an expired one and a revoked one."""

    good: Signer
    other: Signer
    expired: Signer
    revoked: Signer
    public: Path  # all of them


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    folder = tmp_path_factory.mktemp("keys")
    made = [
        Signer.make(folder / "good", at=LONG_AGO),
        Signer.make(folder / "other", "Other <other@example.org>"),
        Signer.make(folder / "expired", "Old <old@example.org>", expires="1y", at=LONG_AGO),
        Signer.make(folder / "revoked", "Lost <lost@example.org>"),
    ]
    yield Keys(*made, folder / "all.asc")
    for signer in made:
        signer.close()


@dataclass
class World:
    """A project, a store, repositories elsewhere, and their signers."""

    folder: Path
    site: Site
    keys: Keys
    git: Git = field(init=False)

    def __post_init__(self) -> None:
        self.git = Git.make(self.folder / "git" / "world")
        self.project.mkdir()

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def shelf(self) -> Path:
        return self.folder / "store" / "cache" / "repos"

    @property
    def lock(self) -> str:
        file = self.project / "stagewright.lock"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def write(self, repo: str, more: str = "", *, verify: bool = False) -> None:
        """Write the project file with this repository; ``verify`` accepts the good key alone."""
        signers = (self.keys.good, self.keys.other, self.keys.expired, self.keys.revoked)
        each = [signer.public(self.folder / "one.asc").read_bytes() for signer in signers]
        (self.project / "keys.asc").write_bytes(b"".join(each))
        trust = ""
        if verify:
            listed = [self.keys.good, self.keys.expired, self.keys.revoked]
            trust = f"verify = true\nkeyring = 'keys.asc'\nkeys = {[one.fingerprint for one in listed]}\n"
        head = 'format = 1\n[project]\nname = "w"\nversion = "1"\nsource_date_epoch = 2026-11-20\n'
        (self.project / "stagewright.toml").write_text(f"{head}[repos.world]\n{repo}\n{trust}{more}", encoding="utf-8")

    def run(self, *words: str, check: bool = True) -> Run:
        return call(*words, cwd=self.project, store=self.folder / "store", check=check, env=PATIENT)

    def moved(self, *, dry: bool = False) -> dict[str, Any]:
        """Update in this process, which is quicker than a command; return the change as JSON has it."""
        (change,) = self.session().update(["world"], dry_run=dry)
        return change.to_dict()

    def session(self, *listeners: Listener) -> Session:
        return Session.open(self.project, store=self.folder / "store", listeners=listeners)

    def pin(self) -> dict[str, Any]:
        new: dict[str, Any] = self.moved()["new"]
        return new

    def trees(self) -> list[Path]:
        return sorted((self.shelf / "trees").glob("*")) if self.shelf.exists() else []

    def left(self) -> list[Path]:
        """Return fetched files in the store, without git's objects, locks and empty folders."""
        return [*self.shelf.glob("files/*/*"), *self.shelf.glob("trees/.*")]

    # what a mirror has

    def squash(
        self, date: str, *, signer: Signer | None = None, at: str = "", name: str = "", pseudo: str = ""
    ) -> Path:
        """Publish a squashfs snapshot of the git repository's files, and the signed digests of all snapshots."""
        folder = self.site.root / "squashfs"
        folder.mkdir(exist_ok=True)
        image = folder / (name or f"gentoo-{date}.xz.sqfs")
        words = ["mksquashfs", str(self.git.folder), str(image), "-noappend", "-quiet", "-no-progress", "-comp", "xz"]
        extra = ["-p", pseudo] if pseudo else []
        subprocess.run([*words, *extra, "-wildcards", "-e", ".git"], check=True, capture_output=True)
        self.sums(signer or self.keys.good, at=at)
        return image

    def sums(self, signer: Signer | None, at: str = "") -> Path:
        folder = self.site.root / "squashfs"
        text = subprocess.run(["sh", "-c", "sha512sum *.sqfs"], cwd=folder, capture_output=True, check=True).stdout
        content = signer.clearsign(text, at=at) if signer else text
        (folder / "sha512sum.txt").write_bytes(content)
        return folder / "sha512sum.txt"

    def tar(self, date: str, *, signer: Signer | None = None, at: str = "", signed: bool = True) -> Path:
        """Publish a tarball of the git repository's files, with a detached signature."""
        folder = self.site.root / "snapshots"
        folder.mkdir(exist_ok=True)
        tarball = folder / f"gentoo-{date}.tar.xz"
        words = [
            "tar",
            "--create",
            "--xz",
            f"--file={tarball}",
            "--exclude=.git",
            "--transform",
            f"s,^[.],gentoo-{date},",
        ]
        subprocess.run([*words, "-C", str(self.git.folder), "."], check=True)
        self.sign(tarball, signer or self.keys.good, at) if signed else None
        return tarball

    def sign(self, tarball: Path, signer: Signer, at: str = "") -> None:
        Path(f"{tarball}.gpgsig").write_bytes(signer.detached(tarball.read_bytes(), at=at))


@pytest.fixture
def world(tmp_path: Path, keys: Keys) -> Iterator[World]:
    with serve(tmp_path / "site") as site:
        yield World(tmp_path, site, keys)


def flip(path: Path) -> None:
    """Alter a byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


# git


@pytest.mark.parametrize("how", ["file", "http"])
def test_a_commit_is_pinned_and_another_machine_has_the_same_tree(world: World, how: str) -> None:
    with smart_http(world.git.folder.parent) as http:
        url = world.git.url if how == "file" else f"{http}/world"
        world.write(f'git = "{url}"')
        pin = world.pin()
        assert pin["commit"] == world.git("rev-parse", "HEAD")
        assert pin["tree"] == f"git-tree:{world.git('rev-parse', 'HEAD^{tree}')}"
        (tree,) = world.trees()
        files = {
            str(path.relative_to(tree)): path.read_text(encoding="utf-8") for path in tree.rglob("*") if path.is_file()
        }
        assert files == tiny()
        shutil.rmtree(world.folder / "store")
        world.git.change("something else")
        world.run("fetch", "--locked")  # nothing needs it yet
        assert world.trees() == []
        before = world.lock
        world.run("check", "--locked")
        assert world.lock == before


def test_update_lists_the_commits_between(world: World) -> None:
    with smart_http(world.git.folder.parent) as http:
        world.write(f'git = "{http}/world"')
        old = world.pin()
        for number in range(30):
            world.git.change(f"change {number}")
        before = world.lock
        dry = world.moved(dry=True)
        assert world.lock == before
        moved = world.moved()
        assert not world.moved()["moved"]
    assert moved == dry
    assert moved["old"]["commit"] == old["commit"] and moved["new"]["commit"] == world.git("rev-parse", "HEAD")
    assert moved["commits"] == {"count": 30, "subjects": [f"change {number}" for number in range(29, 9, -1)]}


def test_update_prints_what_moved(world: World) -> None:
    world.write(f'git = "{world.git.url}"')
    world.pin()
    for number in range(23):
        world.git.change(f"change {number}")
    lines = world.run("update", "world").stdout.splitlines()
    assert lines[1] == "world: 23 commits"
    assert lines[2] == "  change 22" and lines[-1] == "  and 3 more" and len(lines) == 23
    assert world.run("update").stdout.startswith("world: nothing moved")


def test_branch_tag_and_commit(world: World) -> None:
    first = world.git("rev-parse", "HEAD")
    world.git("tag", "-m", "a tag", "v1")
    world.git("checkout", "-q", "-b", "next")
    second = world.git.change("on next")
    world.git("checkout", "-q", "main")
    for text, commit in (('ref = "next"', second), ('tag = "v1"', first), (f'commit = "{second}"', second)):
        world.write(f'git = "{world.git.url}"\n{text}')
        assert world.pin()["commit"] == commit


def test_the_commit_of_a_server_that_hands_out_names_only(world: World) -> None:
    first = world.git("rev-parse", "HEAD")
    world.git.change("later")
    world.git("config", "uploadpack.allowAnySHA1InWant", "false")
    world.git("config", "protocol.version", "0")
    world.write(f'git = "{world.git.url}"\ncommit = "{first}"')
    assert world.pin()["commit"] == first


def test_a_tree_is_what_is_in_the_commit_whatever_attributes_ask(world: World, tmp_path: Path) -> None:
    """The user's configuration, umask and hooks change nothing."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[core]\nautocrlf = true\nhooksPath = /x\n[init]\ntemplateDir = /x\n", encoding="utf-8"
    )
    (world.git.folder / "profiles/crlf").write_text("one\ntwo\n", encoding="utf-8")
    world.git.commit("lines")
    world.write(f'git = "{world.git.url}"')
    call("update", cwd=world.project, store=world.folder / "store", env={"HOME": str(home)})
    (tree,) = world.trees()
    assert (tree / "profiles/crlf").read_bytes() == b"one\ntwo\n"
    assert oct((tree / "profiles/crlf").stat().st_mode & 0o777) == "0o644"


def test_a_signed_commit_is_taken(world: World) -> None:
    world.git.change("signed", world.keys.good)
    world.write(f'git = "{world.git.url}"', verify=True)
    assert world.pin()["signer"] == world.keys.good.fingerprint


def test_two_at_once_fetch_it_once(world: World) -> None:
    world.write(f'git = "{world.git.url}"')
    words = ["update", "--progress=quiet"]
    from integration.support import command

    line = command(*words, cwd=world.project, store=world.folder / "store")
    runs = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0], [run.communicate() for run in runs]
    assert len(world.trees()) == 1


def test_files_that_a_killed_git_left_do_no_harm(world: World) -> None:
    world.write(f'git = "{world.git.url}"')
    world.pin()
    (bare,) = world.shelf.glob("git/*")
    for name in ("shallow.lock", "config.lock", "refs/pins/heads/main.lock"):
        (bare / name).touch()
    (world.shelf / "trees" / f".{world.trees()[0].name}.dead").mkdir()
    shutil.rmtree(world.trees()[-1])
    world.git.change("later")
    assert world.moved()["moved"]


def test_other_keys_are_another_request_in_the_lock(world: World) -> None:
    """With other keys the pin is looked up and verified again."""
    world.git.change("signed", world.keys.good)
    world.write(f'git = "{world.git.url}"')
    world.pin()
    world.write(f'git = "{world.git.url}"', verify=True)
    refused = world.run("check", "--locked", check=False)
    assert refused.code == 2 and "does not pin repository world" in refused.stderr


Spoil = Callable[[World], None]


def unsigned(world: World) -> None:
    world.git.change("not signed")


def by(which: str, faked: str = "") -> Spoil:
    def spoil(world: World) -> None:
        world.git.change("signed", getattr(world.keys, which), faked=faked)
        if which == "revoked":
            world.keys.revoked.revoke()
            world.write(f'git = "{world.git.url}"', verify=True)

    return spoil


def forged(world: World) -> None:
    """The signature is good, but of another message."""
    world.git.change("signed", world.keys.good)
    raw = world.git("cat-file", "commit", "HEAD").replace("\n\nsigned", "\n\nforged")
    file = world.folder / "commit"
    file.write_text(raw + "\n", encoding="utf-8")
    world.git("update-ref", "refs/heads/main", world.git("hash-object", "-t", "commit", "-w", str(file)))


def rewound(world: World) -> None:
    """The server shows an older state than the pinned one."""
    world.git.change("signed", world.keys.good)
    world.pin()
    world.git("reset", "--hard", "-q", "HEAD~1")
    world.git.commit("an older one", world.keys.good, at=world.git.clock - 10 * DAY)


def no_ebuilds(world: World) -> None:
    world.git("rm", "-r", "-q", "profiles")
    world.git.commit("no profiles", world.keys.good)


def gone(world: World) -> None:
    shutil.rmtree(world.git.folder)


def asks(text: str) -> Spoil:
    def spoil(world: World) -> None:
        world.git.change("signed", world.keys.good)
        world.write(f'git = "{world.git.url}"\n{text}', verify=True)

    return spoil


def web(path: str) -> Spoil:
    def spoil(world: World) -> None:
        world.site.hooks["/page/info/refs?service=git-upload-pack"] = HTML
        world.write(f'git = "{world.site.url}/{path}"', verify=True)

    return spoil


GITS: dict[str, tuple[Spoil, str]] = {
    "not signed": (unsigned, "no-signature"),
    "signed by another key": (by("other"), "unknown-signer"),
    "signed by an expired key": (by("expired", "20200201T000000"), "expired-key"),
    "signed by a revoked key": (by("revoked"), "revoked-key"),
    "a signature of another commit": (forged, "bad-signature"),
    "an older state than pinned": (rewound, "replayed"),
    "no such branch": (asks('ref = "mian"'), "unknown-name"),
    "no such tag": (asks('tag = "v2"'), "unknown-name"),
    "no such commit": (asks(f'commit = "{"0" * 39}1"'), "unknown-name"),
    "no repository of ebuilds": (no_ebuilds, "bad-archive"),
    "no repository at all": (gone, "not-found"),
    "an address that has nothing": (web("nothing"), "not-found"),
    "a page for people": (web("page"), "not-a-file"),
}


def refused(world: World, reason: str, trees: list[Path]) -> None:
    """Assert that an update fails for this reason, at a place of the project, and keeps nothing."""
    before = world.lock
    with pytest.raises(StagewrightError) as caught:
        world.moved()
    assert caught.value.reason == reason, caught.value
    assert caught.value.hint
    assert caught.value.place and caught.value.place.file == world.project / "stagewright.toml"
    assert caught.value.place.line in (7, 8)
    assert world.lock == before
    assert world.trees() == trees
    kept = [path.name for path in world.left()]
    if reason == "fetch-cut":  # to be resumed, and verified then
        kept = [name for name in kept if ".part" not in name]
    assert kept == []


@pytest.mark.parametrize("case", GITS)
def test_git_is_refused(world: World, case: str) -> None:
    spoil, reason = GITS[case]
    world.write(f'git = "{world.git.url}"', verify=True)
    spoil(world)
    refused(world, reason, world.trees())


# snapshots


@pytest.mark.parametrize("kind", ["squashfs", "snapshot"])
def test_the_newest_snapshot_is_verified_and_pinned(world: World, kind: str) -> None:
    make = world.squash if kind == "squashfs" else world.tar
    make(OLDER)
    world.git.change("newer")
    newest = make(TODAY)
    world.write(f'{kind} = "{world.site.url}/{newest.parent.name}"', verify=True)
    pin = world.pin()
    assert (pin["file"], pin["date"], pin["signer"]) == (newest.name, TODAY, world.keys.good.fingerprint)
    (tree,) = world.trees()
    expected = set(world.git("ls-files").splitlines())
    assert {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()} == expected
    assert world.left() == []
    assert not world.moved()["moved"]
    world.write(f'{kind} = "{world.site.url}/{newest.parent.name}"\ndate = "{OLDER}"', verify=True)
    assert world.pin()["date"] == OLDER
    assert len(world.trees()) == 2


def test_a_snapshot_need_not_be_verified(world: World) -> None:
    world.squash(TODAY)
    world.sums(None)
    world.write(f'squashfs = "{world.site.url}/squashfs"', "verify = false")
    assert "signer" not in world.pin()
    tarball = world.tar(TODAY, signed=False)
    said = subprocess.run(["md5sum", tarball.name], cwd=tarball.parent, capture_output=True, check=True).stdout
    Path(f"{tarball}.md5sum").write_bytes(said)
    world.write(f'snapshot = "{world.site.url}/snapshots"', "verify = false")
    assert "signer" not in world.pin()


def test_a_fetch_that_was_cut_goes_on(world: World) -> None:
    image = world.squash(TODAY)
    path = f"/squashfs/{image.name}"
    world.site.hooks[path] = cut_after(1000)
    world.write(f'squashfs = "{world.site.url}/squashfs"', verify=True)
    world.pin()
    assert world.site.sent[path] < image.stat().st_size + 8192


def test_the_list_of_digests_has_two_names(world: World) -> None:
    world.squash(TODAY)
    sums(world).rename(sums(world).with_name("gentoo-current.sha512sum.txt"))
    world.write(f'squashfs = "{world.site.url}/squashfs"', verify=True)
    assert world.pin()["file"] == f"gentoo-{TODAY}.xz.sqfs"


Change = Callable[[World, Path], None]


def sums(world: World) -> Path:
    return world.site.root / "squashfs/sha512sum.txt"


def alter_sums(world: World, image: Path) -> None:
    text = sums(world).read_text(encoding="utf-8")
    sums(world).write_text(text.replace(f"gentoo-{TODAY}", f"gentoo-{day(0)}"), encoding="utf-8")


def add_to_sums(world: World, image: Path) -> None:
    sums(world).write_text(
        sums(world).read_text(encoding="utf-8") + f"{'0' * 128}  gentoo-{TODAY}.lzo.sqfs\n", encoding="utf-8"
    )


def unsigned_sums(world: World, image: Path) -> None:
    world.sums(None)


def without_sums(world: World, image: Path) -> None:
    sums(world).unlink()


def altered(world: World, file: Path) -> None:
    flip(file)


def absent(world: World, file: Path) -> None:
    file.unlink()


def shorten(world: World, file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def rename_older(world: World, image: Path) -> None:
    """An older image has the name of a newer one, in a list that was signed when it was new."""
    image.unlink()
    world.squash(TODAY, at=f"{OLDER}T000000")


def show_older(world: World, image: Path) -> None:
    """The whole mirror is older than the pinned state."""
    world.pin()
    image.unlink()
    world.squash(OLDER)


def answer(path: str, hook: Any) -> Change:
    def change(world: World, file: Path) -> None:
        world.site.hooks[f"/{path.format(file=file.name)}"] = hook

    return change


def signed_by(which: str, at: str = "") -> Change:
    def change(world: World, file: Path) -> None:
        signer = getattr(world.keys, which)
        if file.suffix == ".sqfs":
            world.sums(signer, at)
        else:
            world.sign(file, signer, at)

    return change


def no_image(world: World, image: Path) -> None:
    image.write_bytes(b"no squashfs at all" * 1000)
    world.sums(world.keys.good)


def a_device(world: World, image: Path) -> None:
    world.squash(TODAY, pseudo="profiles/disk b 666 0 0 8 0")


def nothing_listed(world: World, image: Path) -> None:
    image.rename(image.with_name("current.sqfs"))
    world.sums(world.keys.good)


def another_day(world: World, image: Path) -> None:
    world.write(f'squashfs = "{world.site.url}/squashfs"\ndate = "20200101"', verify=True)


SQUASHFS: dict[str, tuple[Change, str]] = {
    "an altered list": (alter_sums, "bad-signature"),
    "a list with a line after it": (add_to_sums, "unsigned-text"),
    "a list that is not signed": (unsigned_sums, "no-signature"),
    "a list signed by another key": (signed_by("other"), "unknown-signer"),
    "a list signed by an expired key": (signed_by("expired", "20200201T000000"), "expired-key"),
    "an altered image": (altered, "digest-mismatch"),
    "half an image": (shorten, "digest-mismatch"),
    "an image that is always cut": (answer("squashfs/{file}", cut_after(0, times=99)), "fetch-cut"),
    "an older image under a newer name": (rename_older, "replayed"),
    "a mirror that went back": (show_older, "replayed"),
    "no list": (without_sums, "not-found"),
    "no image": (absent, "not-found"),
    "a page instead of the list": (answer("squashfs/sha512sum.txt", HTML), "not-a-file"),
    "a page instead of the image": (answer("squashfs/{file}", HTML), "not-a-file"),
    "an address on this machine": (answer("squashfs/{file}", redirect("file:///etc/passwd")), "bad-redirect"),
    "a server that fails": (answer("squashfs/sha512sum.txt", status(500)), "fetch-failed"),
    "no image of that day": (another_day, "not-found"),
    "a list of other things": (nothing_listed, "bad-listing"),
    "what is signed is no image": (no_image, "bad-archive"),
    "an image with a device in it": (a_device, "unsafe-archive"),
}


@pytest.mark.parametrize("case", SQUASHFS)
def test_squashfs_is_refused(world: World, case: str) -> None:
    change, reason = SQUASHFS[case]
    world.write(f'squashfs = "{world.site.url}/squashfs"', verify=True)
    change(world, world.squash(TODAY))
    refused(world, reason, world.trees())


def signature(tarball: Path) -> Path:
    return Path(f"{tarball}.gpgsig")


def no_signature(world: World, tarball: Path) -> None:
    signature(tarball).rename(f"{tarball}.md5sum")


def empty_signature(world: World, tarball: Path) -> None:
    signature(tarball).write_bytes(b"nothing at all")


def older_tarball(world: World, tarball: Path) -> None:
    world.sign(tarball, world.keys.good, at=f"{OLDER}T120000")


def hostile(world: World, tarball: Path) -> None:
    words = ["tar", "--create", "--xz", f"--file={tarball}", "--transform", "s,^,../../,", "--absolute-names"]
    subprocess.run([*words, "-C", str(world.git.folder), "profiles"], check=True)
    world.sign(tarball, world.keys.good)


def no_tarball(world: World, tarball: Path) -> None:
    tarball.unlink()
    signature(tarball).unlink()


TARBALLS: dict[str, tuple[Change, str]] = {
    "altered": (altered, "bad-signature"),
    "half of it": (shorten, "bad-signature"),
    "a signature that is none": (empty_signature, "no-signature"),
    "no signature": (no_signature, "no-signature"),
    "signed by another key": (signed_by("other"), "unknown-signer"),
    "signed by an expired key": (signed_by("expired", "20200201T000000"), "expired-key"),
    "an older one under a newer name": (older_tarball, "replayed"),
    "always cut": (answer("snapshots/{file}", cut_after(0, times=99)), "fetch-cut"),
    "none of the last days": (no_tarball, "not-found"),
    "the signature alone": (absent, "not-found"),
    "a page": (answer("snapshots/{file}", HTML), "not-a-file"),
    "names that lead out": (hostile, "unsafe-archive"),
}


@pytest.mark.parametrize("case", TARBALLS)
def test_tarball_is_refused(world: World, case: str) -> None:
    change, reason = TARBALLS[case]
    world.write(f'snapshot = "{world.site.url}/snapshots"', verify=True)
    change(world, world.tar(TODAY))
    refused(world, reason, world.trees())


# Manifests


def with_manifests(world: World, signer: Signer) -> None:
    """Cover the git repository by a signed Manifest, as in Gentoo's repository."""
    (world.git.folder / "Manifest").touch()
    words = ["--hashes", "BLAKE2B SHA512", "--sign", "--openpgp-id", signer.fingerprint, "--profile", "default"]
    subprocess.run(
        [sys.executable, "-m", "gemato", "create", *words, "."],
        cwd=world.git.folder,
        env={**os.environ, "GNUPGHOME": str(signer.home)},
        check=True,
        capture_output=True,
    )


def ask_for_manifests(world: World) -> None:
    keys = f"keyring = 'keys.asc'\nkeys = ['{world.keys.good.fingerprint}']"
    world.write(f'git = "{world.git.url}"\nmanifests = true', keys)


def rot(world: World) -> None:
    flip(world.git.folder / "app-misc/one/one-1.ebuild")


def intruder(world: World) -> None:
    (world.git.folder / "app-misc/one/one-2.ebuild").write_text("EAPI=8\n", encoding="utf-8")


MANIFESTS: dict[str, tuple[str, Callable[[World], None] | None, str]] = {
    "an altered file": ("good", rot, "digest-mismatch"),
    "a file that is not listed": ("good", intruder, "digest-mismatch"),
    "signed by another key": ("other", None, "bad-signature"),
}


def test_manifests_are_verified_on_request(world: World) -> None:
    with_manifests(world, world.keys.good)
    world.git.commit("with Manifests")
    ask_for_manifests(world)
    pin = world.pin()
    world.write(f'git = "{world.git.url}"')
    assert world.pin()["request"] != pin["request"]  # to ask for it later has it done


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifests_are_refused(world: World, case: str) -> None:
    who, change, reason = MANIFESTS[case]
    with_manifests(world, getattr(world.keys, who))
    if change:
        change(world)
    world.git.commit("with Manifests")
    ask_for_manifests(world)
    with pytest.raises(StagewrightError) as caught:
        world.pin()
    assert caught.value.reason == reason, caught.value
    assert "[repos" not in world.lock


def test_no_manifest_at_all(world: World) -> None:
    ask_for_manifests(world)
    with pytest.raises(StagewrightError) as caught:
        world.pin()
    assert caught.value.reason == "no-signature", caught.value


# what builds do with pins


def test_a_build_with_a_stale_lock_says_so(world: World) -> None:
    world.git("branch", "next")
    world.write(f'git = "{world.git.url}"')
    world.pin()
    world.write(f'git = "{world.git.url}"\nref = "next"')
    told: list[Event] = []
    session = world.session(told.append)
    with pytest.raises(StagewrightError) as caught:
        session.resolve_pins(locked=True)
    assert caught.value.reason == "lock-stale" and "repository world" in caught.value.message
    assert not told
    assert [change.target.name for change in session.resolve_pins()] == ["world"]
    assert [event.node for event in told if isinstance(event, NodeNotice)] == ["repo:world"]
    assert session.project.pinned_tree("world")
    assert session.resolve_pins(locked=True) == []


def test_a_tree_that_was_thrown_away_is_brought_back_by_its_pin(world: World) -> None:
    """The branch has moved; the fetched tree is checked against the pin."""
    world.write(f'git = "{world.git.url}"')
    pin = world.pin()
    world.git.change("later")
    (tree,) = world.trees()
    shutil.rmtree(world.shelf)
    project = world.session().project
    fetch_repositories(Workspace(project, world.folder / "store"), ["world"])
    assert world.trees() == [tree]
    assert project.known_trees() == {tree: pin["tree"]}


def test_the_name_of_a_repository_is_checked_in_its_tree(world: World) -> None:
    world.git.write({"profiles/repo_name": "mars\n", "metadata/layout.conf": "masters = gentoo\n"})
    world.git.commit("another name")
    world.write(f'git = "{world.git.url}"')
    with pytest.raises(ProblemsError) as caught:
        world.pin()
    assert {problem.reason for problem in caught.value.problems} == {"invalid-value", "unknown-name"}
    assert all(problem.place and problem.hint for problem in caught.value.problems)


def test_a_lock_that_names_another_tree(world: World) -> None:
    world.write(f'git = "{world.git.url}"')
    pin = world.pin()
    lock = world.project / "stagewright.lock"
    lock.write_text(world.lock.replace(pin["tree"], f"git-tree:{'0' * 40}"), encoding="utf-8")
    workspace = Workspace(world.session().project, world.folder / "store")
    with pytest.raises(StagewrightError) as caught:
        fetch_repositories(workspace, ["world"])
    assert caught.value.reason == "digest-mismatch"
    assert "stagewright fetch" in caught.value.hint
