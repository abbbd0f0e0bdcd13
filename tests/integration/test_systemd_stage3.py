"""A systemd stage3 by the recipe of emerge --root: its message bus starts in a container; its bytes are the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from integration.support import (
    REPOSITORY,
    SEED,
    Run,
    Warm,
    build,
    copy_project,
    owner_in_layer,
    plan,
    seeds_of,
    write_project,
)
from stagewright.reproduce.differences import file_differences

pytestmark = pytest.mark.real

PROJECT = """
[repos.stages]
path = "repo"

[stages.system]
kind = "stage3-root"
root = "debian"
profile = "default/linux/amd64/recipe"
first = [["sys-apps/baselayout", "sys-libs/glibc"], ["sys-apps/shadow"]]
packages = ["@system", "sys-apps/systemd", "sys-apps/dbus"]

[stages.stage3]
kind = "tarball"
root = "system"
level = 1

[stages.asked]
kind = "stage4"
root = "system"
root_overlay = ["overlay"]

[tests.starts]
starts = "asked"
expect = [
    "bus: active messagebus",
    'name: "org.freedesktop.systemd1"',
    "Reached target .*Multi-User System",
    "login: $",
]
poweroff = true
timeout = 200
"""

UNIT = """[Unit]
Description=Say on the console what a program sees of the message bus
After=dbus.service
[Service]
Type=oneshot
StandardOutput=tty
ExecStart=/usr/local/bin/ask-the-bus
"""

QUESTIONS = """#!/bin/sh
pid=$(systemctl show --property=MainPID --value dbus.service)
echo "bus: $(systemctl is-active dbus.service) $(stat --format=%U /proc/$pid)"
busctl --system list --acquired --no-legend | sed -n 's/^\\(org.freedesktop.systemd1\\) .*/name: "\\1"/p'
"""


@dataclass(frozen=True)
class Recipe:
    """The project of the recipe, built in one store."""

    project: Path
    store: Path
    run: Run

    @property
    def tree(self) -> Path:
        """The root that is shipped."""
        return self.store / "layers" / plan("system", cwd=self.project, store=self.store)["system"]["key"] / "tree"

    @property
    def tarball(self) -> Path:
        """The system in its packed form, as it is shipped."""
        (found,) = (self.project / "out").glob("system-*.tar.zst")
        return found.resolve()


@pytest.fixture(scope="module")
def recipe(seed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recipe]:
    """The tarball and the test that starts it, from the seed."""
    project = write_project(tmp_path_factory.mktemp("recipe") / "project", seeds_of(SEED) + PROJECT)
    shutil.copy(seed.lock, project)
    shutil.copytree(REPOSITORY / "examples/stages/repo", project / "repo")
    shutil.copytree(REPOSITORY / "tests/data/systemd-stage3/repo", project / "repo", dirs_exist_ok=True)
    wants = project / "overlay/etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants.parent / "ask-the-bus.service").write_text(UNIT, encoding="utf-8")
    (wants / "ask-the-bus.service").symlink_to("../ask-the-bus.service")
    (wants.parent / "ssh.service").symlink_to("/dev/null")  # a unit of the system that builds, without its program
    script = project / "overlay/usr/local/bin/ask-the-bus"
    script.parent.mkdir(parents=True)
    script.write_text(QUESTIONS, encoding="utf-8")
    script.chmod(0o755)
    store = seed.copy(["seed:debian"], binpkgs=False)
    yield Recipe(project, store, build("stage3", "starts", cwd=project, store=store))
    shutil.rmtree(store)


def accounts(tree: Path, name: str) -> dict[str, int]:
    """Return the numbers of a root's users (``passwd``) or groups (``group``)."""
    lines = (tree / "etc" / name).read_text(encoding="utf-8").splitlines()
    return {words[0]: int(words[2]) for words in (line.split(":") for line in lines)}


def test_it_starts_and_its_message_bus_is_active(recipe: Recipe) -> None:
    report = json.loads((recipe.project / "out/starts/result.json").read_text(encoding="utf-8"))
    assert report["passed"]
    assert {"bus: active messagebus", "login: $", "off"} <= set(report["milestones"])


def test_files_belong_to_the_accounts_of_the_new_root(recipe: Recipe, seed: Warm) -> None:
    """The number of the account differs in the root that builds."""
    ours, theirs = accounts(recipe.tree, "group"), accounts(seed.tree("seed:debian"), "group")
    assert ours["messagebus"] == 101 != theirs["messagebus"]
    assert owner_in_layer(recipe.tree / "usr/lib/dbus-1.0/dbus-daemon-launch-helper") == (0, 101)
    assert owner_in_layer(recipe.tree / "var/lib/dbus") == (accounts(recipe.tree, "passwd")["messagebus"], 101)


def test_the_same_bytes_are_built_twice(recipe: Recipe, seed: Warm, tmp_path: Path) -> None:
    """The second build compiles everything again, in another store and with another order of Python's sets."""
    project, store = (
        copy_project(recipe.project, tmp_path / "in-another-folder"),
        seed.copy(["seed:debian"], binpkgs=False),
    )
    shutil.copy(seed.lock, project)
    run = build("stage3", cwd=project, store=store, env={"PYTHONHASHSEED": "random"})
    assert run.built() == {"system.prepared", "system", "stage3"}
    again = replace(recipe, project=project, store=store)
    differing = [
        f"{one.place}: {', '.join(one.what)}"
        for one in file_differences("stage3", recipe.tarball, again.tarball, tmp_path)
    ]
    shutil.rmtree(store)
    assert differing == []
