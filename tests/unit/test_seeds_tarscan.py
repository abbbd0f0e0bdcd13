"""Limits of archives: members are counted in every format, whatever the size of the pieces of the stream."""

from __future__ import annotations

import io
import tarfile

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.seeds.tarscan import Bounds, TarScan

LARGE = Bounds(10_000, 1 << 30)
FORMATS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def archive(names: list[str], kind: int = tarfile.PAX_FORMAT, size: int = 700) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(b"\0" * size))
    return stream.getvalue()


def scan(data: bytes, bounds: Bounds = LARGE, step: int = 1 << 20) -> TarScan:
    found = TarScan("it", bounds)
    for start in range(0, len(data), step):
        found.feed(data[start : start + step])
    return found


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("step", [1, 511, 512, 513, 10_000, 1 << 20])
def test_members_and_sizes_are_counted(kind: str, step: int) -> None:
    names = [f"usr/{number}" for number in range(20)]
    if kind != "ustar":
        names.append("usr/" + "long/" * 60 + "name")
    found = scan(archive(names, FORMATS[kind]), step=step)
    assert (found.members, found.size) == (len(names), 700 * len(names))


@pytest.mark.parametrize("kind", ["pax", "gnu"])
def test_sizes_in_base_256_are_counted(kind: str) -> None:
    info = tarfile.TarInfo("usr/large")
    info.size = 20 << 30
    with pytest.raises(StagewrightError) as caught:
        scan(info.tobuf(FORMATS[kind]), Bounds(10, 19 << 30))
    assert caught.value.reason is Reason.ARCHIVE_TOO_LARGE


def test_an_archive_above_the_limits_is_rejected() -> None:
    data = archive([f"usr/{number}" for number in range(50)])
    scan(data, Bounds(50, 50 * 700))
    for bounds in (Bounds(49, 50 * 700), Bounds(50, 50 * 700 - 1)):
        with pytest.raises(StagewrightError) as caught:
            scan(data, bounds)
        assert caught.value.reason is Reason.ARCHIVE_TOO_LARGE
        assert "limits" in caught.value.hint


def test_an_endless_stream_is_rejected() -> None:
    """Zeros after the end of the archive count too."""
    found = scan(archive(["usr/x"]), Bounds(10, 10_000))
    with pytest.raises(StagewrightError) as caught:
        for _ in range(100):
            found.feed(bytes(1 << 20))
    assert caught.value.reason is Reason.ARCHIVE_TOO_LARGE


@pytest.mark.parametrize("name", ["/etc/x", "../x", "usr/../../x", "usr/.."])
@pytest.mark.parametrize("kind", FORMATS)
def test_names_outside_of_the_root_are_rejected(name: str, kind: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        scan(archive([name], FORMATS[kind]))
    assert caught.value.reason is Reason.UNSAFE_ARCHIVE


def test_names_with_dots_inside_the_root_are_accepted() -> None:
    assert scan(archive(["usr/..x", "usr/x..", "./usr/...", "usr/a..b/c"])).members == 4


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """Return a header with any text as its size."""
    block = bytearray(tarfile.TarInfo(name.decode()).tobuf(tarfile.USTAR_FORMAT))
    block[124:136], block[156:157], block[148:156] = size.ljust(12, b"\0"), kind, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def extended(record: bytes) -> bytes:
    body = record.ljust(-(-len(record) // 512) * 512, b"\0")
    return header(b"pax", b"%011o" % len(record), b"x") + body + header(b"usr/x", b"00000000001") + bytes(512)


@pytest.mark.parametrize(
    "data",
    [
        header(b"usr/x", b"-0000001000"),
        header(b"usr/x", b"0000_000010"),
        header(b"usr/x", b"00000000099"),
        header(b"usr/x", b"\xff" * 12),
        header(b"usr/x", b"\x80" + b"\x7f" * 11),
        extended(b"9" * 5000 + b" size=5\n"),
        extended(b"5016 size=" + b"0" * 5004 + b"1\n"),
        extended(b"11 size=-1\n"),
        extended(b"13 size=1e99\n"),
        extended(b"3 size=1\n"),
    ],
    ids=[
        "negative",
        "underscore",
        "decimal",
        "negative-256",
        "large-256",
        "length",
        "zeros",
        "pax-negative",
        "e",
        "short",
    ],
)
def test_invalid_numbers_are_an_error_of_the_archive(data: bytes) -> None:
    """A scan that counted on after them would not notice what follows."""
    with pytest.raises(StagewrightError) as caught:
        scan(data + bytes(1 << 20), Bounds(10, 10_000))
    assert caught.value.reason is Reason.BAD_ARCHIVE


def test_invalid_data_is_left_to_tar() -> None:
    assert scan(b"x" * 100_000).members == 0


def test_the_limits_depend_on_the_size_of_the_archive() -> None:
    small, large = Bounds.of(1000), Bounds.of(300_000_000)
    assert small.members < 1_000_000 < large.members
    assert Bounds.of(1000, members=7, size=9) == Bounds(7, 9)
