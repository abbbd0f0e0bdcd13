"""Owners of the files in a root, by the records of Portage and dpkg."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from roots import as_root

from stagewright.chroot import inside
from stagewright.release.bill import Component, Image
from stagewright.release.components import component_of, split_pf
from stagewright.release.owners import Owners, files_of_root

pytestmark = as_root

STATUS = """\
Package: hello
Status: install ok installed
Installed-Size: 2
Architecture: amd64
Source: hello-src (1.0-1)
Version: 1.0-1+b2
Section: utils
Homepage: https://example.org
Description: says hello
 and more

Package: firmware-x
Status: install ok installed
Architecture: all
Version: 3
Section: non-free-firmware/kernel

Package: gone
Status: deinstall ok config-files
Version: 1
"""
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: GPL-2+
 text

License: Expat
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root in which /bin and /lib are links, with a package of Portage, two of Debian, and other files."""
    tree = tmp_path / "root"
    vdb = tree / "var/db/pkg/app-misc/a-b-1.2-r3"
    texts = {
        vdb / "PF": "a-b-1.2-r3\n",
        vdb / "LICENSE": "|| ( GPL-2 MIT )\n",
        vdb / "RESTRICT": "bindist mirror\n",
        vdb / "USE": "amd64 doc\n",
        vdb / "SLOT": "0\n",
        vdb / "repository": "demo\n",
        vdb / "SIZE": "100\n",
        vdb / "CONTENTS": "dir /usr\nobj /bin/a-b 0123 12\nsym /usr/bin/ab -> a-b 12\nobj /usr/lib/py/x.py 0123 12\n",
        tree / "var/lib/dpkg/status": STATUS,
        tree / "var/lib/dpkg/info/hello.list": "/.\n/bin\n/bin/hello\n/usr\n/usr/share\n/usr/share/gone\n",
        tree / "var/lib/dpkg/info/firmware-x:all.list": "/lib\n/lib/firmware\n/lib/firmware/x.bin\n",
        tree / "usr/share/doc/hello/copyright": COPYRIGHT,
        tree / "usr/lib/py/x.py": "",
        tree / "usr/lib/py/__pycache__/x.cpython-311.pyc": "",
        tree / "usr/lib/firmware/x.bin": "",
        tree / "usr/bin/a-b": "",
        tree / "usr/bin/hello": "",
        tree / "etc/motd": "",
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tree / "bin").symlink_to("usr/bin")
    (tree / "lib").symlink_to("usr/lib")
    (tree / "usr/bin/ab").symlink_to("a-b")
    return tree


AREAS = {"hello:amd64=1.0-1+b2": "main"}


def components(root: Path, areas: dict[str, str]) -> list[Component]:
    packages = inside(root, Owners.read).packages
    return [component_of(package, {}, areas, Image.ROOT, "a test") for package in packages]


def test_packages_have_their_records(root: Path) -> None:
    ebuild, hello, firmware = components(root, AREAS)
    assert (ebuild.kind, ebuild.name, ebuild.version) == ("ebuild", "app-misc/a-b", "1.2-r3")
    assert (ebuild.license, ebuild.restrict, ebuild.files) == ("|| ( GPL-2 MIT )", ("bindist", "mirror"), 3)
    assert (hello.name, hello.version, hello.source) == ("hello", "1.0-1+b2", "hello-src 1.0-1")
    assert (hello.license, hello.copyrights, hello.size) == ("debian-main", ("GPL-2+", "Expat"), 2048)
    assert (firmware.license, firmware.source, firmware.files) == ("debian-non-free-firmware", "firmware-x 3", 1)


def test_a_package_of_debian_is_free_only_if_an_index_of_the_archive_has_it(root: Path) -> None:
    """Packages of other vendors have a Section without a part of the archive, too."""
    assert [one.license for one in components(root, {})[1:]] == ["debian-unknown", "debian-non-free-firmware"]
    other_version = {"hello:amd64=1.0-1+b3": "main"}
    assert components(root, other_version)[1].license == "debian-unknown"


def test_packages_that_are_not_completely_installed_count(root: Path) -> None:
    status = root / "var/lib/dpkg/status"
    status.write_text(STATUS.replace("install ok installed", "install ok half-configured", 1), encoding="utf-8")
    assert len(components(root, AREAS)) == 3


def test_the_copyright_file_is_kept(root: Path) -> None:
    assert inside(root, Owners.read).packages[1].copyright == COPYRIGHT.strip()


def test_every_file_has_its_owner_through_links_of_folders(root: Path) -> None:
    owners = inside(root, Owners.read)
    paths = ["/usr/bin/a-b", "/bin/hello", "/usr/lib/firmware/x.bin", "/usr/lib/py/__pycache__/x.cpython-311.pyc"]
    assert [owners.owner(inside(root, owners.plain, path)) for path in paths] == [0, 1, 2, 0]


def test_files_without_owner_are_listed(root: Path) -> None:
    owners = inside(root, Owners.read)
    counts, unowned = owners.of_paths(inside(root, files_of_root))
    assert counts == {0: 4, 1: 1, 2: 1}
    assert sorted(unowned) == ["/etc/motd", "/usr/share/doc/hello/copyright"]


def test_a_root_without_records_has_no_packages(tmp_path: Path) -> None:
    assert list(inside(tmp_path, Owners.read).packages) == []


@pytest.mark.parametrize(
    ("full", "name", "version"),
    [("a-1", "a", "1"), ("a-b-1.2_rc3-r4", "a-b", "1.2_rc3-r4"), ("gtk+-2-1", "gtk+-2", "1"), ("x", "x", "")],
)
def test_names_and_versions_are_split(full: str, name: str, version: str) -> None:
    assert split_pf(full) == (name, version)


def test_files_in_folders_that_are_too_deep_are_listed_by_their_first_folders(root: Path) -> None:
    name = "deep-folder-x"
    here = os.open(root / "etc", os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(400):  # a path that the kernel does not take as a whole, and that shutil can still remove
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    owners = inside(root, Owners.read)
    _, unowned = owners.of_paths(inside(root, files_of_root))
    assert [path for path in unowned if path.startswith("/etc/deep") and path.endswith("/.../file")]
