"""Reading binary packages that others wrote, and signing packages outside of roots."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from gpkgs import package, tar_of

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.openpgp import keyring
from stagewright.portage import gpkg
from stagewright.portage.index import with_digests
from stagewright.portage.sign_packages import PackageSigner


def test_a_package_is_read_whatever_its_compression(tmp_path: Path) -> None:
    plain = gpkg.read(written(tmp_path / "a-1-1.gpkg.tar", package("x/a-1")))
    assert (plain.basename, plain.is_signed) == ("a-1-1", False)
    assert plain.metadata(tmp_path) == {"CATEGORY": b"x", "PF": b"a-1", "BUILD_ID": b"1"}
    data = b"".join(plain.chunks(plain.member("metadata")))
    for suffix, command in gpkg.COMPRESSORS.items():
        packed = (
            subprocess.run([*command, "-c"], input=data, check=True, capture_output=True).stdout if command else data
        )
        found = gpkg.read(written(tmp_path / f"a{suffix}", remade({f"metadata{suffix}": packed, "image.tar": b""})))
        assert found.metadata(tmp_path)["PF"] == b"a-1"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("tmp")) == []


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def remade(members: dict[str, bytes], **more: bytes) -> bytes:
    members = {"gpkg-1": b"", **members}
    manifest = "".join(gpkg.record(name, len(data), gpkg.digests_of(iter([data]))) for name, data in members.items())
    return tar_of({f"a-1-1/{name}": data for name, data in {**members, "Manifest": manifest.encode(), **more}.items()})


def headers(*, type_: bytes = tarfile.REGTYPE, size: int = 0, name: str = "a-1-1/gpkg-1") -> bytes:
    """A tar archive whose only header says something wrong."""
    info = tarfile.TarInfo(name)
    info.type, info.size = type_, size
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def sparse() -> bytes:
    """The header of a GNU sparse file, whose list of parts goes on after the end of the archive."""
    info = tarfile.TarInfo("a-1-1/gpkg-1")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def folders(count: int) -> bytes:
    info = tarfile.TarInfo("a-1-1")
    info.type = tarfile.DIRTYPE
    return info.tobuf(tarfile.GNU_FORMAT) * count + bytes(1024)


GOOD = {"metadata.tar": tar_of({"metadata/PF": b"a"}), "image.tar": b""}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"fake\n",
        bytes(10240),
        headers(type_=tarfile.SYMTYPE),
        headers(type_=tarfile.FIFOTYPE),
        headers(size=1 << 40),
        headers(size=-512),
        headers(type_=tarfile.XHDTYPE, size=1 << 30),
        headers(name="../gpkg-1"),
        sparse(),
        folders(10_000),
        b"".join(headers(type_=tarfile.XHDTYPE)[:512] for _ in range(5000)),
        remade({**GOOD, "image.tar\ndetach 0 0 9 x": b""}),
        tar_of({f"a/{number}": b"" for number in range(100)}),
        tar_of({"a/gpkg-1": b"", "b/Manifest": b""}),
        remade({"metadata.tar": GOOD["metadata.tar"]}),
        remade(GOOD, **{"image.tar": b"other"}),
        remade(GOOD, **{"extra": b""}),
        remade({**GOOD, "sub/file": b""}),
        remade(GOOD, Manifest=b"DATA gpkg-1 0 SHA512\n"),
        remade(GOOD, Manifest=b"DATA gpkg-1 0 MD5 d41d8cd98f00b204e9800998ecf8427e\n"),
        remade(GOOD, Manifest=b"\xff\xfe"),
    ],
)
def test_anything_but_a_package_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(StagewrightError) as caught:
        gpkg.read(written(tmp_path / "p", data))
    assert caught.value.reason is Reason.BAD_ARCHIVE


def test_metadata_that_is_large_after_decompression_is_refused(tmp_path: Path) -> None:
    bomb = subprocess.run(["zstd", "-qc"], input=bytes(80 << 20), check=True, capture_output=True).stdout
    found = gpkg.read(written(tmp_path / "p", remade({"metadata.tar.zst": bomb, "image.tar": b""})))
    with pytest.raises(StagewrightError) as caught:
        found.metadata(tmp_path)
    assert caught.value.reason is Reason.BAD_ARCHIVE and "too large" in caught.value.message


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A fingerprint, and the file with the secret key."""
    folder = tmp_path_factory.mktemp("keys")
    home = folder / "home"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "Host <h@example.org>", "ed25519", "sign"], check=True)
    secret = subprocess.run([*gpg, "--armor", "--export-secret-keys"], check=True, capture_output=True).stdout
    listing = subprocess.run([*gpg, "--with-colons", "--list-keys"], check=True, capture_output=True, text=True).stdout
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
    (folder / "secret").write_bytes(secret)
    return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:")), folder / "secret"


