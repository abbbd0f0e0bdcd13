"""Of a large project, a plan of some targets reads their entries and what these need, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.engine.session import Session
from stagewright.errors import ProblemsError
from stagewright.kinds.registry import kinds
from stagewright.project.load import load
from stagewright.project.part import LEAST, part_for

HEAD = f"""format = 1
project = {{ name = "p", version = "1", source_date_epoch = 2026-01-01 }}
variables = {{ base = "low" }}
# {"x" * LEAST}
"""

ENTRIES = """
[seeds.seed]
file = "seed.tar"
[seeds.other]
file = "other.tar"
[templates.common]
rm = ["/tmp/*"]
[stages.low]
kind = "livecd-stage1"
root = "seed"
tar = true
[stages.high]
extends = "common"
kind = "livecd-stage1"
root = "low"
[stages.aside]
kind = "livecd-stage1"
root = "other"
[tests.one]
starts = "high"
expect = ["x"]
"""

WRONG = '[stages.wrong]\nkind = "livecd-stage9"\nroot = "nothing"\n'


def write(folder: Path, text: str) -> Path:
    (folder / "stagewright.toml").write_text(HEAD + text, encoding="utf-8")
    for name in ("seed.tar", "other.tar"):
        (folder / name).touch()
    return folder


def read_for(folder: Path, *targets: str) -> set[str]:
    """Return the names of the entries that are read for targets."""
    return {entry.name for entry in load(folder, kinds(), wanted=targets).all_entries()}


EVERYTHING = {"seed", "other", "low", "low.tar", "high", "aside", "one"}


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        (["low"], {"seed", "low", "low.tar"}),
        (["aside"], {"other", "aside"}),
        (["high"], {"seed", "low", "low.tar", "high"}),
        (["test:one"], {"seed", "low", "low.tar", "high", "one"}),
        (["seed:other", "low"], {"seed", "other", "low", "low.tar"}),
        (["low.tar"], EVERYTHING),
        (["lo*"], EVERYTHING),
        (["none"], EVERYTHING),
        ([], EVERYTHING),
    ],
)
def test_targets_and_what_they_need_are_read(tmp_path: Path, targets: list[str], found: set[str]) -> None:
    assert read_for(write(tmp_path, ENTRIES), *targets) == found


def test_a_part_has_the_keys_of_the_whole(tmp_path: Path) -> None:
    write(tmp_path, ENTRIES)
    whole = Session.open(tmp_path, store=tmp_path / "store").plan(["one"])
    part = Session.open(tmp_path, store=tmp_path / "store", wanted=["one"]).plan(["one"])
    assert part.keys() == whole.keys()
    assert [step.node.place for step in part.steps.values()] == [step.node.place for step in whole.steps.values()]


def test_errors_of_other_entries_are_not_reported(tmp_path: Path) -> None:
    write(tmp_path, ENTRIES + WRONG)
    assert read_for(tmp_path, "low") == {"seed", "low", "low.tar"}
    with pytest.raises(ProblemsError):
        read_for(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        '[stages.mine]\nkind = "livecd-stage1"\nroot = "lowest"\n',
        '[stages.mine]\nkind = "livecd-stage1"\nroot = "low"\nrmm = ["/a"]\n',
        '[stages.mine]\nkind = "livecd-stage1"\nroot = "low"\n[seeds.mine]\nfile = "seed.tar"\n',
        '[stages.mine]\nkind = "livecd-stage1"\nroot = "wrong"\n',
        '[stages.mine]\nkind = "livecd-stage1"\nroot = "low"\nrm = ["/a", 1 2]\n',
    ],
)
def test_an_error_in_a_part_is_reported_with_all_others(tmp_path: Path, text: str) -> None:
    write(tmp_path, ENTRIES + text + WRONG)
    reported = []
    for targets in ((), ("mine",)):
        with pytest.raises(Exception, match="toml") as caught:
            read_for(tmp_path, *targets)
        reported.append(str(caught.value))
    assert reported[0] == reported[1]


@pytest.mark.parametrize(
    "text",
    [
        '[stages.mine]\nkind = "livecd-stage1"\nroot = "{base}"\n',
        '[stages.mine]\nkind = "livecd-stage1"\nroot = "\\u006cow"\n',
        '[stages.mine]\nkind = "livecd-stage1"\nroot = "low"\n[releases.r]\nartifacts = ["low.tar"]\n',
        '[stages.many]\nkind = "livecd-stage1"\nroot = "low"\nmatrix = { a = ["x"] }\n'
        '[stages.mine]\nkind = "livecd-stage1"\nroot = "many-x"\n',
    ],
    ids=["variable", "escape", "release", "matrix"],
)
def test_the_whole_is_read_if_a_part_is_not_enough(tmp_path: Path, text: str) -> None:
    write(tmp_path, ENTRIES + text)
    assert read_for(tmp_path, "mine") > EVERYTHING


def test_included_files_are_read_in_part(tmp_path: Path) -> None:
    write(tmp_path, 'include = ["*.d/*.toml"]\n')
    head, _, _ = HEAD.partition("#")
    (tmp_path / "stagewright.toml").write_text(f'include = ["parts/*.toml"]\n{head}', encoding="utf-8")
    (tmp_path / "parts").mkdir()
    for name, text in {"a": ENTRIES, "b": f"# {'x' * LEAST}\n{WRONG}"}.items():
        (tmp_path / "parts" / f"{name}.toml").write_text(text, encoding="utf-8")
    assert read_for(tmp_path, "aside") == {"other", "aside"}


def test_a_small_project_is_read_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path, ENTRIES)
    file = tmp_path / "stagewright.toml"
    assert part_for(file, ["low"])
    assert part_for(file, ["low"], least=LEAST * 2) is None
