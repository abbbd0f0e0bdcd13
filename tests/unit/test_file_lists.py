"""Lists of the files in artifacts: each with its image and its package."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from roots import as_root

from stagewright.chroot import inside
from stagewright.kinds.common.artifact import Ingredient
from stagewright.kinds.common.parts import Part, PartRecords
from stagewright.kinds.common.records import Records
from stagewright.kinds.releases.bill import BillInput
from stagewright.kinds.releases.contents import Contents, write_file_lists
from stagewright.kinds.releases.part_bills import part_files
from stagewright.kinds.releases.root_bill import plain_paths, root_files
from stagewright.release.bill import Bill, Image
from stagewright.release.file_list import (
    ListedFile,
    files_of_index,
    join_file_lists,
    read_file_list,
    write_file_list,
)
from stagewright.release.owners import Owners, PackageRecord
from stagewright.release.subject import Subject

STATUS = "Package: hello\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n"
RECORDS = {
    "var/db/pkg/app-misc/a-1/PF": "a-1\n",
    "var/db/pkg/app-misc/a-1/CONTENTS": (
        "dir /usr\nobj /bin/a 0123 12\nsym /usr/bin/link -> a 12\nobj /usr/lib/x.py 0123 12\n"
        "obj /usr/share/a b 0123 12\nobj /usr/share/gone 0123 12\n"
    ),
    "var/lib/dpkg/status": STATUS,
    "var/lib/dpkg/info/hello.list": "/.\n/bin\n/bin/hello\n",
}
OWNED = {
    "app-misc/a-1": ["/usr/bin/a", "/usr/bin/link", "/usr/lib/x.py", "/usr/lib/__pycache__/x.cpython-311.pyc"],
    "hello:amd64=1.0-1": ["/usr/bin/hello"],
    "-": ["/etc/motd", "/opt/ünï"],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root in which /bin is a link, with packages of Portage and Debian, other files, and strange names."""
    tree = tmp_path / "root"
    files = dict.fromkeys((path.lstrip("/") for paths in OWNED.values() for path in paths), "")
    for name, text in {**files, **RECORDS, "usr/share/a b": ""}.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith("link"):
            path.write_text(text, encoding="utf-8")
    (tree / "usr/bin/link").symlink_to("a")
    (tree / "bin").symlink_to("usr/bin")
    for strange in (b"a\tb\nc", b"back\\slash", b"latin-\xe9"):
        Path(os.fsdecode(bytes(tree / "opt") + b"/" + strange)).touch()
    return tree


@as_root
def test_the_list_is_that_of_a_walk_through_the_root(root: Path, tmp_path: Path) -> None:
    owners = inside(root, Owners.read)
    paths = inside(root, plain_paths, owners)
    write_file_list(root_files(owners, paths, owners.of_paths(paths)[1]), tmp_path / "files.gz")
    rows = [line.split("\t") for line in read_file_list(tmp_path / "files.gz")]
    assert rows == sorted(rows) and {image for image, _, _ in rows} == {"root"}

    found = {path: package for _, package, path in rows}
    walked = {
        bytes(path.relative_to(root))
        for path in root.rglob("*")
        if not path.is_dir() and not str(path.relative_to(root)).startswith(("var/db/pkg/", "var/lib/dpkg/"))
    }
    named = {path.removeprefix("/").encode().decode("unicode_escape").encode("latin-1") for path in found}
    assert named == walked and len(rows) == len(walked)

    expected = {path: package for package, paths in OWNED.items() for path in paths}
    strange = [r"/opt/a\011b\012c", r"/opt/back\134slash", r"/opt/latin-\351"]
    assert found == {**expected, "/usr/share/a b": "app-misc/a-1", **dict.fromkeys(strange, "-")}


def test_files_of_a_payload_are_listed_by_part() -> None:
    installed = [
        PackageRecord("ebuild", "sys-kernel/k-6.1", paths=("/usr/src/linux/Makefile",)),
        PackageRecord("deb", "kmod", {"Package": "kmod", "Architecture": "amd64", "Version": "30"}, paths=("/kmod",)),
    ]
    parts = [
        Part("kernel-one", "kernel", ["/boot/vmlinuz"], "one", "/usr/src/linux/Makefile"),
        Part("initramfs-one", "initramfs", ["/kmod", "/init", "/etc/own"], "one", by="dracut", own=["/etc/own"]),
    ]
    assert part_files(PartRecords(Records(), installed, parts), "boot") == {
        "kernel-one": [("kernel", "sys-kernel/k-6.1", "/boot/vmlinuz")],
        "initramfs-one": [
            ("initramfs", "kmod:amd64=30", "/kmod"),
            ("initramfs", "-", "/init"),
            ("initramfs", "-", "/etc/own"),
        ],
    }


def test_binary_packages_are_listed_by_the_index() -> None:
    entries = [{"CPV": "app-misc/a-1", "PATH": "app-misc/a/a-1-1.gpkg.tar"}, {"VERSION": "0"}]
    assert files_of_index(entries) == [("packages", "app-misc/a-1", "app-misc/a/a-1-1.gpkg.tar")]


def test_an_artifact_has_the_files_of_its_kernels_only(tmp_path: Path) -> None:
    for name in ("kernel-one", "kernel-two", "initramfs-two", "modules", "uki"):
        (tmp_path / f"{name}.json").touch()
    one = BillInput(role="bills.000", ingredient=Ingredient(stage="boot", kernels=("one",)))
    assert [path.name for path in one.file_lists(tmp_path)] == ["kernel-one.files.gz", "modules.files.gz"]
    (tmp_path / "bill.json").touch()
    assert one.file_lists(tmp_path) == [tmp_path / "bill.files.gz"]


def test_a_release_has_one_list_for_each_artifact_with_a_bill(tmp_path: Path) -> None:
    """A file that two ingredients have is listed once, and the same lists give the same bytes."""
    first, second = ListedFile(Image.ROOT, "app-misc/a-1", "/a"), ListedFile(Image.KERNEL, "-", "/k")
    write_file_list([first], tmp_path / "x.files.gz")
    write_file_list([second, first], tmp_path / "y.files.gz")
    lists = [tmp_path / "x.files.gz", tmp_path / "y.files.gz"]
    contents = [Contents("set", "set", Bill(), None), Contents("other", "", None, None)]
    (tmp_path / "set").mkdir()
    written = write_file_lists(contents, [lists, ()], Subject("all", "demo", "1", "key", 0, {}), tmp_path)
    assert written == [tmp_path / "set/set.files.gz"]
    assert read_file_list(written[0]) == ["kernel\t-\t/k", "root\tapp-misc/a-1\t/a"]
    join_file_lists(reversed(lists), tmp_path / "again.files.gz")
    assert (tmp_path / "again.files.gz").read_bytes() == written[0].read_bytes()