def test_packages_are_signed_and_the_index_follows(keys: tuple[str, Path], tmp_path: Path) -> None:
    key, secret = keys
    folder = tmp_path / "published"
    (folder / "x/a").mkdir(parents=True)
    file = written(folder / "x/a/a-1-1.gpkg.tar", package("x/a-1"))
    linked = tmp_path / "layer"
    linked.hardlink_to(file)
    signer = PackageSigner(key, secret, None, tmp_path / "signing", 12345)
    public = written(tmp_path / "public", signer.sign([file]).encode())
    assert linked.read_bytes() == package("x/a-1"), "the package of the layer stays"
    found = gpkg.read(file)
    names = [member.name for member in found.members]
    assert names == ["gpkg-1", "metadata.tar", "metadata.tar.sig", "image.tar", "image.tar.sig", "Manifest"]
    assert found.is_signed and found.metadata(tmp_path)["PF"] == b"a-1"
    manifest = written(tmp_path / "manifest", gpkg.manifest_of(file))
    with keyring([public], [key]) as trusted:
        gpkg.read(file, manifest=trusted.clearsigned(manifest).text)
        for member in found.members[1:4:2]:
            content = written(tmp_path / "content", b"".join(found.chunks(member)))
            (sig,) = (one for one in found.members if one.name == f"{member.name}.sig")
            trusted.verify(written(tmp_path / "sig", b"".join(found.chunks(sig))), content)
    with tarfile.open(file) as archive:
        assert {info.mtime for info in archive} == {12345}
    index = with_digests("PACKAGES: 1\n\nCPV: x/a-1\nMD5: 0\nPATH: x/a/a-1-1.gpkg.tar\nSIZE: 1\n\n", folder)
    assert f"SIZE: {file.stat().st_size}\n" in index and "MD5: 0\n" not in index
    with pytest.raises(StagewrightError):
        with_digests("PACKAGES: 0\n\n", folder)


def test_a_signature_of_a_member_that_is_not_good_is_an_error(
    keys: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(self: PackageSigner, requests: Iterable[str]) -> None:
        run(self, requests)
        for path in (tmp_path / "signing/out").glob("*.image.tar"):
            shutil.copy(path.with_name("0.metadata.tar"), path)

    run = PackageSigner._run
    monkeypatch.setattr(PackageSigner, "_run", damaged)
    file = written(tmp_path / "a-1-1.gpkg.tar", package("x/a-1"))
    with pytest.raises(StagewrightError) as caught:
        PackageSigner(keys[0], keys[1], None, tmp_path / "signing", 0).sign([file])
    assert caught.value.reason is Reason.BAD_SIGNATURE and "image.tar of a-1-1.gpkg.tar" in caught.value.message


def test_a_missing_key_is_reported(keys: tuple[str, Path], tmp_path: Path) -> None:
    file = written(tmp_path / "a-1-1.gpkg.tar", package("x/a-1"))
    with pytest.raises(StagewrightError) as caught:
        PackageSigner("0" * 40, keys[1], None, tmp_path / "signing", 0).sign([file])
    assert caught.value.reason is Reason.INVALID_VALUE and "holds no secret key" in caught.value.message
    assert caught.value.hint and file.read_bytes() == package("x/a-1")


def test_a_reader_of_headers_refuses_large_ones() -> None:
    with pytest.raises(tarfile.ReadError):
        gpkg._Headers(io.BytesIO(bytes(1 << 20))).read(1 << 20)
