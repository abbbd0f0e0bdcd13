"""Services and files of this machine that package sources and settings of apt name."""

from __future__ import annotations

from pathlib import Path

from stagewright.kinds.seeds.bootstrap import BootstrapSeed
from stagewright.root.network import Service
from stagewright.seeds.apt import lines_of, local_files, local_services, renamed

OPTIONS = """Acquire::http::Proxy "http://127.0.0.1:3142/";
Acquire::https::CAInfo "{folder}/ca.pem";
Acquire::cdrom::mount "/media/none/";
Acquire::Retries "3";
"""


def test_a_bootstrap_seed_has_what_portage_needs_by_default() -> None:
    assert {"gcc", "libc6-dev", "make", "patch", "xz-utils"} < set(BootstrapSeed(bootstrap="debian").packages)


def test_services_and_files_of_package_sources(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    (tmp_path / "mirror").mkdir()
    lines = [f"deb file:{tmp_path}/mirror bookworm main", "deb http://localhost/debian bookworm main", "deb file:/ x y"]
    texts = [OPTIONS.format(folder=tmp_path), *lines]
    assert local_services(texts) == [Service("127.0.0.1", 3142), Service("127.0.0.1", 80)]
    assert local_files(texts) == [tmp_path / "ca.pem", tmp_path / "mirror"]


LISTING = """http://one.example/debian/ bookworm main
http://one.example/debian/ bookworm non-free
http://one.example/debian/ bookworm-updates main
http://two.example/debian-security/ bookworm-security main
http://three.example/apt nodistro main
"""


def test_a_release_has_the_sources_that_apt_has_for_it() -> None:
    assert lines_of("bookworm", LISTING) == [
        "deb http://one.example/debian/ bookworm main non-free",
        "deb http://one.example/debian/ bookworm-updates main",
        "deb http://two.example/debian-security/ bookworm-security main",
    ]
    assert lines_of("book", LISTING) == lines_of("trixie", LISTING) == []


def test_another_release_has_the_sources_of_the_own_one() -> None:
    assert renamed(lines_of("bookworm", LISTING), "trixie") == [
        "deb http://one.example/debian/ trixie main non-free",
        "deb http://one.example/debian/ trixie-updates main",
        "deb http://two.example/debian-security/ trixie-security main",
    ]
