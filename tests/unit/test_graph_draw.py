"""Drawings of the graph: texts that their programs understand, whatever the names."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from stagewright.graph.draw import Picture, draw
from stagewright.graph.node import Graph, Node, Yields


def graph(odd: str = "live+boot.squashfs") -> Graph:
    return Graph.of(
        [
            Node("seed:debian", "bootstrap", Yields.LAYER),
            Node("live", "livecd-stage1", Yields.LAYER, inputs={"root": "seed:debian"}),
            Node(odd, "squashfs", Yields.ARTIFACT, inputs={"live": "live", "boot": "seed:debian"}),
        ]
    )


ODD = ["live+boot.squashfs", 'say "hi"', "a\\b", "end]", "ends with \\", "<b>&amp;</b>", "é ü", "a|b{c}"]


def test_text() -> None:
    assert draw(graph(), Picture.TEXT, {"live": "cached"}).splitlines() == [
        "seed:debian  bootstrap",
        "├── live  livecd-stage1  cached",
        "└── live+boot.squashfs  squashfs  (and from live)",
    ]


def test_text_of_a_chain_has_its_depth() -> None:
    nodes = [Node("a", "seed", Yields.LAYER), Node("z", "seed", Yields.LAYER)]
    nodes += [Node(name, "stage", Yields.LAYER, inputs={"root": below}) for name, below in ("ba", "cb", "db", "ea")]
    text = draw(Graph.of(nodes), Picture.TEXT)
    assert sorted(text.splitlines()) == sorted(
        ["a  seed", "├── b  stage", "│   ├── c  stage", "│   └── d  stage", "└── e  stage", "z  seed"]
    )
    assert text.index("b  ") < text.index("c  ") < text.index("d  ") < text.index("e  ")


def test_mermaid() -> None:
    lines = draw(graph(), Picture.MERMAID, {"live": "cached"}).splitlines()
    assert lines[0] == "flowchart LR"
    assert '  n0["seed:debian<br/>bootstrap"]' in lines
    assert '  n1["live<br/>livecd-stage1<br/>cached"]' in lines
    assert '  n2(["live+boot.squashfs<br/>squashfs"])' in lines
    assert {"  n0 -->|root| n1", "  n1 -->|live| n2", "  n0 -->|boot| n2"} <= set(lines)
    assert len(lines) == 7


def test_dot() -> None:
    text = draw(graph(), Picture.DOT, {"live": "cached"})
    assert text.startswith("digraph stagewright {\n")
    assert text.endswith("}\n")
    assert '"live" [shape=box, label="live\\nlivecd-stage1\\ncached"];' in text
    assert '"live+boot.squashfs" [shape=note, ' in text
    assert '"seed:debian" -> "live" [label="root"];' in text


def test_json() -> None:
    rows = json.loads(draw(graph(), Picture.JSON))
    assert [row["node"] for row in rows] == graph().order()
    assert rows[-1] == {
        "node": "live+boot.squashfs",
        "kind": "squashfs",
        "yields": "artifact",
        "inputs": {"live": "live", "boot": "seed:debian"},
    }


@pytest.mark.skipif(not shutil.which("dot"), reason="NOT TESTED: Graphviz is not installed")
@pytest.mark.parametrize("odd", ODD)
def test_svg_shows_every_name_as_it_is(odd: str) -> None:
    from xml.etree import ElementTree

    picture = ElementTree.fromstring(draw(graph(odd), Picture.SVG))
    words = "".join(picture.itertext())
    assert odd in words.replace("\xa0", " ")
    assert "livecd-stage1" in words


@pytest.mark.parametrize("odd", ODD)
def test_mermaid_holds_odd_names_in_one_line(odd: str) -> None:
    (line,) = [line for line in draw(graph(odd), Picture.MERMAID).splitlines() if "squashfs" in line]
    found = re.fullmatch(r'  n\d\(\["(.*)<br/>squashfs"\]\)', line)
    assert found
    assert '"' not in found[1]
    assert "<" not in found[1]
    shown = re.sub(r"#(\w+);", lambda match: {"quot": '"', "lt": "<", "gt": ">", "amp": "&"}[match[1]], found[1])
    assert shown == odd
