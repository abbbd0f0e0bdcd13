"""Licences of a release: what a channel accepts and refuses, and the documents about the packages."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from integration.archives import member, records, write_tar
from integration.support import Run, build, call, write_project
from stagewright.release.file_list import read_file_list

pytestmark = pytest.mark.real

FREE = [
    *records("app-misc/free-1", LICENSE="|| ( MIT proprietary )"),
    member("var/db/pkg/app-misc/free-1/CONTENTS", b"dir /usr\nobj /usr/free 0123 1\n"),
    member("usr/free", b"x"),
    member("usr/own", b"y"),
]
STATUS = """\
Package: firmware-x
Status: install ok installed
Architecture: all
Version: 3
Section: non-free-firmware/kernel

Package: vendor-y
Status: install ok installed
Architecture: amd64
Version: 4
Section: libs
"""
BOUND = [
    *records("app-misc/bound-2", LICENSE="MIT proprietary", RESTRICT="bindist"),
    *records("app-misc/either-1", LICENSE="|| ( MIT proprietary )"),
    *records("app-misc/without-1", LICENSE="MIT", USE="amd64"),
    *records("app-misc/left-1", LICENSE="MIT codecs? ( evil )", USE="codecs"),
    *records("app-misc/off-1", LICENSE="MIT codecs? ( evil )", USE="amd64"),
    *records("app-misc/nothing-1", LICENSE=""),
    *records("virtual/nothing-1", LICENSE=""),
    *records("app-misc/fetched-1", LICENSE="MIT", RESTRICT="fetch"),
    *records("app-misc/mirrored-1", LICENSE="MIT", RESTRICT="mirror test"),
    member("var/lib/dpkg/status", STATUS.encode()),
    member("opt/vendor/blob", b"z"),
]
REFUSED = {
    "app-misc/bound-2": {"proprietary not accepted", "RESTRICT=bindist"},
    "app-misc/left-1": {"evil not accepted"},
    "app-misc/nothing-1": {"does not name a licence"},
    "app-misc/fetched-1": {"RESTRICT=fetch"},
    "app-misc/mirrored-1": {"RESTRICT=mirror"},
    "firmware-x 3 (Debian)": {"debian-non-free-firmware not accepted"},
    "vendor-y 4 (Debian)": {"debian-unknown not accepted"},
    "1 files of bound": {"no licence is known"},
}
"""Refusals of channel ``stable`` in the seed ``bound``, with reasons."""

TABLES = """
[repos.main]
path = "repo"
[channels.stable]
accept_license = ["@FREE"]
unowned_license = { free = "MIT" }
[channels.private]
distributable = false
[seeds.free]
file = "free.tar"
[seeds.bound]
file = "bound.tar"
[stages.good]
kind = "tarball"
root = "free"
[stages.bad]
kind = "tarball"
root = "bound"
[stages.worse]
kind = "tarball"
root = "bound"
name = "worse"
[releases.public]
artifacts = ["good"]
channel = "stable"
file_lists = true
[releases.refused]
artifacts = ["worse", "good"]
channel = "stable"
[releases.ours]
artifacts = ["bad"]
channel = "private"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """Return the project after a build of all three releases, and the run."""
    project = tmp_path_factory.mktemp("licenses") / "project"
    write_project(project, TABLES)
    files = {
        "profiles/repo_name": "main\n",
        "profiles/license_groups": "FREE MIT\n",
        "metadata/layout.conf": "masters =\n",
        "licenses/MIT": "the text\n",
    }
    for name, text in files.items():
        path = project / "repo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    write_tar(project / "free.tar", FREE)
    write_tar(project / "bound.tar", BOUND)
    store = project.parent / "store"
    return project, build("public", "ours", "refused", "--keep-going", cwd=project, store=store, check=False)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_channel_refuses_by_package_licence_image_and_reason(made: tuple[Path, Run]) -> None:
    failed = [event["error"] for event in made[1].events if event["event"] == "NodeFinished" and event.get("error")]
    assert {error["reason"] for error in failed} == {"licence-refused"}
    text = json.dumps(failed)
    messages = [line for line in re.split(r"\\n|\", \"", text) if "worse: " in line]
    found: dict[str, set[str]] = {}
    for message in messages:
        about = message[message.index("worse: ") + len("worse: ") :]
        for name, reasons in REFUSED.items():
            if about.startswith(name):
                found.setdefault(name, set()).update(reason for reason in reasons if reason in about)
    assert found == REFUSED
    assert len(messages) == sum(map(len, REFUSED.values())), messages
    assert "in root: installed by seed:bound" in text and "in root: /opt/vendor/blob" in text
    assert not (made[0] / "out/refused").exists()


