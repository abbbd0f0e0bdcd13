"""Archives: unpacking gives the same tree; a failure of any part of the pipeline is reported."""

from __future__ import annotations

import errno
import os
import stat
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stagewright.errors import Reason, StagewrightError
from stagewright.release.archive import MEMORY, Compression, list_tree, pack
from stagewright.release.artifact_digests import companion
from stagewright.release.listing import read_contents
from stagewright.release.tree import path_changes, read_tree

EPOCH = 1795132800
NANO = 1_000_000_000
COMPRESSOR = Compression.ZSTD.command(1, 2)

CAPABILITY = b"\x01\x00\x00\x02" + (1 << 13).to_bytes(4, "little") + bytes(12)
ACL = (
    struct.pack("<I", 2)
    + b"".join(
        struct.pack("<HHI", *entry)
        for entry in ((1, 6, 2**32 - 1), (2, 4, 5_000_000), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1))
    )
    + struct.pack("<HHI", 32, 0, 2**32 - 1)
)

Make = Callable[[bytes], None]

names = st.binary(min_size=1, max_size=255).filter(
    lambda name: not set(name) & set(b"/\0") and name not in (b".", b"..")
)
owners = st.integers(0, 2**32 - 2)
times = st.integers(-(2**31) * NANO, 2**33 * NANO)  # the range of ext4: 1901 to 2242
permissions = st.integers(0, 0o7777)
attributes = st.dictionaries(
    st.binary(min_size=1, max_size=40).filter(lambda name: 0 not in name).map(lambda name: b"user." + name),
    st.binary(max_size=100),
    max_size=3,
)
contents = st.one_of(
    st.binary(max_size=2000),
    st.tuples(st.integers(0, 300_000), st.binary(min_size=1, max_size=5000)),  # a hole, then bytes
    st.tuples(st.just(1 << 20), st.just(b"")),  # only a hole
)
special = st.one_of(
    st.just((stat.S_IFIFO, 0)),
    st.tuples(
        st.sampled_from([stat.S_IFCHR, stat.S_IFBLK]),
        st.builds(os.makedev, st.integers(0, 4095), st.integers(0, 2**20 - 1)),
    ),
)
leaves = st.one_of(
    st.tuples(st.just("file"), contents),
    st.tuples(st.just("link"), st.binary(min_size=1, max_size=300).filter(lambda target: 0 not in target)),
    st.tuples(st.just("special"), special),
    st.tuples(st.just("again"), st.integers(0, 5)),
)
inodes = st.tuples(leaves, permissions, owners, owners, times, attributes)
folders = st.tuples(permissions, owners, owners, times, attributes)
trees = st.recursive(inodes, lambda inner: st.tuples(st.dictionaries(names, inner, max_size=5), folders), max_leaves=25)
roots = st.dictionaries(names, trees, max_size=6)

real = pytest.mark.real


def make(base: bytes, entries: dict[bytes, object], files: list[bytes]) -> None:
    for name, entry in entries.items():
        path = base + b"/" + name
        if isinstance(entry, tuple) and isinstance(entry[0], dict):
            os.mkdir(path)
            make(path, entry[0], files)
            dress(path, *entry[1])
        else:
            (kind, what), *facts = entry  # type: ignore[misc]
            make_leaf(path, kind, what, files)
            if kind != "again":
                dress(path, *facts)


def make_leaf(path: bytes, kind: str, what: object, files: list[bytes]) -> None:
    if kind == "link":
        os.symlink(what, path)  # type: ignore[arg-type]
    elif kind == "special":
        os.mknod(path, what[0] | 0o600, what[1])  # type: ignore[index]
    elif kind == "again" and files:
        os.link(files[what % len(files)], path)  # type: ignore[operator]
    else:
        hole, content = what if isinstance(what, tuple) else (0, what if isinstance(what, bytes) else b"")
        with open(path, "xb") as stream:
            stream.truncate(hole)
            stream.seek(hole)
            stream.write(content)
        files.append(path)


