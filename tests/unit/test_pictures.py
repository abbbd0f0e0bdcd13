"""Pictures of terminals: what a program showed is in the SVG, and every picture of a page has a maker."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("pyte")

from tools.pictures import IMAGES, Place, Terminal, pictures
from tools.terminal_svg import recording, still

ROOT = Path(__file__).parents[2]


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(Place(tmp_path, tmp_path / "store"), rows=10)


def test_a_picture_has_what_the_terminal_shows(terminal: Terminal) -> None:
    terminal.run("printf 'one <&> \\033[31mred\\033[0m\\ngone\\r\\033[2Kleft'")
    root = ElementTree.fromstring(still(terminal.lines(), 100, "title"))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[-3:] == ["one <&>", "red", "left"]


def test_a_recording_shows_each_screen_once_in_its_order(terminal: Terminal) -> None:
    terminal.run("echo first")
    terminal.run("mkdir below")
    terminal.run("cd below")
    terminal.run("pwd | sed s,.*/,in,")
    text = recording(terminal.screens, 100, 10, "title")
    assert text.index("first") < text.index("inbelow")
    times = [float(percent) for percent in re.findall(r"([\d.]+)% \{", text)]
    assert times == sorted(times) and times[0] == 0 and times[-1] == 100
    assert len(times) == len(terminal.screens) + 1
    ElementTree.fromstring(text)


def test_every_picture_of_a_page_has_a_maker(tmp_path: Path) -> None:
    made = {*pictures(Place(tmp_path, tmp_path), Place(tmp_path, tmp_path)), "stages"}  # this one is a drawing
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = {name for page in pages for name in re.findall(r"images/([\w-]+)\.", page.read_text(encoding="utf-8"))}
    assert shown <= made
    assert {file.stem for file in IMAGES.iterdir()} == shown
    assert all(file.stat().st_size < 150_000 for file in IMAGES.iterdir())
