"""``stagewright catalyst``: what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stagewright.cli.main import run
from stagewright.errors import Exit, Reason

SPEC = """\
subarch: amd64
target: {target}
version_stamp: openrc-@TIMESTAMP@
rel_type: 23.0-default
profile: default/linux/amd64/23.0
snapshot_treeish: @TREEISH@
source_subpath: 23.0-default/{source}
compression_mode: pixz
"""


@dataclass
class Done:
    """The exit code of a command, and its output."""

    returncode: int
    stdout: str
    stderr: str


Call = Callable[..., Done]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout of a stage1 and a stage3, with the configuration of catalyst-auto."""
    for name in ("specs", "tools"):
        (tmp_path / name).mkdir()
    one = SPEC.format(target="stage1", source="stage3-amd64-openrc-latest")
    (tmp_path / "specs/stage1.spec").write_text(one, encoding="utf-8")
    three = SPEC.format(target="stage3", source="stage1-amd64-openrc-@TIMESTAMP@")
    (tmp_path / "specs/stage3.spec").write_text(three, encoding="utf-8")
    auto = 'SPECS_DIR=${REPO_DIR}/specs\nSETS="openrc"\nSET_openrc_SPECS="stage1.spec"\n'
    (tmp_path / "tools/auto.conf").write_text(f'{auto}SET_openrc_OPTIONAL_SPECS="stage3.spec"\n', encoding="utf-8")
    return tmp_path


@pytest.fixture
def catalyst(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command, in that checkout and in this process."""
    monkeypatch.chdir(folder)

    def call(*words: str) -> Done:
        capsys.readouterr()
        return Done(run(["catalyst", *words]), *capsys.readouterr())

    return call


def test_check(catalyst: Call) -> None:
    done = catalyst("check", "specs", "--strict")
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    assert "2 specs; nothing wrong" in done.stdout


def test_check_reports_all_mistakes(catalyst: Call, folder: Path) -> None:
    with (folder / "specs/stage1.spec").open("a", encoding="utf-8") as file:
        file.write("chostt: x\nportage_prefix: a#b\n")
    with (folder / "specs/stage3.spec").open("a", encoding="utf-8") as file:
        file.write("rel_typ: x\n")
    done = catalyst("check", "specs")
    assert done.returncode == Exit.INVALID
    assert "specs/stage1.spec:9:1: unknown key 'chostt'" in done.stderr
    assert "specs/stage3.spec:9:1: unknown key 'rel_typ'" in done.stderr
    assert "'chost'" in done.stderr
    assert "2 errors" in done.stderr
    assert done.stdout == ""
    assert "specs/stage1.spec:10:18: " in catalyst("check", "specs", "--strict").stderr


def test_strict_alone_decides_about_surprises(catalyst: Call, folder: Path) -> None:
    with (folder / "specs/stage1.spec").open("a", encoding="utf-8") as file:
        file.write("portage_prefix: a#b\n")
    plain, strict = catalyst("check", "specs"), catalyst("check", "specs", "--strict")
    assert (plain.returncode, strict.returncode) == (Exit.OK, Exit.INVALID)
    assert "1 surprising place" in plain.stdout
    assert "--strict" in plain.stdout


def test_check_as_json(catalyst: Call, folder: Path) -> None:
    with (folder / "specs/stage1.spec").open("a", encoding="utf-8") as file:
        file.write("chostt: x\nportage_prefix: a#b\ncbuild: x\n")
    done = catalyst("check", "specs", "--json")
    assert done.returncode == Exit.INVALID
    data = json.loads(done.stdout)
    assert data["specs"] == 2
    (error,) = data["errors"]
    assert (error["reason"], error["place"]["line"]) == (Reason.UNKNOWN_KEY, 9)
    assert [item["place"]["line"] for item in data["findings"]] == [10]
    assert [item["place"]["line"] for item in data["notices"]] == [11]
    assert json.loads(catalyst("check", "specs/stage3.spec", "--json").stdout)["errors"] == []


def test_graph_as_json(catalyst: Call) -> None:
    done = catalyst("graph", "specs", "--json", "--set", "TIMESTAMP=20260628T164555Z")
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    assert json.loads(done.stdout)[1] == {
        "spec": "specs/stage3.spec",
        "target": "stage3",
        "output": "23.0-default/stage3-amd64-openrc-20260628T164555Z",
        "sources": ["23.0-default/stage1-amd64-openrc-20260628T164555Z"],
        "artifacts": ["23.0-default/stage3-amd64-openrc-20260628T164555Z.tar.xz"],
        "package_cache": "packages/23.0-default/stage3-amd64",
        "sets": [],
        "optional": False,
    }


def test_graph_of_sets_with_an_estimate(catalyst: Call) -> None:
    data = json.loads(catalyst("graph", "--conf", "tools/auto.conf", "--json", "--jobs", "4").stdout)
    assert [(row["sets"], row["optional"]) for row in data["specs"]] == [(["openrc"], False), (["openrc"], True)]
    assert data["estimate"]["levels"] == [1, 1]
    assert data["estimate"]["makespan"] == 2


def test_graph_on_a_terminal(catalyst: Call) -> None:
    lines = catalyst("graph", "specs", "--jobs", "1").stdout.splitlines()
    assert lines[:3] == [
        "23.0-default/stage3-amd64-openrc-latest  seed",
        "└── 23.0-default/stage1-amd64-openrc-@TIMESTAMP@  stage1",
        "    └── 23.0-default/stage3-amd64-openrc-@TIMESTAMP@  stage3",
    ]
    assert any("with 1 at the same time: 2 steps" in line for line in lines)


@pytest.mark.parametrize(("picture", "start"), [("dot", "digraph"), ("mermaid", "flowchart"), ("json", "[")])
def test_graph_as_pictures(catalyst: Call, picture: str, start: str) -> None:
    assert catalyst("graph", "specs", "--as", picture, "--jobs", "2").stdout.startswith(start)


@pytest.mark.parametrize(
    "words",
    [
        ["chekc"],
        ["check"],
        ["check", "nothing"],
        ["check", "tools"],
        ["check", "specs", "--set", "TIMESTAMP"],
        ["check", "specs", "--conf", "nothing.conf"],
        ["graph", "specs", "--jobs", "0"],
        ["graph", "specs", "--as", "painting"],
        ["graph", "nothing"],
    ],
    ids=" ".join,
)
def test_nonsense(catalyst: Call, words: list[str]) -> None:
    done = catalyst(*words)
    assert done.returncode == Exit.INVALID
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("words", [[], ["check"], ["graph"]], ids=" ".join)
def test_help(catalyst: Call, words: list[str]) -> None:
    done = catalyst(*words, "--help")
    assert done.returncode == Exit.OK
    assert f"Usage: stagewright catalyst {' '.join(words)}".strip() in done.stdout
