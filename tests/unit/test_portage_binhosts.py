"""Binary packages of other machines: the configuration of their hosts, and the cache of their packages."""

from __future__ import annotations

import configparser
import hashlib
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from gpkgs import put

from stagewright.errors import Reason, StagewrightError
from stagewright.portage.binhosts import Binhosts, Host, binrepos_conf
from stagewright.portage.emerge_output import EmergeOutput
from stagewright.portage.gpkg import SUFFIX
from stagewright.root.lent import LentFolder
from stagewright.root.root import Root
from stagewright.store.collect import unused_packages
from stagewright.store.store import Store
from stagewright.untrusted import TEXT_LIMIT

PACKAGE = "app-misc/hello/hello-1.0-1.gpkg.tar"

INDEX = f"""\
PACKAGES: 2
TIMESTAMP: 1

BUILD_ID: 1
CPV: app-misc/hello-1.0
PATH: {PACKAGE}

CPV: app-misc/other-1
PATH: app-misc/other/other-1-1.gpkg.tar
"""


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def lent(folder: Path) -> LentFolder:
    """A folder that a build writes to."""
    found = LentFolder(folder)
    found.own.folder.mkdir(parents=True)
    return found


def downloaded(host: Host, *, content: bytes = b"image") -> Path:
    """Download hello, as emerge does it in the root."""
    return put(host.files.own.folder, "app-misc/hello-1.0", "hello", content=content)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    keys = write(tmp_path / "keys.asc", "key")
    return Host(
        "main", "https://example.org:81/a/b/", 7, keys, tmp_path / "cache/binhosts", lent(tmp_path / "work/main")
    )


@pytest.fixture
def hosts(host: Host, tmp_path: Path) -> Binhosts:
    return Binhosts([host], tmp_path / "etc-portage", tmp_path / "work")


def indexed(hosts: Binhosts, text: str = INDEX) -> None:
    write(hosts.folder / "index/example.org/a/b/Packages", text)


def no_root(tmp_path: Path) -> Root:
    """Return a root that does not exist: a test that runs a command in it fails."""
    return Root(tmp_path / "none", tmp_path / "none")


def test_binrepos_conf(host: Host) -> None:
    other = replace(host, name="other", uri="http://x/%20y", priority=0, keys=None)
    parser = configparser.ConfigParser()
    parser.read_string(binrepos_conf([host, other], frozen=True))
    assert dict(parser["main"]) == {
        "sync-uri": "https://example.org:81/a/b/",
        "priority": "7",
        "location": "/var/cache/binhost/main",
        "verify-signature": "yes",
        "frozen": "yes",
    }
    assert parser["other"]["sync-uri"] == "http://x/%20y"
    assert parser["other"]["verify-signature"] == "no"
    parser.read_string(binrepos_conf([host], frozen=False))
    assert parser["main"]["frozen"] == "no"


def test_only_the_fetch_step_can_write_and_sees_live_hosts(hosts: Binhosts) -> None:
    assert [(bind.target, bind.writable) for bind in hosts.binds()] == [
        ("/var/cache/binhost/main", False),
        ("/var/cache/edb/binhost", True),
    ]
    assert [(bind.target, bind.writable) for bind in hosts.fetch_binds()] == [
        ("/var/cache/binhost/main", True),
        ("/etc/portage/binrepos.conf", False),
    ]


def test_packages_are_cached_by_host_and_keys(host: Host, tmp_path: Path) -> None:
    host = replace(host, keys=None, origin="inputs")
    fetched = downloaded(host)
    write(fetched.with_name("other.gpkg.tar.partial"))
    assert host.files.written(SUFFIX) == [PACKAGE]
    host.cache_new([PACKAGE])
    assert not host.files.written(SUFFIX)
    second = replace(host, files=lent(tmp_path / "second"))
    second.lend_cached()
    assert [path for path in second.files.lent.rglob("*") if path.is_file()] == [second.files.lent / PACKAGE]
    assert (second.files.lent / PACKAGE).samefile(host.cache / PACKAGE) and not fetched.samefile(host.cache / PACKAGE)
    others = [
        replace(host, uri="https://example.net"),
        replace(host, keys=write(tmp_path / "other.asc", "other key")),
        replace(host, origin="other inputs"),
    ]
    for number, other in enumerate(others):
        stranger = replace(other, files=lent(tmp_path / f"stranger{number}"))
        stranger.lend_cached()
        assert not stranger.files.lent.exists()


def test_a_newer_package_of_the_host_replaces_the_cached_one(host: Host, tmp_path: Path) -> None:
    host = replace(host, keys=None)
    downloaded(host, content=b"old")
    host.cache_new([PACKAGE])
    old = (host.cache / PACKAGE).read_bytes()
    second = replace(host, files=lent(tmp_path / "second"))
    second.lend_cached()
    fetched = downloaded(second, content=b"new")
    second.cache_new([PACKAGE])
    assert (host.cache / PACKAGE).read_bytes() == fetched.read_bytes() != old
    assert [path.read_bytes() for path in second.files.files(SUFFIX)] == [fetched.read_bytes()]
    assert [path.read_bytes() for path in host.files.files(SUFFIX)] == [old], "the package of another build must stay"


