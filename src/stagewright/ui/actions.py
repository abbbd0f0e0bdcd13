"""Command lines for the result of an entry."""

from __future__ import annotations

from stagewright.graph.node import Yields
from stagewright.project.model import Entry, Project

IMAGES = ("livecd-stage3", "diskimage-stage2")
"""Kinds whose results are images that machines start from."""

SETS = ("pxeboot", "netboot")
"""Kinds whose results are sets for network boot."""


def bootable(project: Project) -> list[str]:
    """Return the stages whose results ``stagewright boot`` starts: images and sets for network boot."""
    return [name for name, entry in project.entries["stages"].items() if entry.kind in (*IMAGES, *SETS)]


def action(entry: Entry) -> str:
    """Return the command line for the result of an entry; empty if it is a file for other programs."""
    if entry.table == "tests":
        return f"stagewright test {entry.name}"
    if entry.table == "releases":
        return f"stagewright publish {entry.name} TARGET"
    if entry.kind in (*IMAGES, *SETS):
        return f"stagewright boot {entry.name}"
    if getattr(entry.model, "yields", None) is Yields.LAYER:
        return f"stagewright shell {entry.name}"
    return ""
