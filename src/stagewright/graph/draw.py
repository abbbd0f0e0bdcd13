"""Drawings of the graph: lines for a terminal, Mermaid, DOT, JSON, and SVG by Graphviz."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from stagewright.graph.node import Graph, Yields
from stagewright.run import run


class Picture(enum.StrEnum):
    """Format of a drawing."""

    TEXT = "text"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"
    JSON = "json"


def draw(graph: Graph, picture: Picture, notes: Mapping[str, str] | None = None) -> str:
    """Return the text of the picture. ``notes`` adds a word to nodes, such as ``cached``.

    Raises: MISSING_TOOL for SVG if Graphviz is not installed.
    """
    if picture is Picture.TEXT:
        return lines(graph, notes or {})
    if picture is Picture.MERMAID:
        return mermaid(graph, notes or {})
    if picture is Picture.JSON:
        import json  # noqa: PLC0415

        return json.dumps(as_data(graph), indent=2)
    text = dot(graph, notes or {})
    return run(["dot", "-Tsvg"], stdin=text.encode()).stdout if picture is Picture.SVG else text


def lines(graph: Graph, notes: Mapping[str, str]) -> str:
    """Return a tree for terminals: each node is below its first input and names its other inputs."""
    below: dict[str, list[str]] = {node_id: [] for node_id in graph.nodes}
    found: list[str] = []
    waiting: list[tuple[str, str, str]] = []  # last one first: node, indent of its line, indent of its subtree
    for node_id in reversed(graph.order()):
        sources = sorted(graph.nodes[node_id].inputs.items())
        if sources:
            below[sources[0][1]].append(node_id)
        else:
            waiting.append((node_id, "", ""))
    while waiting:
        node_id, lead, indent = waiting.pop()
        others = [source for _, source in sorted(graph.nodes[node_id].inputs.items())[1:]]
        label = "  ".join(_label(node_id, graph.nodes[node_id].kind, notes))
        found.append(f"{lead}{label}" + (f"  (and from {', '.join(others)})" if others else ""))
        for number, user in enumerate(below[node_id]):
            corner, bar = ("└── ", "    ") if number == 0 else ("├── ", "│   ")
            waiting.append((user, indent + corner, indent + bar))
    return "".join(f"{line}\n" for line in found)


def mermaid(graph: Graph, notes: Mapping[str, str]) -> str:
    """Return a Mermaid flowchart, for Markdown pages."""
    names = {node_id: f"n{number}" for number, node_id in enumerate(graph.order())}
    text = ["flowchart LR"]
    for node_id, name in names.items():
        node = graph.nodes[node_id]
        opening, closing = ("([", "])") if node.yields is Yields.ARTIFACT else ("[", "]")
        label = "<br/>".join(map(_for_mermaid, _label(node_id, node.kind, notes)))
        text.append(f'  {name}{opening}"{label}"{closing}')
    for node_id, name in names.items():
        text.extend(
            f"  {names[source]} -->|{role}| {name}" for role, source in sorted(graph.nodes[node_id].inputs.items())
        )
    return "\n".join(text) + "\n"


def dot(graph: Graph, notes: Mapping[str, str]) -> str:
    """Return a directed graph in the language of Graphviz."""
    text = [
        "digraph stagewright {",
        "  rankdir=LR;",
        '  node [fontname="sans-serif"];',
        '  edge [fontname="sans-serif"];',
    ]
    for node_id in graph.order():
        node = graph.nodes[node_id]
        shape = "note" if node.yields is Yields.ARTIFACT else "box"
        label = r"\n".join(map(_for_dot, _label(node_id, node.kind, notes)))
        text.append(f'  "{_for_dot(node_id)}" [shape={shape}, label="{label}"];')
    for node_id in graph.order():
        text.extend(
            f'  "{_for_dot(source)}" -> "{_for_dot(node_id)}" [label="{role}"];'
            for role, source in sorted(graph.nodes[node_id].inputs.items())
        )
    return "\n".join([*text, "}"]) + "\n"


def as_data(graph: Graph) -> list[dict[str, Any]]:
    """Return one dictionary for each node, in build order."""
    return [
        {"node": node_id, "kind": node.kind, "yields": node.yields.value, "inputs": dict(node.inputs)}
        for node_id, node in ((node_id, graph.nodes[node_id]) for node_id in graph.order())
    ]


def _label(node_id: str, kind: str, notes: Mapping[str, str]) -> list[str]:
    note = notes.get(node_id)
    return [node_id, kind, *([note] if note else [])]


def _for_mermaid(text: str) -> str:
    return text.replace("#", "#35;").replace("&", "#amp;").replace("<", "#lt;").replace('"', "#quot;")


def _for_dot(text: str) -> str:
    return text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