def test_stagewright_itself_refuses_a_package_without_a_signature(host: Host, tmp_path: Path) -> None:
    """A hostile root could let Portage say that all is well."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "Host <h@example.org>", "ed25519", "sign"], check=True)
    public = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True, text=True).stdout
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
    host = replace(host, keys=write(tmp_path / "real.asc", public))
    downloaded(host)
    with pytest.raises(StagewrightError) as caught:
        host.cache_new([PACKAGE])
    assert caught.value.reason is Reason.NO_SIGNATURE and PACKAGE in caught.value.message
    assert not host.cache.exists()


def test_a_host_without_an_index_is_reported(hosts: Binhosts, tmp_path: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        hosts.check(no_root(tmp_path), {"main": "Connection refused"})
    assert caught.value.reason is Reason.FETCH_FAILED
    assert "https://example.org:81/a/b/" in caught.value.detail and "Connection refused" in caught.value.detail
    indexed(hosts)
    hosts.check(no_root(tmp_path), {})
    hosts.prepare_fetch()
    with pytest.raises(StagewrightError):  # an index of an earlier fetch step does not count
        hosts.check(no_root(tmp_path), {})


HOSTILE = """PACKAGES: 99999999999999999999999999
TIMESTAMP: -1

CPV: ../../etc/passwd
PATH: ../../../etc/passwd
SIZE: -5

CPV: a/b-1
PATH: /etc/passwd
SIZE: 9999999999999999999999999999999999999999

PATH: without/a/name
CPV:
\x1b]52;c;x\x07: y

CPV: app-misc/hello-1
PATH: app-misc/hello/hello-1-1.gpkg.tar
SIZE: nine
"""


def test_an_index_names_packages_and_nothing_else(hosts: Binhosts, host: Host, tmp_path: Path) -> None:
    """Sizes and paths in it are only words: files are taken from the folder of the host, and Portage verifies them."""
    indexed(hosts, HOSTILE)
    assert hosts._index(host)["app-misc/hello/hello-1-1.gpkg.tar"] == "app-misc/hello-1"
    assert hosts.used(tmp_path) == {}


def test_an_index_that_is_too_large_is_reported(hosts: Binhosts, host: Host, tmp_path: Path) -> None:
    indexed(hosts)
    (file,) = (tmp_path / "work/index").rglob("Packages")
    os.truncate(file, TEXT_LIMIT + 1)
    with pytest.raises(StagewrightError) as caught:
        hosts._index(host)
    assert caught.value.reason is Reason.BAD_LISTING


def test_without_keys_packages_are_cached_unverified(hosts: Binhosts, host: Host, tmp_path: Path) -> None:
    trusting = replace(hosts, hosts=[replace(host, keys=None)])
    indexed(trusting)
    downloaded(host)
    trusting.check(no_root(tmp_path), {})
    assert (trusting.hosts[0].cache / PACKAGE).exists()


def test_the_installed_packages_of_a_host(hosts: Binhosts, host: Host, tmp_path: Path) -> None:
    assert hosts.used(tmp_path / "tree") == {}, "a stage that has installed nothing"
    write(host.files.lent / PACKAGE, "hello")
    write(host.files.kept / "app-misc/other/other-1-1.gpkg.tar", "other")
    records = tmp_path / "tree/var/db/pkg/app-misc"
    write(records / "hello-1.0/BINPKGMD5", hashlib.md5(b"hello").hexdigest() + "\n")
    write(records / "other-1/BINPKGMD5", hashlib.md5(b"built here").hexdigest() + "\n")
    assert hosts.used(tmp_path / "tree") == {"main": {"uri": host.uri, "packages": ["app-misc/hello-1.0"]}}


def test_garbage_collection_keeps_recently_used_packages(tmp_path: Path, hosts: Binhosts, host: Host) -> None:
    store = Store(tmp_path)
    host = replace(host, caches=store.cache("binhosts"))
    for path in (PACKAGE, "app-misc/other/other-1-1.gpkg.tar"):
        write(host.cache / path)
        os.utime((host.cache / path).parent, (time.time() - 50 * 86400,) * 2)
    host.mark_used([PACKAGE])
    assert [garbage.path.name for garbage in unused_packages(store, 30)] == ["other"]


def test_two_hosts_that_differ_only_in_the_port_are_rejected(hosts: Binhosts, host: Host) -> None:
    replace(hosts, hosts=[host, replace(host, name="b", uri="https://example.org:81/c")])._check_indexes()
    with pytest.raises(StagewrightError) as caught:
        replace(hosts, hosts=[host, replace(host, name="b", uri="https://example.org:82/a/b")])._check_indexes()
    assert caught.value.reason is Reason.INVALID_VALUE and caught.value.hint


SAID = """
!!! [main] Error fetching binhost package info from 'http://127.0.0.1:9/x'
!!! [main] <urlopen error [Errno 111] Connection refused>
"""

CHANGED = """
!!! Digest verification failed:
!!! /var/cache/binhost/main/app-misc/hello/hello-1.0-2.gpkg.tar.partial
!!! Reason: Failed on MD5 verification
"""


def test_errors_of_hosts_are_read_from_the_output_of_emerge() -> None:
    output = EmergeOutput()
    for line in [*SAID.splitlines(), *["something else"] * 2000]:
        output.read(line)
    assert output.hosts == {"main": "<urlopen error [Errno 111] Connection refused>"}


def test_a_package_that_does_not_match_the_index_is_reported() -> None:
    output = EmergeOutput()
    for line in CHANGED.splitlines():
        output.read(line)
    error = output.failure(fetching=True)
    assert error.reason is Reason.DIGEST_MISMATCH
    assert "app-misc/hello/hello-1.0-2.gpkg.tar from binhost main" in error.message
