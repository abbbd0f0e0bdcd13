"""The programs of :mod:`stagewright.remote.bodies` as child processes, in the user namespace of builds."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stagewright import ids
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Yields
from stagewright.interpreter import python
from stagewright.run import PIPE, Process, describe, spawn, widen


@contextlib.contextmanager
def sending(folder: Path, wanted: Path, yields: Yields) -> Iterator[Process]:
    """Start the program that writes chunks of a result to its standard output. ``wanted`` is a file with numbers."""
    with _running(["send", str(folder), str(wanted)], yields, reads=False) as process:
        yield process


@contextlib.contextmanager
def restoring(folder: Path, yields: Yields, created: float) -> Iterator[Process]:
    """Start the program that makes the tree of a result from its standard input."""
    with _running(["restore", str(folder), yields.value, str(created)], yields, reads=True) as process:
        yield process


@contextlib.contextmanager
def _running(words: list[str], yields: Yields, *, reads: bool) -> Iterator[Process]:
    """Start a program, and raise its error at the end of the block. An error of the block counts only without one."""
    entered = ids.enter() if yields is Yields.LAYER else []
    marked = ids.marked() if yields is Yields.LAYER else []
    command = [*entered, "setpriv", "--pdeathsig", "KILL", "--", *marked, *python("stagewright.remote.bodies", *words)]
    with tempfile.TemporaryFile() as said:
        streams = {"stdin": PIPE} if reads else {"stdout": PIPE}
        with spawn(command, stderr=said, **streams) as process:  # type: ignore[arg-type]
            pipe = process.stdin if reads else process.stdout
            assert pipe
            widen(pipe)
            problem: BaseException | None = None
            try:
                yield process
            except (BrokenPipeError, EOFError) as error:
                problem = error
            except BaseException:
                process.end(0.1)
                raise
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
            code = process.wait()
        if code or problem:
            said.seek(0)
            raise _failure(said.read().decode(errors="replace"), code) from problem


def _failure(said: str, code: int) -> StagewrightError:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return StagewrightError.from_dict(json.loads(said))
    what = f"the process that copies a result ended ({describe(code)})"
    return StagewrightError(Reason.COMMAND_FAILED, what, detail=said[-4000:])
