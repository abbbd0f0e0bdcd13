"""The notes of a release as files: ``notes.json`` for programs, Markdown and a page of HTML for people."""

from __future__ import annotations

from pathlib import Path

from stagewright.release.notes import NOTES, Notes
from stagewright.release.release_folder import write_text
from stagewright.release.rendering import render

NOTES_PAGE = "notes.html"
NOTES_TEXT = "notes.md"


def write_notes(notes: Notes, folder: Path, templates: Path | None) -> None:
    """Write the notes into the folder of a release. ``templates`` is the folder of the project, None without one."""
    write_text(folder / NOTES, notes.text(), notes.date)
    for name in (NOTES_TEXT, NOTES_PAGE):
        text = render(
            [name], {"notes": notes}, package="stagewright.kinds.releases", folder=templates, place="notes.templates"
        )
        write_text(folder / name, text, notes.date)
