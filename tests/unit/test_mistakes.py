"""Natural mistakes of users, and the answers that they get: message, place and hint, word by word."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from stagewright.errors import Place, ProblemsError, StagewrightError
from stagewright.kinds.registry import kinds
from stagewright.project.load import load

HEAD = 'format = 1\nproject.name = "box"\nrepos.demo.path = "repo"\nseeds.base.file = "root"\n'
DATA = Path(__file__).parents[1] / "data" / "mistakes.toml"
MISTAKES: list[dict[str, Any]] = tomllib.loads(DATA.read_text(encoding="utf-8"))["mistake"]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake["name"] for mistake in MISTAKES])
def test_a_mistake_is_answered_in_words_that_help(tmp_path: Path, mistake: dict[str, Any]) -> None:
    for name in ("root/bin", "repo/profiles/p", "repo/app-misc/hello", "repo/sys-kernel/gentoo-kernel-bin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "repo/profiles/repo_name").write_text("demo\n", encoding="utf-8")
    text = mistake["input"] + "\n"
    (tmp_path / "stagewright.toml").write_text(text if mistake.get("whole") else HEAD + text, encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        load(tmp_path, kinds())
    problems = caught.value.problems if isinstance(caught.value, ProblemsError) else [caught.value]
    found = []
    for problem in problems:
        place = problem.place or Place(Path())
        words = [text.replace(f"{tmp_path}/", "") for text in (problem.message, problem.hint)]
        found.append([f"{place.line}:{place.column}", *words])
    assert found == mistake["answers"]


def test_there_are_fifty_mistakes_with_a_hint_each() -> None:
    assert len(MISTAKES) >= 50
    assert all(answer[2] for mistake in MISTAKES for answer in mistake["answers"])
    assert all(mistake["answers"] for mistake in MISTAKES)
