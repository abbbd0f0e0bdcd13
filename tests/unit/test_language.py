"""The check of the language: `tools/language.py` with the turns of `tools/language.toml`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import language


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that checks a text as a file of the given name."""
    monkeypatch.setattr(language, "ROOT", tmp_path)

    def check(name: str, text: str) -> list[tuple[int, str]]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return [(one.line, one.found) for one in sorted(language.findings(path))]

    return check


@pytest.mark.slow
def test_the_repository_has_no_findings() -> None:
    assert [str(one) for one in language.everything()] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""What a root holds."""\n', (1, "What")),
        ('x = 1\n"""Whether it holds."""\n', (2, "Whether")),
        ("# The user is told.\n", (1, "told")),
        ("# The kernel is\n# none.\n", (1, "kernel is none")),
        ('raise_("the disk has not", "an end")\n', (1, "has not")),
        ('say(f"{root} lies beside {other}")\n', (1, "beside")),
        ('say("the root "\n    "is made anew")\n', (2, "anew")),
        ("def without_a_word() -> None: ...\n", (1, "without a word")),
        ('def name() -> str:\n    """The name of it."""\n', (2, "The")),
    ],
)
def test_a_turn_in_python_is_found_with_its_line(found, text: str, expected: tuple[int, str]) -> None:
    assert found("src/module.py", text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "told = {beside: nobody}\n",
        '"""The pages say what it is and whether it holds, such as `is none`."""\n',
        '# It has not changed, there is no root, and it is no longer "None".\n',
        'key = "told"\n',
        'say(f"{self.told} of {nobody}")\n',
        'class X:\n    @property\n    def name(self) -> str:\n        """The name of it."""\n',
    ],
)
def test_code_and_plain_sentences_pass(found, text: str) -> None:
    assert found("src/module.py", text) == []


def test_messages_in_tests_are_data(found) -> None:
    assert found("tests/test_it.py", 'text = "the user is told"\n"""The user is told."""\n') == [(2, "told")]


def test_a_page_is_checked_without_its_code(found) -> None:
    page = "Nobody waits.\n\n    nobody in a block\n\n```\nnobody\n```\n`nobody` in a line\n"
    assert found("docs/page.md", page) == [(1, "Nobody")]


def test_prose_is_wrapped_and_tables_are_not(found) -> None:
    wide = "word " * 21
    assert found("docs/page.md", f"{wide}\n| {wide} |\n    {wide}\n") == [(1, "105 columns")]


def test_a_finding_names_the_replacement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("The file lies beside it.\n", encoding="utf-8")
    (finding,) = language.findings(tmp_path / "README.md")
    assert str(finding).startswith("README.md:1: 'beside': say \"next to\"")