def test_a_release_has_documents_about_its_packages(made: tuple[Path, Run]) -> None:
    folder = made[0] / "out/public/1"
    (name,) = (path.name.removesuffix(".manifest.json") for path in folder.glob("*.manifest.json"))
    spdx, cdx = read(folder / f"{name}.spdx.json"), read(folder / f"{name}.cdx.json")
    assert "app-misc/free" in {package["name"] for package in spdx["packages"]}
    assert [component["name"] for component in cdx["components"]] == ["free"]
    assert (folder / "licenses/MIT").read_text(encoding="utf-8") == "the text\n"
    sums = (folder / "SHA256SUMS").read_text(encoding="utf-8")
    assert all(f"  {name}.{suffix}\n" in sums for suffix in ("spdx.json", "cdx.json", "provenance.json"))


def test_files_without_owner_are_in_the_bill(made: tuple[Path, Run]) -> None:
    (path,) = (made[0] / "out/public/1").glob("*.bill.json")
    own, generated = read(path)["unowned"]
    assert own == {"image": "root", "origin": "seed:free", "count": 1, "paths": ["/usr/own"]}
    assert generated["is_generated"] and generated["paths"] == ["/etc/os-release"]


def test_all_files_are_listed_for_a_release_that_asks_for_it(made: tuple[Path, Run]) -> None:
    (path,) = (made[0] / "out/public/1").glob("*.files.gz")
    owners = {"/etc/os-release": "-", "/usr/free": "app-misc/free-1", "/usr/own": "-"}
    expected = [f"root\t{package}\t{file}" for file, package in owners.items()]
    assert read_file_list(path) == sorted(expected)
    assert f"  {path.name}\n" in (path.parent / "SHA256SUMS").read_text(encoding="utf-8")
    assert not list((made[0] / "out/ours").rglob("*.files.gz"))


def test_the_provenance_names_seeds_repositories_and_keys(made: tuple[Path, Run]) -> None:
    (path,) = (made[0] / "out/public/1").glob("*.provenance.json")
    statement = read(path)
    sums = (path.parent / "SHA256SUMS").read_text(encoding="utf-8")
    subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert all(f"{digest}  {name}\n" in sums for name, digest in subjects.items())
    file = path.name.removesuffix(".provenance.json")
    assert set(subjects) == {
        file,
        *(f"{file}.{name}" for name in ("CONTENTS.gz", "DIGESTS", "manifest.json", "sha256")),
    }
    definition = statement["predicate"]["buildDefinition"]
    assert set(definition["internalParameters"]["keys"]) == {"seed:free", "good"}
    names = [dependency["name"] for dependency in definition["resolvedDependencies"]]
    assert "free.tar" in names


def test_a_private_channel_is_marked_and_accepts_everything(made: tuple[Path, Run]) -> None:
    folder = made[0] / "out/ours/1-not-distributable"
    (file,) = folder.glob("*.tar.zst")
    assert file.name == "bound-amd64-1-not-distributable.tar.zst"
    assert read(folder / f"{file.name}.manifest.json")["channel"] == {"name": "private", "distributable": False}
    text = subprocess.run(["tar", "-xOf", file, "./etc/os-release"], check=True, capture_output=True, text=True).stdout
    assert 'STAGEWRIGHT_CHANNEL="private (not-distributable)"' in text.splitlines()
    assert read(folder / "release.json")["channel"]["distributable"] is False
    assert "app-misc/bound" in json.dumps(read(next(folder.glob("*.spdx.json"))))


def test_an_unknown_group_is_reported_before_the_build(tmp_path: Path) -> None:
    write_project(tmp_path / "project", TABLES.replace('["@FREE"]', '["@FREEE"]'))
    (tmp_path / "project/repo/profiles").mkdir(parents=True)
    (tmp_path / "project/repo/profiles/repo_name").write_text("main\n", encoding="utf-8")
    for name in ("free.tar", "bound.tar"):
        write_tar(tmp_path / "project" / name, [])
    done = call("plan", "public", cwd=tmp_path / "project", store=tmp_path / "store", check=False)
    assert done.code == 2 and "@FREEE" in done.stderr


@pytest.mark.parametrize("channel", ['channel = "stable"', ""])
def test_an_artifact_is_not_in_releases_of_both_sorts(tmp_path: Path, channel: str) -> None:
    shared = TABLES.replace('["worse", "good"]\nchannel = "stable"', f'["bad"]\n{channel}')
    write_project(tmp_path / "project", shared)
    done = call("plan", "ours", cwd=tmp_path / "project", store=tmp_path / "store", check=False)
    assert done.code == 2 and "'bad' is also in release 'refused', which others may get" in done.stderr
