"""Two seeds with the same package sources: a signed archive on a local server, which notes what is fetched."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path

import pytest
from fake_workers import eventually

from stagewright.arch import host_machine
from stagewright.errors import Reason, StagewrightError
from stagewright.run import run
from stagewright.seeds.apt_cache import AptCache
from stagewright.seeds.mmdebstrap import Bootstrap, DebianRequest

pytestmark = [pytest.mark.real, pytest.mark.slow]


class _Server(http.server.SimpleHTTPRequestHandler):
    def __init__(self, sent: list[str], *args: object, **named: object) -> None:
        self.sent = sent
        super().__init__(*args, **named)  # type: ignore[arg-type]

    def log_request(self, code: object = "-", size: object = "-") -> None:
        self.sent.append(f"{int(code)} {self.path.rpartition('/')[2]}")  # type: ignore[call-overload]


class Archive:
    """A signed archive with one package, and the requests to its server."""

    def __init__(self, folder: Path) -> None:
        """Make a key and the package."""
        self.folder, self.key, self.sent = folder / "archive", folder / "key.gpg", list[str]()
        self.home = folder / "gnupg"
        self.home.mkdir(mode=0o700)
        self._gpg("--passphrase", "", "--quick-generate-key", "test", "rsa2048", "sign", "never")
        self._gpg("--output", str(self.key), "--export")
        self.key.chmod(0o644)
        self.port = 0
        self.publish()

    def _gpg(self, *words: str) -> None:
        run(["gpg", "--homedir", self.home, "--batch", "--yes", "--quiet", *words])

    def publish(self, version: str = "1.0") -> None:
        """Publish a version of the package."""
        arch = host_machine().arch.port.name
        control = self.folder.parent / f"hello-{version}" / "DEBIAN" / "control"
        control.parent.mkdir(parents=True)
        text = f"Package: hello\nVersion: {version}\nArchitecture: {arch}\nMaintainer: x <x@x>\nDescription: x\n"
        control.write_text(text, encoding="utf-8")
        pool, dists = self.folder / "pool", self.folder / f"dists/stable/main/binary-{arch}"
        pool.mkdir(parents=True, exist_ok=True)
        dists.mkdir(parents=True, exist_ok=True)
        deb = pool / f"hello_{version}_{arch}.deb"
        run(["dpkg-deb", "--root-owner-group", "--build", control.parent.parent, deb])
        data = deb.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        packages = f"{text}Filename: pool/{deb.name}\nSize: {len(data)}\nSHA256: {digest}\n\n".encode()
        (dists / "Packages").write_bytes(packages)
        lines = [
            *("Origin: Test", "Suite: stable", "Codename: stable", "Date: Fri, 20 Nov 2026 00:00:00 UTC"),
            *(f"Architectures: {arch}", "Components: main", "SHA256:"),
            f" {hashlib.sha256(packages).hexdigest()} {len(packages)} main/binary-{arch}/Packages",
        ]
        release = self.folder / "dists/stable/Release"
        release.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._gpg("--output", str(release.with_name("InRelease")), "--clearsign", str(release))
        release.unlink()

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve the archive."""
        with http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(_Server, self.sent, directory=str(self.folder))
        ) as server:
            self.port = server.server_address[1]
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield
            server.shutdown()

    def fetch(self, folder: Path, version: str = "1.0") -> list[str]:
        """Fetch the package for a new seed. Return what the server sent."""
        self.sent.clear()
        runs = self.runs(folder)
        runs.fetch([f"hello={version}"], io.StringIO())
        lent = folder / "packages"
        assert [path.name.split("_")[1] for path in lent.iterdir()] == [version]
        return sorted(line for line in self.sent if line.startswith("200"))

    def runs(self, folder: Path) -> Bootstrap:
        """Return the runs of mmdebstrap for a new seed."""
        folder.mkdir()
        request = DebianRequest("stable", (), "", host_machine().arch)
        settings = f'Test::Key "{self.key}";\n'  # the sandbox shows the files that settings name
        lines = [f"deb [signed-by={self.key}] http://127.0.0.1:{self.port}/ stable main"]
        return Bootstrap(request, folder, settings, lines, self.cache(lines))

    def cache(self, lines: list[str]) -> AptCache:
        """Return the cache that all seeds share."""
        return AptCache(self.folder.parent / "cache", hashlib.sha256(lines[0].encode()).hexdigest())

    @property
    def indexes(self) -> Path:
        """The folder of the only indexes in the cache."""
        (found,) = (self.folder.parent / "cache/indexes").iterdir()
        return found


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """Return an archive whose server runs."""
    monkeypatch.setenv("STAGEWRIGHT_AS_HOST_ROOT", "1")
    found = Archive(tmp_path)
    with found.served():
        yield found


DEB = f"hello_1.0_{host_machine().arch.port.name}.deb"


def test_the_second_seed_fetches_neither_indexes_nor_packages(archive: Archive, tmp_path: Path) -> None:
    assert archive.fetch(tmp_path / "one") == ["200 InRelease", "200 Packages", f"200 {DEB}"]
    assert archive.fetch(tmp_path / "two") == []
    assert "304 InRelease" in archive.sent


