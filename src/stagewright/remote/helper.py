"""The programs of :mod:`stagewright.remote.bodies` as child processes, in the user namespace of builds."""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from stagewright import ids
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Yields
from stagewright.interpreter import python
from stagewright.remote.bodies import ranges
from stagewright.run import PIPE, Process, describe, spawn, widen


@contextlib.contextmanager
def sending(folder: Path, yields: Yields) -> Iterator[Process]:
    """Start the program that writes chunks of a result to its standard output. It waits for :func:`ask`."""
    with _running(["send", str(folder)], yields, writes=True) as process:
        yield process


def ask(process: Process, sizes: Sequence[int], wanted: Sequence[int]) -> None:
    """Report to a program of :func:`sending` the sizes of all chunks (bytes), and the numbers of those to write."""
    assert process.stdin
    process.stdin.write(json.dumps({"sizes": sizes, "wanted": ranges(wanted)}).encode())
    process.stdin.close()


@contextlib.contextmanager
def restoring(folder: Path, yields: Yields, created: float) -> Iterator[Process]:
    """Start the program that makes the tree of a result from its standard input."""
    with _running(["restore", str(folder), yields.value, str(created)], yields) as process:
        yield process


_starting = threading.Lock()
"""Held while a program is prepared: of several threads, the first one makes the namespace of builds for all."""


@contextlib.contextmanager
def _running(words: list[str], yields: Yields, *, writes: bool = False) -> Iterator[Process]:
    """Start a program, and raise its error at the end of the block. An error of the block counts only without one."""
    with _starting:
        entered = ids.enter() if yields is Yields.LAYER else []
    marked = ids.marked() if yields is Yields.LAYER else []
    command = [*entered, "setpriv", "--pdeathsig", "KILL", "--", *marked, *python("stagewright.remote.bodies", *words)]
    with tempfile.TemporaryFile() as said:
        with spawn(command, stdin=PIPE, stdout=PIPE if writes else None, stderr=said) as process:
            pipe = process.stdout if writes else process.stdin
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
                for one in (process.stdin, process.stdout):
                    if one:
                        one.close()
            code = process.wait()
        if code or problem:
            said.seek(0)
            raise _failure(said.read().decode(errors="replace"), code) from problem


def _failure(said: str, code: int) -> StagewrightError:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return StagewrightError.from_dict(json.loads(said))
    what = f"the process that copies a result ended ({describe(code)})"
    return StagewrightError(Reason.COMMAND_FAILED, what, detail=said[-4000:])
