"""Writing a converted release as a project folder, and reading it again: the written project is the same one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stagewright.catalyst.convert.write_project import write_project, write_text
from stagewright.dropin.project import Loaded
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.kinds.registry import graph_of, kinds
from stagewright.project.load import load
from stagewright.project.model import FILE_NAME, Project


def write_and_read(loaded: Loaded, project: Project, folder: Path, caches: Path) -> Iterator[tuple[str, Path]]:
    """Write the folder as :func:`write_project` does, and read it again.

    If the project with matrices is another one, each entry is written by itself. Raises ``BUG`` if that does not help.
    """
    yield from write_project(loaded.converted, project, folder, caches)
    if differences(project, folder):
        write_text(loaded.converted, folder, merged=False)
        if found := differences(project, folder):
            message = f"{folder / FILE_NAME}: the written project is not the one of the specs ({found[0]})"
            hint = "report this with the specs; stagewright catalyst build does not need the project"
            raise StagewrightError(Reason.BUG, message, detail="\n".join(found), hint=hint)


def differences(project: Project, folder: Path) -> list[str]:
    """Return the differences between a project and the one in a folder, except its files."""
    try:
        written = load(folder, kinds(), lenient=True)
        ours, theirs = graph_of(project).nodes, graph_of(written).nodes
    except ProblemsError as error:
        return [str(problem) for problem in error.problems]
    found = [f"{name}: on one side only" for name in sorted(ours.keys() ^ theirs.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        if (ours[name].settings, ours[name].inputs) != (theirs[name].settings, theirs[name].inputs):
            found.append(f"{name}: other settings or inputs")
    for what in ("info", "epoch", "variables", "repos"):
        if getattr(project, what) != getattr(written, what):
            found.append(f"{what} of the project")
    return found
