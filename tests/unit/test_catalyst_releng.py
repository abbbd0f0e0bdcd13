"""All official specs, if available: every configuration is checked, planned and converted, and loads with equal keys.

This repository does not contain them. ``STAGEWRIGHT_RELENG`` names a checkout of Gentoo's releng repository.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from releases import keys_in

from stagewright.catalyst.convert.write_project import project_text
from stagewright.cli.main import run
from stagewright.dropin.project import Loaded, load_release
from stagewright.dropin.written import differences, write_and_read
from stagewright.errors import Exit
from stagewright.kinds.registry import kinds
from stagewright.project.load import load

RELENG = Path(os.environ.get("STAGEWRIGHT_RELENG") or "/nonexistent")
CONFS = sorted(RELENG.glob("tools/catalyst-auto-*.conf"))
TREES = [RELENG / "releases" / name for name in ("specs", "specs-qemu")]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not CONFS, reason="NOT TESTED: no official specs; name a checkout of releng by STAGEWRIGHT_RELENG"
    ),
]

LEFT_OUT = {
    "alpha": 1,
    "hppa": 1,
    "loong": 1,
    "ppc": 2,
    "ppc64le": 1,
    "riscv": 3,
    "x86": 1,
    "auto-sparc64": 2,
    "qemu-sparc64": 1,
}
"""Number of specs that are left out, by the end of the name of the configuration: media that nothing boots."""


def conf_of(tmp_path: Path) -> Path:
    conf = tmp_path / "catalyst.conf"
    conf.write_text(f'storedir = "{tmp_path}"\noptions = ["pkgcache"]\nbinhost = "https://e.org"\n', encoding="utf-8")
    return conf


def converted(loaded: Loaded, out: Path) -> None:
    """Convert, read the project again, and compare everything that goes into keys."""
    project = loaded.project(lenient=True)
    list(write_and_read(loaded, project, out, out / "no-caches"))
    text = (out / "stagewright.toml").read_text(encoding="utf-8")
    assert 'matrix = "' in text or len(loaded.release.members) < 6
    assert differences(project, out) == []
    before, after = keys_in(project), keys_in(load(out, kinds(), lenient=True))
    assert before.keys() == after.keys()
    for name, key in before.items():
        ours, theirs = ({**one.data} for one in (key, after[name]))
        for part in ("files", "inputs"):  # of files that are missing here
            assert ours.pop(part).keys() == theirs.pop(part).keys()
        assert ours == theirs, name


@pytest.mark.parametrize("conf", CONFS, ids=lambda path: path.stem)
def test_every_configuration_is_converted_and_loads(conf: Path, tmp_path: Path) -> None:
    loaded = load_release([], [conf_of(tmp_path), conf], {}, {}).usable(keep_refused=True)
    assert {error.message.partition(" for ")[0] for error in loaded.left_out} <= {"subarch: media"}
    assert len(loaded.left_out) == max(
        (count for end, count in LEFT_OUT.items() if conf.stem.endswith(f"-{end}")), default=0
    )
    converted(loaded, tmp_path / "out")


@pytest.mark.parametrize("tree", TREES, ids=lambda path: path.name)
def test_a_whole_tree_is_converted_and_loads(tree: Path, tmp_path: Path) -> None:
    converted(load_release([tree], [conf_of(tmp_path)], {}, {}).usable(keep_refused=True), tmp_path / "out")


def test_both_trees_are_one_graph(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalyst", "graph", *map(str, TREES), "--json"]) == Exit.OK
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 406
    assert said.err.count("is also made by") == 11


@pytest.mark.parametrize("command", ["check", "plan"])
def test_both_trees_are_checked_and_planned(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--store", str(tmp_path / "store"), "catalyst", command, *map(str, TREES), "--json"]
    assert run(words) == Exit.INVALID
    found = json.loads(capsys.readouterr().out)
    errors = found["errors"] if command == "check" else found["left_out"]
    assert {error["reason"] for error in errors} <= {"not-supported", "duplicate-name"}
    assert len(errors) == (14 if command == "check" else 25)


def test_amd64_is_shorter_than_its_specs(tmp_path: Path) -> None:
    specs = RELENG / "releases/specs/amd64"
    loaded = load_release([specs], [], {}, {})
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in specs.rglob("*.spec"))
    assert len(project_text(loaded.converted, specs).splitlines()) < 0.36 * lines
