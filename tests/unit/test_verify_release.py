"""Releases that were tampered with are refused, each with its reason; a good one is verified from disk and the web."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from integration.signing import Minisigner, Signer
from integration.web import Handler, body, cut_after, serve, status
from signed_releases import COUNT, DATE, DAY, ORIGINS, PROVENANCE, Keys, sign, write_release

from stagewright.cli.main import run
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.release.pointer import Pointer
from stagewright.release.release_files import FolderFiles
from stagewright.release.release_folder import (
    LISTS,
    Description,
    is_plain_path,
    read_sums,
    sizes_of,
    write_lists,
    write_text,
)
from stagewright.release.seen import SeenReleases, version_order
from stagewright.release.verify_provenance import Origin
from stagewright.release.verify_release import ReleaseVerifier, TrustedKeys, verify_place


@dataclass(frozen=True)
class Bench:
    """Good releases: version 1.0 and 2.0 of ``live``, 2.0 of ``server``; and keys for them."""

    root: Path
    keys: Keys
    others: dict[str, Signer]
    trust: TrustedKeys

    def copy(self, target: Path) -> Path:
        return shutil.copytree(self.root / "live", target)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("releases")
    keys = Keys(Signer.make(root / "gpg", at="20190101T000000"), Minisigner.make(root / "minisign"))
    others = {name: Signer.make(root / f"gpg-{name}") for name in ("other", "revoked")}
    others["expired"] = Signer.make(root / "gpg-expired", expires="1d", at="20200101T000000")
    write_release(root / "old", "1.0", keys, date=DATE - DAY)
    write_release(root / "live", "2.0", keys)
    shutil.copytree(root / "old" / "1.0", root / "live" / "1.0")
    write_release(root / "server", "2.0", keys, "server")
    (root / "revoked.asc").write_bytes(others["revoked"].detached((root / "live/2.0/SHA256SUMS").read_bytes()))
    others["revoked"].revoke()
    known = [keys.openpgp, others["expired"], others["revoked"]]
    files = [one.public(root / f"key-{number}.asc") for number, one in enumerate(known)]
    yield Bench(root, keys, others, TrustedKeys(files, (), (keys.minisign.key,)))
    for one in (keys.openpgp, *others.values()):
        one.close()


@dataclass(frozen=True)
class Attack:
    """A copy of the good release that is tampered with."""

    bench: Bench
    at: Path

    def change(self, name: str, how: Callable[[bytes], bytes]) -> None:
        path = self.at / name
        path.write_bytes(how(path.read_bytes()))

    def flip(self, name: str, part: float = 0.5) -> None:
        """Change a byte, at a part of the file."""

        def flipped(data: bytes) -> bytes:
            place = int(len(data) * part)
            return data[:place] + (b"B" if data[place : place + 1] != b"B" else b"C") + data[place + 1 :]

        self.change(name, flipped)

    def remove(self, name: str) -> None:
        (self.at / name).unlink()

    def take(self, source: str, target: str) -> None:
        shutil.copy(self.bench.root / source, self.at / target)

    def pointer(
        self, change: Callable[[Pointer], Pointer], signer: Signer | None = None, *words: str, at: str = ""
    ) -> None:
        """Replace the pointer by a changed one, signed with all keys or with another OpenPGP key."""
        path = self.at / "latest-live.txt"
        text = (self.bench.root / "live" / "latest-live.txt").read_text(encoding="utf-8")
        plain = text.partition("\n\n")[2].partition("-----BEGIN PGP SIGNATURE")[0]
        new = change(Pointer.parse(plain, "latest-live.txt")).text().encode()
        path.write_bytes((signer or self.bench.keys.openpgp).clearsign(new, at=at))
        self.bench.keys.minisign.sign(path)

    @staticmethod
    def lists() -> list[str]:
        return [f"SHA256SUMS{suffix}" for suffix in ("", ".asc", ".minisig")]

    def list_signed_by(self, signer: Signer, *words: str) -> None:
        content = (self.at / "2.0/SHA256SUMS").read_bytes()
        (self.at / "2.0/SHA256SUMS.asc").write_bytes(signer.detached(content, *words))


def same(pointer: Pointer) -> Pointer:
    return pointer


def link_to_copy(attack: Attack) -> None:
    attack.take("live/2.0/demo.iso", "copy")
    attack.remove("2.0/demo.iso")
    (attack.at / "2.0/demo.iso").symlink_to(attack.at / "copy")


def exchange(attack: Attack) -> None:
    attack.take("live/2.0/pxe/boot.ipxe", "2.0/pxe/boot/gentoo")
    attack.take("live/2.0/pxe/boot/gentoo", "2.0/pxe/boot.ipxe")


def old_folder(attack: Attack) -> None:
    shutil.rmtree(attack.at / "2.0")
    (attack.at / "1.0").rename(attack.at / "2.0")


def replay(attack: Attack) -> None:
    SeenReleases(attack.at.parent / "state.json").remember(Pointer("demo/live", "3.0", DATE + DAY, "0" * 64))


def by_minisign(attack: Attack) -> None:
    other = Minisigner.make(attack.at.parent / "another")
    other.sign(attack.at / "2.0/SHA256SUMS")


def upload_cut(attack: Attack) -> None:
    (attack.at / "2.0").rename(attack.at / ".2.0.partial")


def other_release(attack: Attack) -> None:
    attack.take("server/latest-server.txt", "latest-live.txt")
    attack.take("server/latest-server.txt.minisig", "latest-live.txt.minisig")


def expired_signature(attack: Attack) -> None:
    signer = attack.bench.keys.openpgp
    content = (attack.at / "2.0/SHA256SUMS").read_bytes()
    words = ("--default-sig-expire", "1d", "--ignore-time-conflict")
    (attack.at / "2.0/SHA256SUMS.asc").write_bytes(signer.detached(content, *words, at="20200101T000000"))


def other_provenance(change: Callable[[Any], Any], path: str = PROVENANCE["pxe"]) -> Callable[[Attack], None]:
    """A statement that the publisher has signed with the release, but that was changed."""

    def attack(attack: Attack) -> None:
        folder = attack.at / "2.0"
        statement = json.loads((folder / path).read_text(encoding="utf-8"))
        change(statement)
        (folder / path).write_text(json.dumps(statement), encoding="utf-8")
        description = Description.parse((folder / "release.json").read_bytes())
        for name in [path.name for path in folder.iterdir() if path.name.startswith((*LISTS, "release.json"))]:
            (folder / name).unlink()
        description = replace(description, files=sizes_of(folder))
        write_text(folder / "release.json", description.text(), DATE)
        sums = write_lists(folder, DATE)
        attack.pointer(lambda pointer: replace(pointer, sums=sums))
        sign(attack.at, "2.0", attack.at / "latest-live.txt", attack.bench.keys, pointer_too=False)

    return attack


def other_build(statement: Any) -> None:
    statement["predicate"]["runDetails"]["metadata"]["invocationId"] = "ef" * 32


def other_commit(statement: Any) -> None:
    statement["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"]["gitCommit"] = "d" * 40


ATTACKS: dict[str, tuple[Callable[[Attack], object], Reason]] = {
    "a byte of an image": (lambda a: a.flip("2.0/demo.iso"), Reason.DIGEST_MISMATCH),
    "a byte of a file in a folder": (lambda a: a.flip("2.0/pxe/boot/gentoo"), Reason.DIGEST_MISMATCH),
    "a cut image": (lambda a: a.change("2.0/demo.iso", lambda data: data[:-1]), Reason.WRONG_LENGTH),
    "an empty image": (lambda a: a.change("2.0/demo.iso", lambda data: b""), Reason.WRONG_LENGTH),
    "a longer image": (lambda a: a.change("2.0/demo.iso", lambda data: data + b"x"), Reason.WRONG_LENGTH),
    "a missing image": (lambda a: a.remove("2.0/demo.iso"), Reason.NOT_FOUND),
    "a missing file of a folder": (lambda a: a.remove("2.0/pxe/boot.ipxe"), Reason.NOT_FOUND),
    "an extra file": (lambda a: a.take("live/2.0/demo.iso", "2.0/more.iso"), Reason.EXTRA_FILE),
    "an extra hidden file": (lambda a: a.take("live/2.0/demo.iso", "2.0/pxe/.hidden"), Reason.EXTRA_FILE),
    "an extra link": (lambda a: (a.at / "2.0/link").symlink_to("demo.iso"), Reason.EXTRA_FILE),
    "a link in place of an image": (link_to_copy, Reason.NOT_FOUND),
    "two files exchanged": (exchange, Reason.WRONG_LENGTH),
    "an image of an older version": (lambda a: a.take("old/1.0/demo.iso", "2.0/demo.iso"), Reason.DIGEST_MISMATCH),
    "a byte of the description": (lambda a: a.flip("2.0/release.json"), Reason.DIGEST_MISMATCH),
    "the description of an older version": (
        lambda a: a.take("old/1.0/release.json", "2.0/release.json"),
        Reason.DIGEST_MISMATCH,
    ),
    "a missing description": (lambda a: a.remove("2.0/release.json"), Reason.NOT_FOUND),
    "a byte of SHA256SUMS": (lambda a: a.flip("2.0/SHA256SUMS"), Reason.BAD_SIGNATURE),
    "a byte of DIGESTS": (lambda a: a.flip("2.0/DIGESTS"), Reason.BAD_SIGNATURE),
    "a missing SHA256SUMS": (lambda a: a.remove("2.0/SHA256SUMS"), Reason.NOT_FOUND),
    "a missing DIGESTS": (lambda a: a.remove("2.0/DIGESTS"), Reason.NOT_FOUND),
    "a missing signature": (lambda a: a.remove("2.0/SHA256SUMS.asc"), Reason.NO_SIGNATURE),
    "a missing signature by minisign": (lambda a: a.remove("2.0/DIGESTS.minisig"), Reason.NO_SIGNATURE),
    "a cut signature": (lambda a: a.change("2.0/SHA256SUMS.asc", lambda data: data[:60]), Reason.NO_SIGNATURE),
    "a signature of another file": (
        lambda a: a.take("live/2.0/DIGESTS.asc", "2.0/SHA256SUMS.asc"),
        Reason.BAD_SIGNATURE,
    ),
    "a byte of a signature by minisign": (lambda a: a.flip("2.0/SHA256SUMS.minisig", 0.4), Reason.BAD_SIGNATURE),
    "a comment of a signature by minisign": (
        lambda a: a.change("2.0/DIGESTS.minisig", lambda data: data.replace(b"comment: test", b"comment: best")),
        Reason.BAD_SIGNATURE,
    ),
    "another key": (lambda a: a.list_signed_by(a.bench.others["other"]), Reason.UNKNOWN_SIGNER),
    "another key of minisign": (by_minisign, Reason.UNKNOWN_SIGNER),
    "an expired key": (lambda a: a.pointer(same, a.bench.others["expired"], at="20200101T120000"), Reason.EXPIRED_KEY),
    "a revoked key": (lambda a: a.take("revoked.asc", "2.0/SHA256SUMS.asc"), Reason.REVOKED_KEY),
    "an expired signature": (expired_signature, Reason.EXPIRED_SIGNATURE),
    "a weak digest": (lambda a: a.list_signed_by(a.bench.keys.openpgp, "--digest-algo", "SHA1"), Reason.WEAK_DIGEST),
    "a byte of the pointer": (
        lambda a: a.change("latest-live.txt", lambda data: data.replace(b"version=2.0", b"version=1.0")),
        Reason.BAD_SIGNATURE,
    ),
    "a pointer without its signature": (lambda a: a.remove("latest-live.txt.minisig"), Reason.NO_SIGNATURE),
    "an old pointer replayed": (replay, Reason.REPLAYED),
    "a pointer that is no longer valid": (
        lambda a: a.pointer(lambda pointer: replace(pointer, expires=DATE + DAY)),
        Reason.OUTDATED,
    ),
    "the pointer of another release": (other_release, Reason.WRONG_NAME),
    "a pointer to another version": (
        lambda a: a.pointer(lambda pointer: replace(pointer, version="1.0")),
        Reason.DIGEST_MISMATCH,
    ),
    "the folder of an older version": (old_folder, Reason.DIGEST_MISMATCH),
    "provenance of other files": (
        other_provenance(lambda found: found["subject"][0]["digest"].update(sha256="0" * 64)),
        Reason.DIGEST_MISMATCH,
    ),
    "provenance that lacks a file": (other_provenance(lambda found: found["subject"].pop()), Reason.DIGEST_MISMATCH),
    "provenance of another build": (other_provenance(other_build), Reason.DIGEST_MISMATCH),
    "provenance of another commit": (other_provenance(other_commit), Reason.DIGEST_MISMATCH),
    "another document as provenance": (other_provenance(lambda found: found.pop("_type")), Reason.FORMAT),
    "an upload that was cut": (upload_cut, Reason.NOT_FOUND),
}


def refused(place: str, trust: TrustedKeys, state: Path) -> list[Reason]:
    """The reasons for which a release is refused."""
    try:
        verify_place(place, trust, SeenReleases(state))
    except ProblemsError as error:
        return [problem.reason for problem in error.problems]
    except StagewrightError as error:
        return [error.reason]
    return []


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_a_release_that_was_tampered_with_is_refused_with_its_reason(bench: Bench, tmp_path: Path, name: str) -> None:
    attack = Attack(bench, bench.copy(tmp_path / "live"))
    how, reason = ATTACKS[name]
    how(attack)
    found = refused(str(attack.at), bench.trust, tmp_path / "state.json")
    assert set(found) == {reason}


def test_there_are_at_least_thirty_attacks() -> None:
    assert len(ATTACKS) >= 30


def test_a_good_release_is_verified_and_remembered(bench: Bench, tmp_path: Path) -> None:
    state = SeenReleases(tmp_path / "state" / "seen.json")
    (found,) = verify_place(str(bench.root / "live"), bench.trust, state)
    assert (found.release, found.version, found.date, found.files) == ("demo/live", "2.0", DATE, COUNT)
    assert ORIGINS.source and found.origin == Origin("c" * 40, ORIGINS.source.url, changed=False, lock=ORIGINS.lock)
    assert found.signers == (bench.keys.minisign.key, bench.keys.openpgp.fingerprint)
    assert verify_place(str(bench.root / "live" / "2.0"), bench.trust, state)[0].version == "2.0"
    assert refused(str(bench.root / "old"), bench.trust, state.file) == [Reason.REPLAYED]
    assert verify_place(str(bench.root / "old" / "1.0"), bench.trust, state)[0].version == "1.0", "named by the user"


def test_a_folder_of_another_version_is_refused(bench: Bench, tmp_path: Path) -> None:
    attack = Attack(bench, bench.copy(tmp_path / "live"))
    old_folder(attack)
    assert refused(str(attack.at / "2.0"), bench.trust, tmp_path / "state") == [Reason.WRONG_NAME]


def test_the_key_of_a_release_is_used_with_a_trusted_fingerprint_only(bench: Bench, tmp_path: Path) -> None:
    place = str(bench.root / "live")
    by_fingerprint = TrustedKeys(fingerprints=[bench.keys.openpgp.fingerprint])
    assert refused(place, by_fingerprint, tmp_path / "state") == []
    assert refused(place, TrustedKeys(fingerprints=["AB" * 20]), tmp_path / "state") == [Reason.NO_KEYS]


@pytest.mark.slow
def test_a_release_is_verified_over_http(bench: Bench, tmp_path: Path) -> None:
    with serve(bench.copy(tmp_path / "live")) as site:
        (tmp_path / "live/latest").symlink_to("2.0")
        for path in ("latest-live.txt", "2.0", "2.0/", "latest", "latest/"):
            (found,) = verify_place(f"{site.url}/{path}", bench.trust, SeenReleases(tmp_path / "state"))
            assert (found.version, found.listed) == ("2.0", False)
        for hook, reason in (
            (status(404), Reason.NOT_FOUND),
            (status(500), Reason.FETCH_FAILED),
            (cut_after(3), Reason.FETCH_CUT),
            (body(b"x" * 1000), Reason.WRONG_LENGTH),
        ):
            site.hooks["/2.0/demo.iso"] = hook
            assert refused(f"{site.url}/latest-live.txt", bench.trust, tmp_path / "state") == [reason]


@pytest.mark.slow
def test_the_release_at_an_address_stays_the_same(bench: Bench, tmp_path: Path) -> None:
    """The same key signs the releases of several projects."""
    state = tmp_path / "state.json"
    with serve(bench.copy(tmp_path / "live")) as site:
        place = f"{site.url}/latest-live.txt"
        assert refused(place, bench.trust, state) == []
        state.write_text(state.read_text(encoding="utf-8").replace("demo/live", "evil/live"), encoding="utf-8")
        assert refused(place, bench.trust, state) == [Reason.WRONG_NAME]


def test_another_release_than_the_wanted_one_is_refused(bench: Bench) -> None:
    place = str(bench.root / "live")
    assert verify_place(place, bench.trust, None, "demo/live")
    with pytest.raises(StagewrightError) as caught:
        verify_place(place, bench.trust, None, "other/live")
    assert caught.value.reason is Reason.WRONG_NAME


@pytest.mark.slow
def test_a_pointer_that_is_just_replaced_is_read_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagewright.release.verify_release.PAUSE", 0.0)
    other = (bench.root / "old/latest-live.txt.minisig").read_bytes()
    with serve(bench.copy(tmp_path / "live")) as site:

        def once(handler: Handler, content: bytes) -> None:
            site.hooks.clear()
            handler.answer(200, other)

        path, place = "/latest-live.txt.minisig", f"{site.url}/latest-live.txt"
        site.hooks[path] = once
        assert refused(place, bench.trust, tmp_path / "state") == []
        site.hooks[path] = body(other)
        assert refused(place, bench.trust, tmp_path / "state") == [Reason.BAD_SIGNATURE]


@pytest.mark.slow
def test_the_link_to_the_newest_version_leads_to_it(bench: Bench, tmp_path: Path) -> None:
    (bench.copy(tmp_path / "live") / "latest").symlink_to("1.0")
    with serve(tmp_path / "live") as site:
        assert refused(f"{site.url}/latest/", bench.trust, tmp_path / "state") == [Reason.DIGEST_MISMATCH]


def test_the_command(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, state = str(bench.root / "live"), str(tmp_path / "state")
    key = str(bench.trust.files[0])
    assert run(["verify", place]) == Reason.USAGE.exit
    assert "no keys" in capsys.readouterr().err
    assert run(["verify", "--key", key, "--minisign", bench.keys.minisign.key, "--state", state, place]) == 0
    said = capsys.readouterr().out
    assert f"demo/live 2.0 of 2024-10-04: {COUNT} files" in said
    assert f"commit {'c' * 40} of https://example.org/demo.git\n" in said and f"SHA256 is {ORIGINS.lock}" in said
    copy = bench.copy(tmp_path / "live")
    (copy / "2.0/demo.iso").unlink()
    assert run(["verify", "--json", "--unsigned", str(copy / "2.0")]) == Reason.NOT_FOUND.exit
    assert [one["reason"] for one in json.loads(capsys.readouterr().out)["problems"]] == ["not-found"]
    assert run(["verify", "--key", key, "iso"]) == Reason.USAGE.exit
    assert run(["verify", "--store", place]) == Reason.USAGE.exit


@pytest.mark.parametrize("path", ["", "/etc", "../x", "a/../b", "a//b", "./a", "a\nb", "a\\b", "a" * 2000])
def test_a_path_that_leads_out_of_the_folder_is_refused(path: str) -> None:
    assert not is_plain_path(path)
    with pytest.raises(StagewrightError) as caught:
        read_sums(f"{'0' * 64}  {path}\n")
    assert caught.value.reason is Reason.BAD_LISTING


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 2}', "null", "[" * 100_000])
def test_other_texts_are_refused_as_a_description(text: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        Description.parse(text)
    assert caught.value.reason is Reason.FORMAT


def test_versions_are_sorted_by_their_numbers() -> None:
    versions = ["1.0", "1.10", "1.9", "20260101", "1.0-rc1", "1"]
    assert sorted(versions, key=version_order) == ["1", "1.0", "1.0-rc1", "1.9", "1.10", "20260101"]


MANIFEST = "demo.iso.manifest.json"
READ: dict[str, tuple[Callable[[Attack], object], Reason | None]] = {
    "as it is": (lambda attack: None, None),
    "an outdated pointer": (lambda attack: attack.pointer(lambda old: replace(old, expires=DATE)), None),
    "a changed file": (lambda attack: attack.flip(f"2.0/{MANIFEST}"), Reason.DIGEST_MISMATCH),
    "a missing file": (lambda attack: attack.remove(f"2.0/{MANIFEST}"), Reason.NOT_FOUND),
    "a changed list": (lambda attack: attack.flip("2.0/SHA256SUMS"), Reason.BAD_SIGNATURE),
    "the list of another version": (
        lambda attack: [attack.take(f"old/1.0/{name}", f"2.0/{name}") for name in attack.lists()],
        Reason.DIGEST_MISMATCH,
    ),
    "another signer": (lambda attack: attack.pointer(same, attack.bench.others["other"]), Reason.UNKNOWN_SIGNER),
}


@pytest.mark.parametrize("name", READ)
def test_one_file_of_the_newest_version_is_read_after_its_signatures(name: str, bench: Bench, tmp_path: Path) -> None:
    attack = Attack(bench, bench.copy(tmp_path / "live"))
    change, reason = READ[name]
    change(attack)
    verifier = ReleaseVerifier(FolderFiles(attack.at), bench.trust)
    if reason is None:
        pointer, data = verifier.read_newest("latest-live.txt", MANIFEST, 1000)
        assert (pointer.version, data) == ("2.0", (bench.root / "live/2.0" / MANIFEST).read_bytes())
        return
    with pytest.raises(StagewrightError) as raised:
        verifier.read_newest("latest-live.txt", MANIFEST, 1000)
    assert raised.value.reason is reason


@pytest.mark.parametrize("kind", ["update-feed", "pxeboot"])
def test_only_a_feed_of_updates_has_a_signature_that_no_list_names(bench: Bench, tmp_path: Path, kind: str) -> None:
    folder = write_release(tmp_path / "live", "2.0", bench.keys, kind=kind)
    (folder / "2.0/pxe/SHA256SUMS.gpg").write_bytes(b"a signature")
    if kind == "update-feed":
        assert verify_place(str(folder / "2.0"), bench.trust, None)
        return
    with pytest.raises(ProblemsError) as error:
        verify_place(str(folder / "2.0"), bench.trust, None)
    assert [problem.reason for problem in error.value.problems] == [Reason.EXTRA_FILE]
