"""The cache of package indexes and packages: only content with the right digest is lent."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from stagewright.seeds.apt_cache import AptCache, Archive, archives_of, digests_in

PACKAGES = b"Package: hello\nVersion: 1.0\n"
PREFIX = "deb.example_debian_dists_stable"
INDEX = f"{PREFIX}_main_binary-amd64_Packages"


def release(packages: bytes = PACKAGES, before: str = "") -> bytes:
    """Return an InRelease file, without a valid signature."""
    digest = hashlib.sha256(packages).hexdigest()
    lines = [
        "Suite: stable",
        "SHA256:",
        f" {digest} {len(packages)} main/binary-amd64/Packages",
        "Acquire-By-Hash: yes",
    ]
    text = "\n".join(["-----BEGIN PGP SIGNED MESSAGE-----", "Hash: SHA256", "", *lines])
    return f"{before}{text}\n-----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n".encode()


def lists(folder: Path, packages: bytes = PACKAGES, signed: bytes | None = None) -> Path:
    """Write a folder of indexes as apt has them."""
    folder.mkdir()
    (folder / f"{PREFIX}_InRelease").write_bytes(release() if signed is None else signed)
    (folder / INDEX).write_bytes(packages)
    (folder / "lock").touch()
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> AptCache:
    """Return an empty cache."""
    found = AptCache.of(tmp_path / "cache", ["deb http://deb.example/debian stable main"], "", "amd64")
    assert found
    return found


def lent(cache: AptCache, folder: Path) -> dict[str, bytes]:
    cache.lend_indexes(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_indexes_are_lent_with_the_time_of_their_release(cache: AptCache, tmp_path: Path) -> None:
    assert lent(cache, tmp_path / "none") == {}
    source = lists(tmp_path / "lists")
    os.utime(source / f"{PREFIX}_InRelease", (1000, 1000))
    cache.keep_indexes(source)
    assert lent(cache, tmp_path / "lent") == {f"{PREFIX}_InRelease": release(), INDEX: PACKAGES}
    assert (tmp_path / "lent" / f"{PREFIX}_InRelease").stat().st_mtime == 1000  # apt asks for newer ones


def test_a_release_of_the_future_is_not_lent(cache: AptCache, tmp_path: Path) -> None:
    cache.keep_indexes(lists(tmp_path / "lists"))
    os.utime(cache.indexes / f"{PREFIX}_InRelease", (time.time() + 3600,) * 2)
    assert lent(cache, tmp_path / "lent") == {}


def test_a_release_of_the_future_is_not_kept(cache: AptCache, tmp_path: Path) -> None:
    source = lists(tmp_path / "lists")
    os.utime(source / f"{PREFIX}_InRelease", (time.time() + 3600,) * 2)
    cache.keep_indexes(source)
    assert [path.name for path in cache.indexes.iterdir()] == ["updated"]


def test_an_altered_index_is_not_lent(cache: AptCache, tmp_path: Path) -> None:
    cache.keep_indexes(lists(tmp_path / "lists"))
    (cache.indexes / INDEX).write_bytes(PACKAGES.replace(b"1.0", b"6.6"))
    assert lent(cache, tmp_path / "lent") == {f"{PREFIX}_InRelease": release()}


@pytest.mark.parametrize(
    "signed",
    [
        b"",
        b"SHA256:\n",
        release(b"x", before=release().decode()),
        release(before="SHA256:\n"),
        release().replace(b"Suite: stable", b"-----BEGIN PGP SIGNATURE-----"),
        release().replace(b"\n\n", b"\nSHA256:\n " + b"a" * 64 + b" 1 main/binary-amd64/Packages\n\n", 1),
        release().replace(b"SHA256:\n", b"sha256:\n " + b"a" * 64 + b" 1 x\nSHA256:\n"),
        release().replace(b"SHA256:\n", b"\nSHA256:\n"),
        release().replace(b"SHA256:\n", b"SHA256:\n " + b"a" * 64 + b" 1 main/binary-amd64/Packages\n"),
    ],
)
def test_digests_outside_of_the_signed_text_do_not_count(cache: AptCache, tmp_path: Path, signed: bytes) -> None:
    assert digests_in(signed) == {}
    cache.keep_indexes(lists(tmp_path / "lists", signed=signed))
    assert lent(cache, tmp_path / "lent") == {}


def test_only_the_sha256_section_is_read() -> None:
    other = release().replace(b"SHA256:\n", b"SHA512:\n " + b"a" * 64 + b" 1 other\nSHA256:\n")
    assert digests_in(other) == {"main/binary-amd64/Packages": hashlib.sha256(PACKAGES).hexdigest()}


def test_links_and_pipes_are_not_followed(cache: AptCache, tmp_path: Path) -> None:
    cache.keep_indexes(lists(tmp_path / "lists"))
    (tmp_path / "secret").write_bytes(PACKAGES)
    (cache.indexes / INDEX).unlink()
    (cache.indexes / INDEX).symlink_to(tmp_path / "secret")
    os.mkfifo(cache.indexes / f"{PREFIX}_main_binary-all_Packages")
    assert lent(cache, tmp_path / "lent") == {f"{PREFIX}_InRelease": release()}


def test_new_indexes_replace_old_ones(cache: AptCache, tmp_path: Path) -> None:
    cache.keep_indexes(lists(tmp_path / "lists"))
    (cache.indexes / "other").touch()
    new = PACKAGES + b"\n"
    cache.keep_indexes(lists(tmp_path / "new", packages=new, signed=release(new)))
    assert lent(cache, tmp_path / "lent") == {f"{PREFIX}_InRelease": release(new), INDEX: new}
    assert len(list(cache.indexes.glob("*_*"))) == 2
    assert not (cache.indexes / "other").exists()
    assert not list(cache.folder.glob(".new*"))


def test_indexes_are_fresh_for_a_minute(cache: AptCache, tmp_path: Path) -> None:
    assert not cache.is_fresh
    cache.keep_indexes(lists(tmp_path / "lists"))
    assert cache.is_fresh
    os.utime(cache.indexes / "updated", (time.time() - 61,) * 2)
    assert not cache.is_fresh
    os.utime(cache.indexes / "updated", (time.time() + 3600,) * 2)
    assert not cache.is_fresh
    assert list(lent(cache, tmp_path / "lent")) != ["updated"]


def package(text: bytes) -> Archive:
    return Archive("hello_1%3a1.0_amd64.deb", len(text), hashlib.sha256(text).hexdigest())


def test_a_package_is_kept_and_lent_by_its_digest(cache: AptCache, tmp_path: Path) -> None:
    one = package(b"deb")
    (tmp_path / "fetched").mkdir()
    (tmp_path / "fetched" / one.name).write_bytes(b"deb")
    assert cache.lend_packages([one], tmp_path / "before") == [one]
    cache.keep_packages([one, package(b"not fetched")], tmp_path / "fetched")
    assert cache.known() == [one.path]
    assert cache.lend_packages([one], tmp_path / "after") == []
    assert (tmp_path / "after" / one.name).read_bytes() == b"deb"
    assert (tmp_path / "after" / one.name).stat().st_ino != (cache.packages / one.path).stat().st_ino  # a copy


def test_an_altered_package_is_removed_and_not_lent(cache: AptCache, tmp_path: Path) -> None:
    one = package(b"deb")
    (cache.packages / one.digest).mkdir(parents=True)
    (cache.packages / one.path).write_bytes(b"bad")
    assert cache.lend_packages([one], tmp_path / "lent") == [one]
    assert list((tmp_path / "lent").iterdir()) == []
    assert cache.known() == []


def test_a_fetched_file_with_another_digest_is_not_kept(cache: AptCache, tmp_path: Path) -> None:
    one = package(b"deb")
    (tmp_path / "fetched").mkdir()
    (tmp_path / "fetched" / one.name).write_bytes(b"bad")
    cache.keep_packages([one], tmp_path / "fetched")
    assert cache.known() == []


def test_the_second_seed_waits_for_the_first(cache: AptCache) -> None:
    order: list[str] = []

    def second() -> None:
        with cache.fetching():
            order.append("second")

    thread = threading.Thread(target=second)
    with cache.fetching():
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_seed_that_waits_says_so(cache: AptCache) -> None:
    reports: list[bool] = []
    with cache.fetching(reports.append):
        assert reports == []

    def second() -> None:
        with cache.fetching(reports.append):
            reports.append(True)

    thread = threading.Thread(target=second)
    with cache.fetching():
        thread.start()
        time.sleep(0.3)
        assert reports == [True]
    thread.join()
    assert reports == [True, False, True]


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        ('Acquire::AllowInsecureRepositories "0";\nAcquire::AllowWeakRepositories "";', True),
        ('Acquire::AllowInsecureRepositories "1";', False),
        ('Acquire::AllowDowngradeToInsecureRepositories "true";', False),
        ('Acquire::Retries "3";', True),
    ],
)
def test_nothing_is_shared_if_apt_accepts_indexes_without_a_signature(
    tmp_path: Path, options: str, shared: bool
) -> None:
    assert (AptCache.of(tmp_path, [], options, "amd64") is not None) == shared


def test_other_sources_and_architectures_have_their_own_indexes(tmp_path: Path) -> None:
    names = {
        found.sources
        for lines in (["deb http://a stable main"], ["deb http://b stable main"])
        for architecture in ("amd64", "arm64")
        if (found := AptCache.of(tmp_path, lines, "", architecture))
    }
    assert len(names) == 4


def test_packages_without_a_sha256_are_left_out() -> None:
    digest = "a" * 64
    listing = (
        f"'http://deb.example/pool/h/hello_1.0_all.deb' hello_1.0_all.deb 123 SHA256:{digest}\n"
        f"'http://deb.example/x' x_1_all.deb 1 MD5Sum:abc\n'http://deb.example/y' ../y.deb 1 SHA256:{digest}\n"
    )
    assert archives_of(listing) == [Archive("hello_1.0_all.deb", 123, digest)]