def dress(path: bytes, mode: int, uid: int, gid: int, time: int, extended: dict[bytes, bytes]) -> None:
    os.chown(path, uid, gid, follow_symlinks=False)
    kind = os.lstat(path).st_mode
    for name, value in extended.items():
        if stat.S_ISREG(kind) or stat.S_ISDIR(kind):  # others cannot have attributes that a build can set
            os.setxattr(path, name, value, follow_symlinks=False)
    if not stat.S_ISLNK(kind):
        os.chmod(path, mode)
    os.utime(path, ns=(time, time), follow_symlinks=False)


def describe(base: bytes) -> dict[bytes, tuple[object, ...]]:
    """Return all properties of a tree, without the code under test."""
    first: dict[int, bytes] = {}
    found: dict[bytes, tuple[object, ...]] = {}
    for path in sorted(walk(base)):
        info = os.lstat(path)
        name = path.removeprefix(base)
        extended = {
            key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
        }
        what: object = None
        if stat.S_ISLNK(info.st_mode):
            what = os.readlink(path)
        elif stat.S_ISREG(info.st_mode):
            what = (first.setdefault(info.st_ino, name), info.st_size, Path(os.fsdecode(path)).read_bytes())
        time = min(info.st_mtime_ns, EPOCH * NANO)
        found[name] = (info.st_mode, info.st_uid, info.st_gid, info.st_rdev, time, extended, what)
    return found


def walk(base: bytes) -> Iterator[bytes]:
    yield base
    for folder, inner, files in os.walk(base):
        yield from (os.path.join(folder, name) for name in (*inner, *files))


