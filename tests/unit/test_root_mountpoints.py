"""Mount points of the sandbox are where a command inside the root sees them, whatever links the root has."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from boxes import make_box

from stagewright.errors import Reason, StagewrightError
from stagewright.root.mountpoints import MountPoints
from stagewright.root.sandbox import Bind


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/var").mkdir(parents=True)
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/var/db", "/var/db"),
        ("/absolute/x", "/var/x"),
        ("/relative/x", "/var/x"),
        ("/above/x", "/var/x"),
        ("/oldroot-link/x", "/oldroot/tmp/x"),
        ("/chain/x", "/var/x"),
        ("/dangling/x", "/srv/none/x"),
    ],
)
def test_links_are_followed_inside_the_root(root: Path, target: str, expected: str) -> None:
    links = {"absolute": "/var", "relative": "var", "above": "../../../var/.", "oldroot-link": "/oldroot/tmp"}
    for name, goal in {**links, "chain": "/absolute", "dangling": "/srv/none"}.items():
        (root / name).symlink_to(goal)
    assert MountPoints(root).add(target) == expected
    assert (root / expected.lstrip("/")).is_dir()


def test_a_mount_hides_the_links_below_it(root: Path, tmp_path: Path) -> None:
    (root / "run").mkdir()
    (root / "run/inner").symlink_to("/oldroot")
    (root / "etc").mkdir()
    (root / "etc/resolv.conf").symlink_to("../run/inner/resolv.conf")
    points = MountPoints(root)
    assert points.add("/run") == "/run"
    assert points.add("/etc/resolv.conf", tmp_path / "file") == "/run/inner/resolv.conf"
    assert not (root / "run/inner").exists(), "bubblewrap makes it in the tmpfs"


def test_links_in_a_mounted_folder_count(root: Path, tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/demo").symlink_to("/oldroot/tmp")
    (root / "var/repos").symlink_to("packages")
    points = MountPoints(root)
    assert points.add("/var/packages", tmp_path / "packages", writable=True) == "/var/packages"
    assert points.add("/var/repos/demo/x", tmp_path / "packages") == "/oldroot/tmp/x"


@pytest.mark.parametrize(
    ("name", "goal", "word"),
    [("loop", "loop", "links"), ("slash", "..", "leads to /"), ("file", "", "Not a directory")],
)
def test_a_path_that_cannot_be_a_mount_point_is_reported(root: Path, name: str, goal: str, word: str) -> None:
    (root / name).symlink_to(goal) if goal else (root / name).touch()
    with pytest.raises(StagewrightError, match=f"{word}") as caught:
        MountPoints(root).add(f"/{name}/x" if name == "file" else f"/{name}")
    assert caught.value.reason is Reason.BUILD_FAILED
    assert f"/{name}" in caught.value.message and caught.value.hint


@pytest.mark.real
def test_a_link_to_oldroot_does_not_make_files_on_this_machine(tmp_path: Path) -> None:
    """bubblewrap 0.8 makes mount points before pivot_root(2), with this machine at /oldroot."""
    outside, source = tmp_path / "outside", tmp_path / "source"
    outside.mkdir()
    source.mkdir()
    box = make_box(tmp_path, [Bind(source, "/var/db/repos/demo"), Bind(source, "/tmp/below")])
    for name in ("var/db", "tmp"):
        (box.path / name).rmdir() if name == "tmp" else None
        (box.path / name).symlink_to(f"/oldroot{outside}")
    subprocess.run(box.old("true"), check=False, capture_output=True)
    made = sorted(os.listdir(outside))
    assert made in (["below", "repos"], []), "newer versions of bubblewrap refuse"
    for name in made:
        subprocess.run(["rm", "-r", outside / name], check=True)
    assert box.python("print(os.listdir('/var/db/repos'), os.listdir('/tmp'))") == "['demo'] ['below', 'repos']"
    assert not os.listdir(outside)
