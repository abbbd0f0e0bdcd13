"""The documentation matches the code: commands, settings, exit codes, links, modules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from stagewright.cli.kinds import reference
from stagewright.cli.main import COMMANDS, group
from stagewright.errors import Exit, Reason
from stagewright.kinds.registry import by_kind
from stagewright.project.describe import settings
from tools.docs_pages import GENERATED

ROOT = Path(__file__).parents[2]
TOPS = ("", "src/stagewright", "tests/plugins/stagewright_oci")
"""Folders that pages name modules in."""

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_reference_of_kinds_is_current() -> None:
    expected = reference()
    page = ROOT / "docs" / "kinds.md"
    assert page.read_text(encoding="utf-8") == expected, "run: stagewright kinds --markdown > docs/kinds.md"


@pytest.mark.parametrize("kind", sorted(by_kind()))
def test_every_setting_is_explained(kind: str) -> None:
    model = by_kind()[kind]
    if model.table:
        assert [item.name for item in settings(model) if not item.text] == []


def test_every_exit_code_and_reason_is_documented() -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    rows = {int(row[1]): row[0] for row in re.finditer(r"^\| (\d+) \|.*$", page, re.MULTILINE)}
    assert set(rows) == {int(code) for code in Exit}
    for reason in Reason:
        assert f"`{reason}`" in rows[reason.exit], f"{reason} belongs to exit code {reason.exit}"


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"`{name}" not in text and f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    local = {link: (page.parent / link).resolve() for link in links if not link.startswith("http")}
    generated = {ROOT / "docs" / name for name in GENERATED}
    assert [link for link, target in local.items() if target not in generated and not target.exists()] == []


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words after ``stagewright`` of the command lines in code, without comments."""
    for block, span in re.findall(r"^ {2,}(.*(?:\\\n.*)*)|`([^`\n]+)`", text, re.MULTILINE):
        line = re.sub(r"\s#.*|\\\n|&&.*|\|.*", " ", block or span)
        if found := re.match(r"(?:\S*bin/)?stagewright (.*)", line.strip()):
            yield found[1].split()


def unknown(words: list[str], command: click.Command) -> Iterator[str]:
    """Yield what a command line has that the command does not: subcommands and options."""
    ctx = click.Context(command)
    while words and isinstance(command, click.Group):
        if words[0].startswith("-"):
            return  # options of the group, with values
        name, words = words[0], words[1:]
        if not re.fullmatch(r"[a-z-]+", name):
            return  # a placeholder
        found = command.get_command(ctx, name)
        if found is None:
            yield name
            return
        command = found
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--"}
    options = [word.partition("=")[0] for word in [*words, "--"] if word[:1] == "-"]
    yield from (option for option in options[: options.index("--")] if option not in known)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_in_the_pages_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = [(words, list(unknown(words, group))) for words in commands(text)]
    assert [(" ".join(words), found) for words, found in wrong if found] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_in_the_pages_exist(page: Path) -> None:
    named = re.findall(r"\b((?:[a-z_]+/)+[a-z0-9_]+\.py)\b", page.read_text(encoding="utf-8"))
    assert [name for name in named if not any((ROOT / top / name).exists() for top in TOPS)] == []


def test_every_kind_is_in_the_architecture_with_its_folder() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`[a-z0-9.-]+`(?:, )?)+) \| `([a-z]+)` \|", page, re.MULTILINE)
    listed = {kind: folder for kinds, folder in rows for kind in re.findall(r"`([^`]+)`", kinds)}
    assert listed == {kind: model.__module__.split(".")[-2] for kind, model in by_kind().items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_methods_in_the_pages_exist(page: Path) -> None:
    """Names such as ``Stage.expand``: a module has the class, and the same module has the attribute."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    missing = [
        f"{name}.{attribute}"
        for name, attribute in re.findall(
            r"`([A-Z][a-z0-9]+[A-Za-z0-9]*)\.([a-z_]+)(?:\(.*?\))?`", page.read_text("utf-8")
        )
        if not any(re.search(rf"class {name}\b", text) and re.search(rf"\b{attribute}\b", text) for text in sources)
    ]
    assert missing == []


def test_decisions_are_numbered_without_gaps() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    titles = [re.match(r"# (\d+)\. ", page.read_text(encoding="utf-8")) for page in pages]
    assert [title and int(title[1]) for title in titles] == list(range(1, len(pages) + 1))
    assert [int(page.name[:3]) for page in pages] == list(range(1, len(pages) + 1))
