"""Device nodes and attributes of archives: nodes are recorded, and attributes that cannot be written are named."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from stagewright import ids
from stagewright.engine.worker import isolated
from stagewright.errors import Reason, StagewrightError
from stagewright.interpreter import interpreter
from stagewright.seeds.unpack import _judge, unpack

pytestmark = pytest.mark.real

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or ids.as_host_root(), reason="NOT TESTED: not root, or no user namespaces (stagewright doctor)"
)


def archive(path: Path, target: str, *, end: int) -> Path:
    """Write an archive with a node, a hard link to ``target``, and so many bytes of zeros at its end."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind, link in (
            ("dev", tarfile.DIRTYPE, ""),
            ("dev/null", tarfile.CHRTYPE, ""),
            ("dev/x", tarfile.LNKTYPE, target),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode, info.devmajor, info.devminor = kind, link, 0o755, 1, 3
            tar.addfile(info)
        size = tar.offset
    path.write_bytes(stream.getvalue()[:size] + bytes(end))
    return path


@pytest.mark.parametrize("end", [512, 10240], ids=["a lone block at the end", "a whole end"])
def test_links_to_device_nodes_are_nodes(tmp_path: Path, end: int) -> None:
    (tmp_path / "tree").mkdir()
    scan = unpack(archive(tmp_path / "seed.tar", "./dev/null", end=end), tmp_path / "tree", io.StringIO())
    assert [node.path for node in scan.devices] == ["/dev/null", "/dev/x"]
    assert {(node.type, node.major, node.minor) for node in scan.devices} == {("c", 1, 3)}
    assert not list((tmp_path / "tree/dev").iterdir())


def test_a_link_to_a_missing_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with pytest.raises(StagewrightError) as caught:
        unpack(archive(tmp_path / "seed.tar", "dev/missing", end=10240), tmp_path / "tree", io.StringIO())
    assert "Cannot hard link" in caught.value.detail


@pytest.mark.parametrize("words", ["", "zstd -q", "xz", "bzip2", "gzip"])
def test_links_to_archives_of_any_compression_are_unpacked(words: str, tmp_path: Path) -> None:
    """catalyst-auto keeps links to the newest seeds, and zstd(1) skips symbolic links."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/file").write_text("text", encoding="utf-8")
    packed = tmp_path / "seed-20260628"
    text = subprocess.run(["tar", "-C", tmp_path, "-c", "etc"], check=True, capture_output=True).stdout
    packed.write_bytes(
        subprocess.run(words.split(), input=text, check=True, capture_output=True).stdout if words else text
    )
    (tmp_path / "seed-latest").symlink_to(packed.name)
    (tmp_path / "link-to-the-link").symlink_to(tmp_path / "seed-latest")
    unpack(tmp_path / "link-to-the-link", tmp_path / "tree", io.StringIO())
    assert (tmp_path / "tree/etc/file").read_text(encoding="utf-8") == "text"


def with_attribute(path: Path, name: str, value: bytes) -> Path:
    """An archive with a file that has an attribute."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("etc/file")
        info.pax_headers = {f"SCHILY.xattr.{name}": value.decode(errors="surrogateescape")}
        tar.addfile(info)
    return path


CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
NO_ID = 0xFFFFFFFF
ENTRIES = ((1, 6, NO_ID), (2, 6, 70_000), (4, 4, NO_ID), (16, 6, NO_ID), (32, 4, NO_ID))
ACL = b"\2\0\0\0" + b"".join(struct.pack("<HHI", *entry) for entry in ENTRIES)
"""An access control list with an entry for the user 70000, as the kernel stores it (acl(5))."""

UNPACK = """
import os, sys
from pathlib import Path
from stagewright.errors import StagewrightError
from stagewright.seeds.unpack import unpack
for archive in map(Path, sys.argv[1:]):
    target = archive.with_suffix("")
    target.mkdir()
    with open(archive.with_suffix(".log"), "w") as log:
        try:
            unpack(archive, target, log)
            print(os.listxattr(target / "etc/file"))
        except StagewrightError as error:
            print(error.reason.name, error.message)
"""


@as_root
def test_attributes_are_written_or_named(tmp_path: Path) -> None:
    """A file capability or access control list that is missing would be another result under the same key."""
    cases = {
        "security.capability": (CAPABILITY, "['security.capability']"),
        "user.note": (b"x", "['user.note']"),
        "trusted.note": (b"x", "[]"),
        "system.posix_acl_access": (
            ACL,
            "BAD_ARCHIVE system.posix_acl_access.tar: system.posix_acl_access of etc/file cannot be written "
            "(Invalid argument)",
        ),
    }
    archives = [str(with_attribute(tmp_path / f"{name}.tar", name, value)) for name, (value, _) in cases.items()]
    words = isolated([*interpreter(), "-c", UNPACK, *archives])
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [said for _, said in cases.values()]
    assert "Cannot set" not in (tmp_path / "trusted.note.log").read_text(encoding="utf-8"), "no line for each file"


@pytest.mark.parametrize(
    ("why", "reason"),
    [("Operation not supported", Reason.HOST_FEATURE), ("Operation not permitted", Reason.BAD_ARCHIVE)],
)
def test_a_file_system_without_attributes_is_named(why: str, reason: Reason) -> None:
    said = f"tar: setxattrat: Cannot set 'security.capability' extended attribute for file 'bin/it's': {why}"
    with pytest.raises(StagewrightError) as caught:
        _judge("seed", 0, said, None)
    assert caught.value.reason is reason
    assert "security.capability of bin/it's cannot be written" in caught.value.message
