"""Listings of tarballs: times are clamped when written, and all entries can be read back."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.release.artifact_digests import DigestedFile
from stagewright.release.listing import read_contents, write_contents
from stagewright.release.tree import TreeEntry

EPOCH = 1795132800

LISTING = rb"""drwxr-xr-x  0/0               0 2026-11-20 00:00 ./
-rwsr-xr-t* 1000/100      12345 2026-11-20 00:01 ./a file
-rw-r--r--+ 0/0               1 12026-11-20 00:01 ./far
-rw-r--r--. 0/0               1 1960-05-05 10:00 ./old
-rw-r--r--  3000000/4294967294 1 -5-01-01 10:00 ./before
hrwsr-xr-t  1000/100          0 2026-11-20 00:01 ./b link to c link to ./a file
lrwxrwxrwx  0/0               0 2026-11-20 00:00 ./link -> ../a b
crw-------  0/0             1,3 2026-11-20 00:00 ./null
brw-------  0/0         259,1048575 2026-11-20 00:00 ./disk
prw-r--r--  0/0               0 2026-11-20 00:00 ./pipe
-rw-r--r--  0/0               0 2026-11-20 00:00 ./new\nline \377\\ \303\244
"""


def written(listing: bytes, target: Path, sizes: list[int] | None = None) -> bytes:
    with DigestedFile(target) as file:
        write_contents(io.BytesIO(listing), file, EPOCH, (sizes if sizes is not None else []).append)
    return gzip.decompress(target.read_bytes())


def test_times_are_clamped(tmp_path: Path) -> None:
    sizes: list[int] = []
    text = written(LISTING, tmp_path / "it.gz", sizes)
    dates = [line.split()[3].decode() for line in text.splitlines()]
    assert dates == ["2026-11-20"] * 3 + ["1960-05-05", "-5-01-01"] + ["2026-11-20"] * 6
    assert b"00:01" not in text
    assert sizes[:4] == [0, 16384, 4096, 4096] and sum(sizes) == 16384 + 3 * 4096


def test_equal_listings_have_equal_bytes(tmp_path: Path) -> None:
    written(LISTING, tmp_path / "one.gz")
    written(LISTING, tmp_path / "two.gz")
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_all_kinds_of_entries_are_read(tmp_path: Path) -> None:
    written(LISTING, tmp_path / "it.gz")
    tree = read_contents(tmp_path / "it.gz")
    suid = TreeEntry("-rwsr-xr-t", "1000/100", 12345)
    assert tree.entries == {
        "/": TreeEntry("drwxr-xr-x", "0/0", 0),
        "/a file": suid,
        "/far": TreeEntry("-rw-r--r--", "0/0", 1),
        "/old": TreeEntry("-rw-r--r--", "0/0", 1),
        "/before": TreeEntry("-rw-r--r--", "3000000/4294967294", 1),
        "/b link to c": suid,
        "/link": TreeEntry("lrwxrwxrwx", "0/0", 0, "../a b"),
        "/null": TreeEntry("crw-------", "0/0", 0, "1,3"),
        "/disk": TreeEntry("brw-------", "0/0", 0, "259,1048575"),
        "/pipe": TreeEntry("prw-r--r--", "0/0", 0),
        "/new\nline \udcff\\ ä": TreeEntry("-rw-r--r--", "0/0", 0),
    }
    assert tree.size == 12345 + 3, "a hard link weighs nothing"


@pytest.mark.parametrize(
    "data",
    [
        b"no gzip",
        gzip.compress(b"no listing\n", mtime=0),
        gzip.compress(b"hrw-r--r--  0/0  0 2026-11-20 00:00 ./a link to ./gone\n", mtime=0),
        gzip.compress(LISTING, mtime=0)[:-20],
    ],
    ids=["no gzip", "no listing", "a hard link to nothing", "cut off"],
)
def test_a_file_other_than_a_listing_is_reported(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "it.gz").write_bytes(data)
    with pytest.raises(StagewrightError) as caught:
        read_contents(tmp_path / "it.gz")
    assert caught.value.reason is Reason.BAD_ARCHIVE
