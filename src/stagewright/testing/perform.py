"""Perform a script with guests: its steps, and the function ``test`` of its Python file."""

from __future__ import annotations

import ast
import inspect
import runpy
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from stagewright.errors import Place, Reason, StagewrightError, nearest
from stagewright.testing.guest import Guest
from stagewright.testing.script import BootScript
from stagewright.testing.steps import Step
from stagewright.testing.timeline import Timeline

FUNCTION = "test"
"""Name of the function in a Python file."""

ALL = "machines"
"""Name of the parameter that gets a mapping of all machines by name."""

Hold = Callable[[Mapping[str, Guest], StagewrightError | None], None]
"""Called at the end of a script, with the error of a failed one, while the machines still run."""


def perform(script: BootScript, guests: Mapping[str, Guest], timeline: Timeline, files: Mapping[str, Path]) -> None:
    """Perform a script. ``files`` are the files of the project by their path. Raises ``BOOT_FAILED``."""
    first, second, after = list(script.until_login()), list(script.after_login()), script.after_file()
    _perform_steps(first, [*second, *after], guests, timeline, files)
    if script.action:
        script.action(next(iter(guests.values())))
    _perform_steps(second, after, guests, timeline, files)
    if script.file:
        _call(script.file, guests)
    _perform_steps(after, [], guests, timeline, files)


def _perform_steps(
    steps: Sequence[Step],
    later: Sequence[Step],
    guests: Mapping[str, Guest],
    timeline: Timeline,
    files: Mapping[str, Path],
) -> None:
    """Perform steps in order. If one fails, note the others, and those of ``later``, as skipped."""
    for number, step in enumerate(steps):
        try:
            step.perform(guests[step.machine or next(iter(guests))], files)
        except StagewrightError:
            for skipped in [*steps[number + 1 :], *later]:
                timeline.skip(skipped.machine or next(iter(guests)), str(skipped))
            raise


def _call(file: Path, guests: Mapping[str, Guest]) -> None:
    """Call the function ``test`` of a Python file. Raises ``BOOT_FAILED`` with the place in the file."""
    try:
        function = runpy.run_path(str(file)).get(FUNCTION)
        known = {**guests, ALL: guests}
        if not callable(function):
            raise StagewrightError(Reason.BOOT_FAILED, f"{file}: no function `{FUNCTION}`")
        function(**{name: known[name] for name in inspect.signature(function).parameters})
    except StagewrightError as error:
        place = _place(file, error)
        raise (error.at(place) if place else error) from error.__cause__
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        tails = "".join(f"\nend of the console of {guest.name}:\n{guest.tail()}" for guest in guests.values())
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        message = f"the script failed ({what})"
        raise StagewrightError(Reason.BOOT_FAILED, message, place=_place(file, error), detail=text + tails) from error


def _place(file: Path, error: BaseException) -> Place | None:
    """Return the line of a file in which an exception was raised, directly or in a function that it called."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return Place(file, frames[-1].lineno or 0) if frames else None


def check_file(file: Path, names: Sequence[str]) -> Iterator[StagewrightError]:
    """Yield what is wrong with a Python file, without running it. ``names`` are those of the machines."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        place = Place(file, getattr(error, "lineno", None) or 0, getattr(error, "offset", None) or 0)
        yield StagewrightError(Reason.SYNTAX, f"not valid Python: {getattr(error, 'msg', error)}", place=place)
        return
    found = [part for part in tree.body if isinstance(part, ast.FunctionDef) and part.name == FUNCTION]
    if not found:
        hint = f"write def {FUNCTION}({', '.join(names)}: Machine) -> None:"
        yield StagewrightError(Reason.MISSING_KEY, f"no function `{FUNCTION}`", place=Place(file, 1), hint=hint)
    for function in found:
        known = [*names, ALL]
        for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
            if one.arg not in known:
                place, hint = Place(file, one.lineno, one.col_offset + 1), nearest(one.arg, known)
                message = f"`{FUNCTION}` has the parameter {one.arg!r}, which is not a machine of the test"
                yield StagewrightError(Reason.UNKNOWN_NAME, message, place=place, hint=hint)