def test_a_seed_reports_that_it_waits_for_another_one(archive: Archive, tmp_path: Path) -> None:
    reports: list[bool] = []
    runs = replace(archive.runs(tmp_path / "one"), waiting=reports.append)
    assert runs.cache
    thread = threading.Thread(target=runs.fetch, args=(["hello=1.0"], io.StringIO()))
    with runs.cache.fetching():
        thread.start()
        eventually(lambda: reports == [True])
    thread.join()
    assert reports == [True, False]


def test_a_new_version_is_fetched(archive: Archive, tmp_path: Path) -> None:
    archive.fetch(tmp_path / "one")
    archive.publish("2.0")
    later = time.time() + 10  # HTTP has seconds
    os.utime(archive.folder / "dists/stable/InRelease", (later, later))
    assert [line.split()[1][:7] for line in archive.fetch(tmp_path / "two", "2.0")] == ["InRelea", "Package", "hello_2"]


def test_an_altered_package_of_the_cache_is_fetched_again(archive: Archive, tmp_path: Path) -> None:
    archive.fetch(tmp_path / "one")
    (deb,) = (tmp_path / "cache/packages").glob("*/*.deb")
    good = deb.read_bytes()
    deb.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))  # of the same size: apt would take it
    assert archive.fetch(tmp_path / "two") == [f"200 {DEB}"]
    assert (tmp_path / "two/packages" / DEB).read_bytes() == good


def test_indexes_with_a_wrong_signature_are_fetched_again(archive: Archive, tmp_path: Path) -> None:
    """Packages and Release fit together here, and the server says that the Release file is unchanged."""
    archive.fetch(tmp_path / "one")
    (release,) = archive.indexes.glob("*_InRelease")
    (packages,) = archive.indexes.glob("*_Packages")
    (deb,) = (tmp_path / "cache/packages").glob("*/*.deb")
    hostile = b"hostile"
    changed = packages.read_bytes().replace(deb.parent.name.encode(), hashlib.sha256(hostile).hexdigest().encode())
    times = release.stat().st_atime, release.stat().st_mtime
    old, new = (hashlib.sha256(data).hexdigest().encode() for data in (packages.read_bytes(), changed))
    release.write_bytes(release.read_bytes().replace(old, new))
    os.utime(release, times)
    packages.write_bytes(changed)
    other = tmp_path / "cache/packages" / hashlib.sha256(hostile).hexdigest() / DEB
    other.parent.mkdir()
    other.write_bytes(hostile)
    assert {"200 InRelease", "200 Packages"} <= set(archive.fetch(tmp_path / "two"))
    assert (tmp_path / "two/packages" / DEB).read_bytes() == deb.read_bytes()
    assert release.read_bytes() == (archive.folder / "dists/stable/InRelease").read_bytes()


@pytest.mark.parametrize(
    ("attack", "age", "misled"),
    [("header", 0, False), ("header", -1000, True), ("two lines", 0, True), ("two lines", -1000, True)],
)
def test_indexes_that_apt_reads_in_another_way_are_not_believed(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str, age: int, *, misled: bool
) -> None:
    """Lines that the signature does not cover, and two digests of a path: apt takes the first, so it takes the index.

    ``age`` is the time of the lent Release file: the server says that it is unchanged, or sends its own. ``misled``:
    the indexes are lent because another parser than ours reads the file.
    """
    archive.fetch(tmp_path / "one")
    (release,) = archive.indexes.glob("*_InRelease")
    (packages,) = archive.indexes.glob("*_Packages")
    (deb,) = (tmp_path / "cache/packages").glob("*/*.deb")
    hostile, good, modified = b"hostile", release.read_bytes(), release.stat().st_mtime
    digest = hashlib.sha256(hostile).hexdigest()
    packages.write_bytes(packages.read_bytes().replace(deb.parent.name.encode(), digest.encode()))
    (line,) = (one for one in good.splitlines(keepends=True) if one.endswith(b"/Packages\n"))
    evil = line.replace(line.split()[0], hashlib.sha256(packages.read_bytes()).hexdigest().encode())
    if attack == "header":
        release.write_bytes(good.replace(b"\n\n", b"\nSHA256:\n" + evil + b"\n", 1))
    else:
        release.write_bytes(good.replace(line, line + evil))
    os.utime(release, (modified + age, modified + age))
    other = tmp_path / "cache/packages" / digest / DEB
    other.parent.mkdir()
    other.write_bytes(hostile)
    if misled:
        monkeypatch.setattr("stagewright.seeds.apt_cache.digests_in", _careless)
    archive.fetch(tmp_path / "two")
    assert (tmp_path / "two/packages" / DEB).read_bytes() == deb.read_bytes() != hostile


def _careless(release: bytes) -> dict[str, str]:
    """Return the digests of the first list of a file, and of two digests of a path the last."""
    lines = release.decode().split("\nSHA256:\n")[1].splitlines()
    found = (line.split() for line in takewhile(lambda line: line.startswith(" "), lines))
    return {path: digest for digest, _, path in found}


def test_a_version_that_the_sources_do_not_have_is_reported(archive: Archive, tmp_path: Path) -> None:
    runs = archive.runs(tmp_path / "one")
    with pytest.raises(StagewrightError) as caught:
        runs.fetch(["hello=3.0"], io.StringIO())
    assert caught.value.reason is Reason.COMMAND_FAILED
    assert runs.candidates() == ["hello=1.0"]
