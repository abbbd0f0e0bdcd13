"""Answers of scripts that run with the Python of a root, which can be hostile."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.portage.scripts import ask_script, last_line
from stagewright.root.root import Root
from stagewright.run import Result


def root(said: str) -> Root:
    """A root whose commands all print the same."""
    return cast("Root", SimpleNamespace(run=lambda *_, **__: Result(0, said)))


@pytest.mark.parametrize("said", ["", "no JSON", "[1]", '{"a": 1}', '{"a": ["b", null]}', "9" * 5000, "[" * 5000])
def test_an_unexpected_answer_is_an_error_of_the_build(said: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        ask_script(root(said), "installed_atoms.py", dict[str, list[str]])
    assert caught.value.reason is Reason.BUILD_FAILED
    assert len(caught.value.message) < 300


def test_the_last_line_counts(tmp_path: Path) -> None:
    request: tuple[Path, Any] = (tmp_path / "request.json", ["a"])
    assert ask_script(root('warning\n{"a": ["b"]}\n'), "installed_atoms.py", dict[str, list[str]], request) == {
        "a": ["b"]
    }
    assert last_line(root("one\ntwo\n"), "try_compiler.sh") == "two"
