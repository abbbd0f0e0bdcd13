"""Paths of a project in errors: relative to the current folder, as a user can type or click them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from stagewright.errors import PROJECT_FILE, Place, StagewrightError


def with_short_paths(error: StagewrightError) -> StagewrightError:
    """Return an error whose files are relative to the current folder, if they are in it or in its project.

    In texts only paths of the project are short: an error in the folder /etc can be about /etc/group of a root.
    """
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the current folder was removed
        return error
    place = error.place
    project = _project(place.file.parent if place else here)
    if project and not (project.is_relative_to(here) or here.is_relative_to(project)):
        project = None
    if place and any(place.file.is_relative_to(folder) for folder in (here, project) if folder):
        place = Place(Path(os.path.relpath(place.file, here)), place.line, place.column)
    texts = (error.message, error.hint, error.detail)
    message, hint, detail = (_shortened(text, project, here) for text in texts) if project else texts
    return StagewrightError(error.reason, message, place=place, hint=hint, detail=detail)


def _project(folder: Path) -> Path | None:
    """Return the nearest folder with a project file, from an absolute folder upwards."""
    folders = [folder, *folder.parents] if folder.is_absolute() else []
    return next((one for one in folders if os.path.isfile(one / PROJECT_FILE)), None)  # noqa: PTH113  never raises


def _shortened(text: str, project: Path, here: Path) -> str:
    """Return a text in which paths below the project folder are relative to the current folder."""
    start = "" if project == here else os.path.relpath(project, here) + "/"
    return re.sub(rf"(?<![^\s'\"(=]){re.escape(str(project))}/(?=[^\s'\")])", lambda _: start, text)
