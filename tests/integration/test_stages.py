"""The whole line of stages, from a foreign seed to a stage4 on a stage4, with real Portage inside each stage."""

from __future__ import annotations

import re

import pytest

from integration.sites import LINE, Line
from integration.support import build, finished, states

pytestmark = pytest.mark.real

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
    file = line.project / "stagewright.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text + looks, encoding="utf-8")
    try:
        said = line.inside("look", "sh", "-ec", INSIDE)
    finally:
        file.write_text(text, encoding="utf-8")
    assert said.code == 0, said
    planned, _, compiled = said.stdout.partition("=== compile\n")
    assert "[ebuild" in planned, said
    assert "/tmp/" not in planned
    assert "Emerging binary" not in compiled and "-o hello" in compiled, said
    assert re.search(r"^hello, inside, version [\d.]+$", compiled, re.MULTILINE), said


def test_nothing_is_done_again(line: Line) -> None:
    assert set(states(cwd=line.project, store=line.store).values()) <= {"cached"}
    again = build(cwd=line.project, store=line.store)
    assert again.built() == set()


def test_a_changed_package_of_the_last_stage_rebuilds_that_stage_alone(line: Line) -> None:
    before = states(*LINE, cwd=line.project, store=line.store)
    assert set(before.values()) == {"cached"}
    file = line.project / "stagewright.toml"
    text = file.read_text(encoding="utf-8")
    head, _, tail = text.partition("[stages.desk]")
    file.write_text(head + "[stages.desk]" + tail.replace('"@world"]', '"@world"]\nuse = ["nls"]', 1), encoding="utf-8")
    try:
        changed = states(*LINE, cwd=line.project, store=line.store)
        assert {node for node, state in changed.items() if state == "build"} == {"desk"}
        assert build("desk", cwd=line.project, store=line.store).built() == {"desk"}
    finally:
        file.write_text(text, encoding="utf-8")