def unpack(archive: Path, target: Path) -> None:
    """Unpack with the command of the Gentoo Handbook."""
    target.mkdir()
    words = ["tar", "xpf", archive, "--xattrs-include=*.*", "--numeric-owner", "-C", target]
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def base() -> Iterator[Path]:
    """Return a folder outside of tmpfs, which has no user.* attributes."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="stagewright-test-") as folder:
        Path(folder, "root").mkdir()
        yield Path(folder)


def come_back(base: Path) -> None:
    """Pack, unpack, compare; pack again, compare; compare with the listing."""
    root, archive = base / "root", base / "it.tar.zst"
    packed = pack(root, archive, COMPRESSOR, epoch=EPOCH)
    unpack(archive, base / "again")
    assert describe(os.fsencode(base / "again")) == describe(os.fsencode(root))
    (base / "twice").mkdir()
    assert pack(base / "again", base / "twice" / archive.name, COMPRESSOR, epoch=EPOCH) == packed
    tree = read_tree(root)
    if not any(" -> " in path for path in tree.entries):  # ambiguous in a listing
        assert path_changes(tree, read_contents(companion(archive, "CONTENTS.gz"))) == []


@real
@given(roots)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_tree_is_restored(entries: dict[bytes, object]) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="stagewright-test-") as folder:
        Path(folder, "root").mkdir()
        make(os.fsencode(Path(folder, "root")), entries, [])
        come_back(Path(folder))


@real
def test_a_strange_tree_is_restored(base: Path) -> None:
    root = base / "root"
    deep = root.joinpath(*["deep" * 25] * 8)
    deep.mkdir(parents=True)
    (deep / "end").write_text("x", encoding="utf-8")
    (root / "ping").write_bytes(b"\x7fELF")
    os.setxattr(root / "ping", "security.capability", CAPABILITY)
    (root / "listed").mkdir()
    os.setxattr(root / "listed", "system.posix_acl_access", ACL)
    os.setxattr(root / "listed", "system.posix_acl_default", ACL)
    (root / "a link to b").write_text("y", encoding="utf-8")
    os.link(root / "a link to b", root / "c link to d")
    come_back(base)
    assert os.getxattr(base / "again/ping", "security.capability") == CAPABILITY
    assert os.getxattr(base / "again/listed", "system.posix_acl_default") == ACL


@real
def test_holes_are_restored(base: Path) -> None:
    with (base / "root/sparse").open("wb") as stream:
        stream.truncate(1 << 28)
        stream.seek(1 << 27)
        stream.write(b"here")
    come_back(base)
    assert (base / "again/sparse").stat().st_blocks <= 64


@real
@pytest.mark.parametrize("kind", list(Compression))
def test_the_number_of_threads_does_not_change_the_archive(kind: Compression, base: Path) -> None:
    (base / "root/large").write_bytes(os.urandom(1 << 20) * 10)  # several blocks of each compressor
    digests = set()
    for cores in (1, 2, 5):
        (base / str(cores)).mkdir()
        packed = pack(base / "root", base / str(cores) / "it.tar", kind.command(1, cores), epoch=EPOCH)
        digests.add(packed.archive.digests["sha256"])
    assert len(digests) == 1


@pytest.mark.parametrize("kind", [Compression.ZSTD, Compression.XZ])
def test_the_memory_of_a_compressor_is_bounded(kind: Compression) -> None:
    for level in range(1, kind.highest + 1):
        words = kind.command(level, 1000)
        threads = int(next(word for word in words if word.startswith("-T")).removeprefix("-T"))
        assert threads == 2 or kind.memory(level, threads) <= MEMORY


@real
@pytest.mark.parametrize("kind", list(Compression))
def test_tar_reads_the_output_of_each_compressor(kind: Compression, base: Path) -> None:
    (base / "root/large").write_bytes(b"again and again " * 10_000)
    target = base / f"it.{kind.suffix}"
    pack(base / "root", target, kind.command(kind.level, 2), epoch=EPOCH)
    names = subprocess.run(["tar", "--list", "--file", target], capture_output=True, text=True, check=True).stdout
    assert "./large" in names.splitlines()


@real
def test_a_listing_without_a_tarball_is_equal_to_that_of_the_tarball(base: Path) -> None:
    (base / "root/file").write_text("x", encoding="utf-8")
    packed = pack(base / "root", base / "it.tar", COMPRESSOR, epoch=EPOCH)
    (base / "alone").mkdir()
    listed = list_tree(base / "root", base / "alone" / "it.tar", epoch=EPOCH)
    assert listed == packed.contents
    assert not (base / "alone" / "it.tar").exists()


@pytest.mark.parametrize("level", range(1, 10))
def test_xz_stays_within_its_memory_limit(level: int) -> None:
    """xz fails instead of changing its settings, so the limit must suffice."""
    done = subprocess.run(Compression.XZ.command(level, 4), input=b"x", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("compressor", "said"),
    [
        (["sh", "-c", "echo no >&2; exit 3"], "sh: exit code 3"),
        (["sh", "-c", "kill -9 $$"], "sh: ended by SIGKILL (signal 9)"),
    ],
)
def test_a_failing_compressor_is_reported(compressor: list[str], said: str, base: Path) -> None:
    (base / "root/large").write_bytes(bytes(1 << 22))
    with pytest.raises(StagewrightError) as caught:
        pack(base / "root", base / "it.tar", compressor, epoch=EPOCH)
    assert caught.value.reason is Reason.COMMAND_FAILED
    assert caught.value.message == said


def test_a_failing_tar_is_reported(base: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        pack(base / "gone", base / "it.tar", COMPRESSOR, epoch=EPOCH)
    assert caught.value.reason is Reason.COMMAND_FAILED
    assert caught.value.message.startswith("tar: ")


def test_a_missing_compressor_is_reported(base: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        pack(base / "root", base / "it.tar", ["no-such-compressor"], epoch=EPOCH)
    assert caught.value.reason is Reason.MISSING_TOOL


@real
def test_a_full_disk_is_reported(base: Path) -> None:
    (base / "root/large").write_bytes(os.urandom(1 << 22))
    (base / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "small", base / "small"], check=True)
    try:
        with pytest.raises(OSError, match="No space left"):
            pack(base / "root", base / "small/it.tar", COMPRESSOR, epoch=EPOCH)
    finally:
        subprocess.run(["umount", base / "small"], check=True)


def test_a_failing_listing_is_reported(base: Path) -> None:
    """tar then fails too, since its pipe has no reader; the error must be that of the listing."""
    for number in range(3000):
        (base / "root" / f"{number}-{os.urandom(80).hex()}").touch()

    def full(done: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        pack(base / "root", base / "it.tar", COMPRESSOR, epoch=EPOCH, progress=full)
