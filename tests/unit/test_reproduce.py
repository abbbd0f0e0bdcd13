"""Differences between two builds of a file: down to the files inside, with owners and known reasons."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from stagewright.errors import Reason, StagewrightError
from stagewright.project.unreproducible import Unreproducible
from stagewright.reproduce.differences import FileDifference, file_differences
from stagewright.reproduce.explained import explained
from stagewright.reproduce.file_owners import FileOwner, file_owners
from stagewright.reproduce.members import Container, container_of, read_members

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="NOT TESTED: no bubblewrap")

STAMP = "usr/share/a b\\c/stamp"


def tree(folder: Path, stamp: str, time: int = 1000) -> Path:
    """Make a folder with a stamp, another file, a link and a second name."""
    (folder / STAMP).parent.mkdir(parents=True)
    (folder / STAMP).write_text(stamp, encoding="utf-8")
    (folder / "usr/same").write_text("same", encoding="utf-8")
    (folder / "usr/link").symlink_to("same")
    os.link(folder / "usr/same", folder / "usr/twin")
    for path in (*sorted(folder.rglob("*"), reverse=True), folder):
        os.utime(path, (1000, 1000), follow_symlinks=False)
    os.utime(folder / "usr/same", (time, time))
    return folder


def squashfs(source: Path, target: Path) -> None:
    words = ["mksquashfs", source, target, "-quiet", "-no-progress", "-mkfs-time", "0"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def tarball(source: Path, target: Path) -> None:
    with tarfile.open(target, "w:gz") as archive:
        archive.add(source, ".")


def iso(source: Path, target: Path) -> None:
    made = target.with_suffix(".files")
    made.mkdir()
    squashfs(source, made / "image.squashfs")
    (made / "sums").write_text(f"{(source / STAMP).read_text('utf-8') * 32}  image\n", encoding="utf-8")
    for path in made.iterdir():
        os.utime(path, (1000, 1000))
    subprocess.run(["xorriso", "-outdev", target, "-map", made, "/"], check=True, capture_output=True)


Make = Callable[[Path, Path], None]


def compared(tmp_path: Path, make: Make, times: tuple[int, int] = (1000, 1000)) -> list[FileDifference]:
    for name, time in zip(("a", "b"), times, strict=True):
        make(tree(tmp_path / name / "tree", name, time), tmp_path / name / "file")
    return file_differences("it", tmp_path / "a/file", tmp_path / "b/file", tmp_path)


@pytest.mark.parametrize("make", [squashfs, tarball])
def test_files_inside_are_named(tmp_path: Path, make: Make) -> None:
    found = compared(tmp_path, make, (1000, 2000))
    names = {one.path: one.what for one in found}
    assert names[f"/{STAMP}"] == ("content",)
    assert [name for name in names if name != f"/{STAMP}"] in (["/usr/same"], ["/usr/same", "/usr/twin"])
    assert names["/usr/same"] == ("time",)
    assert f"it:/{STAMP}" in [one.name for one in found]


@pytest.mark.slow
def test_files_of_an_image_on_an_iso_are_named_and_digests_follow(tmp_path: Path) -> None:
    found = {one.name: one for one in compared(tmp_path, iso)}
    assert set(found) == {f"it:/image.squashfs:/{STAMP}", "it:/sums"}
    assert found["it:/sums"].follows and not found[f"it:/image.squashfs:/{STAMP}"].follows


def test_equal_files_have_no_difference_and_others_the_first_byte(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for data, what in ((b"abcd", None), (b"abXd", "first other byte at 2"), (b"abc", "4 and 3 bytes")):
        old.write_bytes(b"abcd")
        new.write_bytes(data)
        assert [one.detail for one in file_differences("it", old, new, tmp_path)] == ([what] if what else [])


def test_other_bytes_around_equal_files_are_the_difference_of_the_container(tmp_path: Path) -> None:
    for name, level in (("a", 1), ("b", 9)):
        with tarfile.open(tmp_path / name, "w:gz", compresslevel=level) as archive:
            archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    (found,) = file_differences("it", tmp_path / "a", tmp_path / "b", tmp_path)
    assert found.what == ("container",) and "the files in this tarball are equal" in found.detail


def test_a_damaged_container_is_a_file_that_differs(tmp_path: Path) -> None:
    tarball(tree(tmp_path / "tree", "x"), tmp_path / "a")
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes()[:-9] + bytes(9))
    (found,) = file_differences("it", tmp_path / "a", tmp_path / "b", tmp_path)
    assert found.what == ("content",) and "cannot be read" in found.detail


@pytest.mark.parametrize("data", [b"070701", b"070701" + bytes(200), b"070701" + b"f" * 104])
def test_a_truncated_initramfs_is_an_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert container_of(path) is Container.CPIO
    with pytest.raises(StagewrightError) as caught:
        read_members(path, Container.CPIO, tmp_path)
    assert caught.value.reason is Reason.BAD_ARCHIVE


def test_owners_come_from_the_records_of_any_root_below(tmp_path: Path) -> None:
    records = tmp_path / "low/var/db/pkg/app-misc/one-1-r2"
    records.mkdir(parents=True)
    (records / "CONTENTS").write_text("dir /usr\nobj /usr/bin/a b 0123456789abcdef0123456789abcdef 5\n", "utf-8")
    dpkg = tmp_path / "low/var/lib/dpkg/info"
    dpkg.mkdir(parents=True)
    (dpkg / "libc6:amd64.list").write_text("/.\n/lib/x.so\n", encoding="utf-8")
    (tmp_path / "high/usr/bin").mkdir(parents=True)
    (tmp_path / "high/usr/bin/a b").touch()
    (tmp_path / "high/out").symlink_to("/etc")
    trees = [("system", tmp_path / "low"), ("live", tmp_path / "high")]
    found = file_owners(["/usr/bin/a b", "/usr/lib/x.so", "/out/passwd", "sums"], trees)
    assert found["/usr/bin/a b"] == FileOwner("app-misc/one-1-r2", "live")
    assert found["/usr/lib/x.so"] == FileOwner("libc6", ""), "/lib is a link to /usr/lib in the image"
    assert found["/out/passwd"] == found["sums"] == FileOwner(), "no link leads out of a root"


def test_known_differences_are_explained_and_do_not_count() -> None:
    known = {"x": Unreproducible(files=["/usr/lib/*.a"], why="bug 1")}
    paths = ("/usr/lib/deep/libx.a", "/usr/lib/libx.so", "/var/db/pkg/a/b-1/COUNTER")
    found = list(explained([FileDifference((), path, ("content",)) for path in paths], [], known))
    assert [one.counts for one in found] == [False, True, False]
    assert found[0].known == "bug 1" and "Portage's records" in found[2].known


def test_an_entry_covers_the_files_of_its_packages() -> None:
    both = Unreproducible(packages=["app-misc/one"], files=["/usr/*"], why="x")
    assert both.covers("/usr/x", "app-misc/one")
    assert not both.covers("/etc/x", "app-misc/one") and not both.covers("/usr/x", "app-misc/two")
    with pytest.raises(ValidationError):
        Unreproducible(why="nothing")
