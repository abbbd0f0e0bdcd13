"""Tests of updates in a project: which systems they fit, the feeds that they make, and how far a download is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import roots

from bench.update_fleet import PAGE, commands_of
from bench.update_matrix import (
    BEGIN,
    BUSYBOX,
    DISKS,
    EXAMPLE,
    OPENRC,
    PUBLISHED,
    ROWS,
    prepare,
    prepare_openrc,
    prepare_tiny,
    write,
)
from stagewright.errors import ProblemsError, StagewrightError
from stagewright.events import FileProgress, FileServed
from stagewright.graph.node import Graph
from stagewright.kinds.common.update_settings import UpdateSettings, add_update_files, missing_for_updates
from stagewright.kinds.registry import graph_of, kinds
from stagewright.kinds.tests.updates import Broken, Change, Feeds, UpdateContext, _break, _change
from stagewright.media.updates.feed import FeedCompression, FeedPartition, SlotImage, write_sums
from stagewright.project.load import load

PROJECT = """
format = 1
[project]
name = "fleet"
version = "1"
[repos.test]
path = "repo"
[seeds.base]
file = "seed.tar.xz"
[stages.boot]
kind = "livecd-stage2"
root = "base"
loaders = ["systemd-boot", "uki"]
initramfs.modules = ["dmsquash-live", "systemd-veritysetup"]
[stages.system]
kind = "diskimage-stage1"
root = "base"
os_release = { IMAGE_ID = "fleet", IMAGE_VERSION = "1" }
updates = { url = "https://example.org/fleet", key = "fleet.asc", compression = "gz" }
[stages.more]
kind = "stage4"
root = "system"
[stages.disk]
kind = "diskimage-stage2"
root = "more"
boot = "boot"
layout = "ab"
uki = true
[stages.feed]
kind = "update-feed"
image = "disk"
"""

TEST = """
[tests.update]
updates = ["disk", "disk"]
login = { user = "root" }
"""


def graph(folder: Path, text: str) -> Graph:
    """Return the graph of a project."""
    (folder / "repo/profiles").mkdir(parents=True)
    (folder / "seed.tar.xz").touch()
    (folder / "fleet.asc").touch()
    (folder / "stagewright.toml").write_text(text, encoding="utf-8")
    return graph_of(load(folder, kinds()))


def errors(folder: Path, text: str) -> list[str]:
    """Return the messages of the errors in a project."""
    try:
        graph(folder, text)
    except ProblemsError as several:
        return [problem.message for problem in several.problems]
    except StagewrightError as error:
        return [error.message]
    return []


def test_a_test_knows_the_compression_of_the_system_that_it_starts(tmp_path: Path) -> None:
    node = graph(tmp_path, PROJECT + TEST).nodes["test:update"]
    assert isinstance(node.context, UpdateContext)
    assert node.context.compression is FeedCompression.GZIP


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PROJECT.replace('updates = { url = "https://example.org/fleet"', "#") + TEST, "does not update itself"),
        (PROJECT + TEST.replace("login = ", "expect = ['x'] #"), "needs a login as root"),
        (PROJECT.replace('image = "disk"', 'image = "boot"'), "not a disk image"),
        (PROJECT + TEST + "cuts = [0.5, 1.5]", "cuts"),
        (PROJECT + TEST.replace('["disk", "disk"]', '["disk"]'), "updates"),
        (PROJECT.replace("https://", "ftp://"), "url"),
        (PROJECT + '[releases.all]\nartifacts = ["feed"]\n', "which needs a signature by OpenPGP"),
    ],
    ids=["no-settings", "no-login", "no-disk", "late-cut", "one-image", "other-address", "unsigned-release"],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, text: str, message: str) -> None:
    assert any(message in found for found in errors(tmp_path, text))


@pytest.fixture
def slot(tmp_path: Path) -> SlotImage:
    """Return a slot with a disk, and its feed in the folder ``good``."""
    kernel, good = tmp_path / "kernel.efi", tmp_path / "good"
    kernel.write_bytes(bytes(100))
    (tmp_path / "disk").write_bytes(b"x" * (1 << 17))
    good.mkdir()
    for name in ("fleet_2.efi", "fleet_2_1-2.root.gz"):
        (good / name).write_bytes(name.encode())
    write_sums(good, 0)
    return SlotImage("fleet", "2", [FeedPartition("root", "fleet_2", "1-2", 4096, 1 << 16)], kernel)


@pytest.mark.parametrize("how", Change)
def test_a_changed_feed_leaves_the_good_one_as_it_is(slot: SlotImage, tmp_path: Path, how: Change) -> None:
    good = tmp_path / "good"
    before = {path.name: path.read_bytes() for path in good.iterdir()}
    _change(how, good, tmp_path / how, slot, 0)
    after = {path.name: path.read_bytes() for path in (tmp_path / how).iterdir()}
    assert {path.name: path.read_bytes() for path in good.iterdir()} == before
    assert (before != after) is (how in (Change.CONTENT, Change.SUMS, Change.OLDER))
    assert (before["SHA256SUMS"] != after["SHA256SUMS"]) is (how in (Change.SUMS, Change.OLDER))
    assert ("fleet_0.efi" in after) is (how is Change.OLDER)


def test_a_damaged_root_is_damaged_where_the_slot_is(slot: SlotImage, tmp_path: Path) -> None:
    _break(Broken.ROOT, slot, tmp_path / "disk")
    assert (tmp_path / "disk").read_bytes() == b"x" * 4096 + bytes(1 << 16) + b"x" * ((1 << 16) - 4096)


def test_how_far_a_download_is(slot: SlotImage, tmp_path: Path) -> None:
    feeds = Feeds(tmp_path, tmp_path / "keyring", slot.version)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "good").iterdir()}
    total = sizes["fleet_2.efi"] + sizes["fleet_2_1-2.root.gz"]
    assert feeds.fraction() == 0
    feeds.note(FileProgress(client="guest", path="/good/fleet_2_1-2.root.gz", done=5, total=19))
    assert feeds.fraction() == 5 / total
    for name, size in sizes.items():
        feeds.note(
            FileServed(client="guest", method="GET", path=f"/good/{name}", status=200, start=0, size=size, seconds=0.1)
        )
    assert feeds.fraction() == 1
    feeds.restart()
    assert feeds.fraction() == 0


def test_the_matrix_is_a_project_with_a_test_for_each_row(tmp_path: Path) -> None:
    tests = graph_of(load(prepare(EXAMPLE, tmp_path / "updates"), kinds())).nodes
    assert {f"test:{name}" for name in ROWS if name not in (PUBLISHED, *BUSYBOX, *OPENRC)} <= set(tests)
    for name, make, rows in (("busybox", prepare_tiny, BUSYBOX), ("openrc", prepare_openrc, OPENRC)):
        others = graph_of(load(make(DISKS, tmp_path / name), kinds())).nodes
        assert {f"test:{row}" for row in rows} <= set(others)


def test_the_matrix_types_the_commands_of_the_page() -> None:
    keys, releases, machine = commands_of(PAGE.read_text(encoding="utf-8"))
    assert [line.split()[0] for line in (*keys, *releases)] == ["gpg", "gpg", "stagewright", "stagewright"]
    assert "reboot" in machine and len(machine) == 5


def test_a_row_of_the_matrix_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}No run.\n<!-- end of the matrix -->\nbehind\n", encoding="utf-8")
    write(page, "changed", (True, 61.4))
    write(page, "kernel", (False, 5))
    write(page, "kernel", (True, 9))
    lines = page.read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("before", "behind", 2 + 2 + 2 + len(ROWS))
    assert [line.split(" | ")[2:] for line in lines if "passed" in line] == [["passed", "61 s |"], ["passed", "9 s |"]]
    assert sum("not run yet" in line for line in lines) == len(ROWS) - 2


SETTINGS = UpdateSettings(url="https://example.org/fleet", key="fleet.asc", deadline=90, automatic=True)
NAMED = {"IMAGE_ID": "fleet", "IMAGE_VERSION": "1"}
OWN = "bin/stagewright-update"
PROGRAMS = ("sfdisk", "gpgv", "flock", "sha256sum", "awk", "wget", "xz")


@pytest.mark.parametrize(
    ("programs", "missing"),
    [
        (("bin/stagewright-update", *(f"sbin/{name}" for name in PROGRAMS)), []),
        (
            ("bin/stagewright-update", "bin/sfdisk", *(f"sbin/{name}" for name in PROGRAMS[2:5])),
            ["gpgv", "curl or wget", "xz"],
        ),
        (("lib/systemd/systemd", "lib/systemd/systemd-pull", "bin/gpg"), ["systemd-sysupdate", "systemd-bless-boot"]),
        (
            ("lib/systemd/systemd", "bin/stagewright-update", "lib/systemd/systemd-sysupdate", "bin/gpg"),
            ["pull", "bless-boot"],
        ),
        (tuple(f"bin/{name}" for name in PROGRAMS[1:]), ["neither /usr/bin/stagewright-update nor", "sfdisk"]),
    ],
    ids=["complete", "own", "systemd", "both", "neither"],
)
def test_missing_programs_of_the_client_of_a_root_are_named(
    tmp_path: Path, programs: Sequence[str], missing: Sequence[str]
) -> None:
    for name in programs:
        path = tmp_path / "usr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = list(missing_for_updates(SETTINGS, NAMED, roots.make_root(tmp_path)))
    assert len(found) == len(missing), found
    for one, name in zip(found, missing, strict=True):
        assert name in one.message
        assert one.hint.startswith("add ")


@roots.as_root
@roots.in_sandbox
def test_a_root_without_systemd_gets_settings_keyring_and_services(tmp_path: Path) -> None:
    levels = {f"etc/runlevels/{name}/.keep": "" for name in ("default", "sysinit")}
    root = roots.make_root(tmp_path / "root", {"usr/bin/stagewright-update*": "", **levels})
    key, folder = tmp_path / "fleet.asc", tmp_path / "updates"
    shutil.copyfile(EXAMPLE / "fleet.asc", key)
    folder.mkdir()
    work: Any = SimpleNamespace(epoch=roots.EPOCH, files={"fleet.asc": key}, new_folder=lambda _: folder)
    add_update_files(SETTINGS, "fleet", root, work)
    etc = root.path / "etc"
    settings = (etc / "stagewright-update/update.conf").read_text(encoding="utf-8").splitlines()
    assert {"name = fleet", "url = https://example.org/fleet/", "deadline = 90", "automatic = yes"} <= set(settings)
    assert (etc / "stagewright-update/keyring.gpg").read_bytes()[0] & 0x80
    assert (etc / "runlevels/default/stagewright-update").readlink() == Path("/etc/init.d/stagewright-update")
    assert (etc / "runlevels/sysinit/stagewright-update-watch").is_symlink()
    assert not (root.path / "usr/lib/sysupdate.d").exists()
