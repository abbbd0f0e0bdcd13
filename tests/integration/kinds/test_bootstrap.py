"""bootstrap: a Debian root with exactly the packages that the lock file pins; builds never move a pin."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.support import Run, build, call, edit, states, write_project

pytestmark = pytest.mark.real

SEED = '[seeds.small]\nbootstrap = "debian"\nportage = ""\npackages = ["gzip"]\nexclude = ["/bin/z[em]*"]\n'


@dataclass(frozen=True)
class Pinned:
    """A project with a small seed that has been built once."""

    project: Path
    store: Path
    first: Run
    lock: str


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Pinned:
    folder = tmp_path_factory.mktemp("pins")
    project, store = write_project(folder / "project", SEED), folder / "store"
    first = build("small", cwd=project, store=store)
    return Pinned(project, store, first, (project / "stagewright.lock").read_text(encoding="utf-8"))


def kinds(run: Run) -> list[str]:
    return [event["kind"] for event in run.events if event["event"] == "NodeStarted"]


def test_the_root_has_the_pinned_packages(pinned: Pinned) -> None:
    (layer,) = (pinned.store / "layers").iterdir()
    tree = layer / "tree"
    assert (tree / "etc/debian_version").exists() and (tree / "usr/bin/gzip").exists()
    status = (tree / "var/lib/dpkg/status").read_text(encoding="utf-8")
    entries = (
        dict(re.findall(r"^(Package|Status|Version): (.+)$", entry, re.MULTILINE)) for entry in status.split("\n\n")
    )
    installed = {
        f"{entry['Package']}={entry['Version']}" for entry in entries if entry.get("Status", "").endswith(" installed")
    }
    pinned_versions = set(re.findall(r'^ +"([^"]+=[^"]+)",$', pinned.lock, re.MULTILINE))
    assert installed <= pinned_versions, "a look-up simulates the installation and may list more"
    assert {name.partition("=")[0] for name in installed} >= {"gzip", "bash", "libc6"}
    assert not list((tree / "var/cache/apt/archives").glob("*.deb"))


def test_excluded_files_of_packages_are_not_unpacked(pinned: Pinned) -> None:
    (layer,) = (pinned.store / "layers").iterdir()
    programs = {path.name for path in (layer / "tree/usr/bin").glob("z*")}
    assert "zcat" in programs and not {"zegrep", "zmore"} & programs
    assert "/bin/zmore\n" in (layer / "tree/var/lib/dpkg/info/gzip.list").read_text(encoding="utf-8")


def test_the_first_build_pins_and_later_ones_look_up_nothing(pinned: Pinned) -> None:
    assert kinds(pinned.first) == ["pin", "bootstrap"]
    assert re.search(r'^ +"gzip=\S+",$', pinned.lock, re.MULTILINE)
    again = build("small", cwd=pinned.project, store=pinned.store)
    assert kinds(again) == []
    assert (pinned.project / "stagewright.lock").read_text(encoding="utf-8") == pinned.lock


def test_an_empty_store_is_filled_from_the_lock(pinned: Pinned) -> None:
    """The newest versions are not looked up before the bootstrap."""
    (layer,) = (pinned.store / "layers").iterdir()
    shutil.rmtree(layer)
    again = build("--locked", "small", cwd=pinned.project, store=pinned.store)
    assert kinds(again) == ["bootstrap"]
    assert (pinned.project / "stagewright.lock").read_text(encoding="utf-8") == pinned.lock


def test_unavailable_versions_are_reported(pinned: Pinned) -> None:
    lock = pinned.project / "stagewright.lock"
    lock.write_text(re.sub(r'"gzip=[^"]+"', '"gzip=0.1-1"', pinned.lock), encoding="utf-8")
    try:
        run = build("small", cwd=pinned.project, store=pinned.store, check=False)
        assert run.code == 2, run
        assert run.reasons == {"seed:small": "lock-stale"}
        assert "gzip: pinned 0.1-1, found " in run.stderr
        assert "stagewright update" in run.stderr
        assert len(list((pinned.store / "layers").iterdir())) == 1
        log = call("log", "small", cwd=pinned.project, store=pinned.store).stdout
        assert "running --customize-hook" in log and "installing essential packages" not in log, "nothing was unpacked"
    finally:
        lock.write_text(pinned.lock, encoding="utf-8")
    assert states("small", cwd=pinned.project, store=pinned.store) == {"seed:small": "cached"}


def test_locked_refuses_to_pin(pinned: Pinned) -> None:
    edit(pinned.project, '"gzip"', '"gzip", "xz-utils"')
    try:
        run = call("build", "--locked", "small", cwd=pinned.project, store=pinned.store, check=False)
        assert run.code == 2
        assert "does not pin seed small" in run.stderr
        assert (pinned.project / "stagewright.lock").read_text(encoding="utf-8") == pinned.lock
    finally:
        edit(pinned.project, '"gzip", "xz-utils"', '"gzip"')
