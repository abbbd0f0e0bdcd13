"""Digests equal those of the usual tools and have the format of Gentoo's release builder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from stagewright.release.artifact_digests import DigestedFile, digest_artifact, write_digests


@pytest.mark.parametrize("pieces", [[], [b""], [b"a"], [b"a" * 5, b"b" * (1 << 21), b"", b"c" * 20_000]])
def test_a_file_is_digested_while_it_is_written(pieces: list[bytes], tmp_path: Path) -> None:
    with DigestedFile(tmp_path / "it") as file:
        for piece in pieces:
            file.write(piece)
    whole = b"".join(pieces)
    assert (tmp_path / "it").read_bytes() == whole
    assert file.digests == digest_artifact(tmp_path / "it")
    assert file.digests.size == len(whole)
    assert file.digests.digests == {
        name: hashlib.new(name, whole).hexdigest() for name in ("blake2b", "sha512", "sha256")
    }


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "it").write_text("kept", encoding="utf-8")
    with pytest.raises(FileExistsError):
        DigestedFile(tmp_path / "it")
    assert (tmp_path / "it").read_text(encoding="utf-8") == "kept"


def test_the_files_with_digests(tmp_path: Path) -> None:
    for name in ("it.iso", "it.iso.CONTENTS.gz"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    main, contents = (digest_artifact(tmp_path / name) for name in ("it.iso", "it.iso.CONTENTS.gz"))
    write_digests(tmp_path / "it.iso", [main, contents])
    assert (tmp_path / "it.iso.DIGESTS").read_text(encoding="utf-8").splitlines() == [
        "# BLAKE2B HASH",
        f"{main.digests['blake2b']}  it.iso",
        "# SHA512 HASH",
        f"{main.digests['sha512']}  it.iso",
        "# BLAKE2B HASH",
        f"{contents.digests['blake2b']}  it.iso.CONTENTS.gz",
        "# SHA512 HASH",
        f"{contents.digests['sha512']}  it.iso.CONTENTS.gz",
    ]
    assert (tmp_path / "it.iso.sha256").read_text(
        encoding="utf-8"
    ) == f"# SHA256 HASH\n{main.digests['sha256']}  it.iso\n"


def test_an_existing_file_has_the_digests_that_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(range(256)) * 5000)
    found = digest_artifact(path, ("sha512", "sha256"))
    assert found.size == path.stat().st_size
    assert found.digests == {name: hashlib.new(name, path.read_bytes()).hexdigest() for name in ("sha512", "sha256")}
