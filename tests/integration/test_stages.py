"""The whole line of stages, from a foreign seed to a stage4 on a stage4, with real Portage inside each stage."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.sites import LINE, Line
from integration.support import build, call, finished, states

pytestmark = pytest.mark.real

OTHER_SEED = """
[stages.lived-in]
kind = "stage4"
root = "stage1"
profile = "default/linux/amd64"
root_overlay = ["lived-in"]

[stages.stage1-again]
extends = "stage1"
root = "lived-in"

[stages.stage2-again]
extends = "stage2"
root = "stage1-again"
"""
"""A second way to a stage2. Its seed has packages of Portage and its own settings."""

OTHER_STAGES = ("lived-in", "stage1-again", "stage2-again")

SETTINGS = {
    "make.conf": 'USE="-native-symlinks lto"\nCFLAGS="-O3 -flto"\nLDFLAGS="-Wl,-z,lazy"\n',
    "package.use": "*/* -unicode\n",
    "env/all": 'CFLAGS="-Os"\n',
    "package.env": "*/* all\n",
}
"""Files of /etc/portage of the second seed. None of these may reach a stage2."""

FLAGS = ("USE", "CHOST", "CFLAGS", "CXXFLAGS", "LDFLAGS", "SLOT")
"""Names of the files in Portage's record of a package that say how it was built."""

INSIDE = """
emerge --pretend --emptytree --color=n @system
echo "=== compile"
emerge --oneshot --color=n --usepkg=n --buildpkg=n --quiet-build=n app-misc/hello
hello inside
"""


def test_every_stage_is_built_in_its_order(line: Line) -> None:
    built = [event["node"] for event in finished(line.run.events) if event["node"] in LINE]
    assert built == list(LINE)


@pytest.mark.parametrize("stage", LINE)
def test_each_stage_resolves_its_system_and_compiles_a_package(line: Line, stage: str) -> None:
    """``shell`` enters the root that a stage is built in, so each is asked through one more stage on top of it."""
    looks = f'\n[stages.look]\nkind = "stage4"\nroot = "{stage}"\nprofile = "default/linux/amd64"\n'
    with changed(line, lambda text: text + looks):
        said = line.inside("look", "sh", "-ec", INSIDE)
    assert said.code == 0, said
    planned, _, compiled = said.stdout.partition("=== compile\n")
    assert "[ebuild" in planned, said
    assert "/tmp/" not in planned
    assert "Emerging binary" not in compiled and "-o hello" in compiled, said
    assert re.search(r"^hello, inside, version [\d.]+$", compiled, re.MULTILINE), said


def test_two_seeds_give_the_same_stage2(line: Line) -> None:
    for name, content in SETTINGS.items():
        file = line.project / "lived-in/etc/portage" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    with changed(line, lambda text: text + OTHER_SEED):
        assert build("stage2-again", cwd=line.project, store=line.store).built() == set(OTHER_STAGES)
        assert "-flto" in (line.tree("lived-in") / "etc/portage/make.conf").read_text(encoding="utf-8")
        shown = call("diff", "--json", "stage2", "stage2-again", cwd=line.project, store=line.store).stdout
        trees = [line.tree(name) for name in ("stage2", "stage2-again")]
    assert json.loads(shown)["packages"] == {"added": [], "removed": [], "changed": []}
    first, second = (flags_of(tree) for tree in trees)
    assert {"sys-devel/gcc-12", "sys-libs/glibc-2"} <= set(first)
    assert first == second


def flags_of(tree: Path) -> dict[str, dict[str, str]]:
    """Return how the packages of a layer were built, by name."""
    folders = (tree / "var/db/pkg").glob("*/*")
    return {
        f"{folder.parent.name}/{folder.name}": {
            name: (folder / name).read_text(encoding="utf-8") for name in FLAGS if (folder / name).exists()
        }
        for folder in folders
    }


@contextmanager
def changed(line: Line, change: Callable[[str], str]) -> Iterator[None]:
    """Change the text of the project for the block."""
    file = line.project / "stagewright.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(change(text), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(text, encoding="utf-8")


def test_nothing_is_done_again(line: Line) -> None:
    assert set(states(cwd=line.project, store=line.store).values()) <= {"cached"}
    again = build(cwd=line.project, store=line.store)
    assert again.built() == set()


def test_a_changed_package_of_the_last_stage_rebuilds_that_stage_alone(line: Line) -> None:
    before = states(*LINE, cwd=line.project, store=line.store)
    assert set(before.values()) == {"cached"}
    with changed(line, with_nls):
        now = states(*LINE, cwd=line.project, store=line.store)
        assert {node for node, state in now.items() if state == "build"} == {"desk"}
        assert build("desk", cwd=line.project, store=line.store).built() == {"desk"}


def with_nls(text: str) -> str:
    """Return the project with another USE flag for its last stage."""
    head, _, tail = text.partition("[stages.desk]")
    return head + "[stages.desk]" + tail.replace('"@world"]', '"@world"]\nuse = ["nls"]', 1)
