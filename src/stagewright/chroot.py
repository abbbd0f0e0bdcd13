"""Functions that run inside a root: in a child process whose root directory is that root.

Links in a root may point anywhere. Inside, none of them leads outside of the root.
"""

from __future__ import annotations

import functools
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import BuiltinImporter, FrozenImporter
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

from stagewright.errors import StagewrightError
from stagewright.run import PIPE, describe, fork, interpreter, spawn

P = ParamSpec("P")
T = TypeVar("T")


def inside(root: Path, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a child process whose root directory is ``root``, and return its result.

    The modules that the function needs must be imported before: inside, nothing can be imported. Otherwise Python would
    run modules of the root, which may have the same paths, with the rights of this process. Open file descriptors that
    are arguments stay usable. The result passes by pickle.

    The child is a fork. In a process with several threads it is a new interpreter, see :func:`stagewright.run.fork`:
    the function must then be defined at the top of a module, and its arguments pass by pickle, too.

    Raises: errors of Stagewright and OSError as the function raised them; RuntimeError for every other exception.
    """
    call = functools.partial(function, *args, **kwargs)
    if len(os.listdir("/proc/self/task")) == 1:  # noqa: PTH208  names are enough
        data, code = fork(functools.partial(_answer, root, call))
    else:
        data, code = _in_new_interpreter(root, call)
    if not data:
        raise RuntimeError(f"{function.__name__} in {root}: no result, {describe(code)}")
    succeeded, value = pickle.loads(data)  # noqa: S301  our own child wrote it
    if succeeded:
        return value  # type: ignore[no-any-return]
    raise value


def _in_new_interpreter(root: Path, call: functools.partial[Any]) -> tuple[bytes, int]:
    """Return the answer of a new process, and its exit code."""
    numbers = [value for value in (*call.args, *call.keywords.values()) if isinstance(value, int) and value > 2]
    words = [*interpreter(), "-c", "from stagewright.chroot import answer_request; answer_request()"]
    with spawn(words, stdin=PIPE, stdout=PIPE, pass_fds=list(filter(_is_open, numbers))) as process:
        data, _ = process.communicate(pickle.dumps((root, call)))
    return data, process.returncode


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except (OSError, OverflowError):
        return False
    return True


def answer_request() -> None:
    """Read the call of :func:`inside` from standard input and write its answer to standard output."""
    root, call = pickle.load(sys.stdin.buffer)  # noqa: S301  our parent wrote it
    with os.fdopen(os.dup(1), "wb") as stream:
        os.dup2(2, 1)  # text that the function prints is not part of the answer
        _answer(root, call, stream)


def _answer(root: Path, call: Callable[[], Any], stream: IO[bytes]) -> None:
    """Call a function inside a root, and write its pickled result or error."""
    try:
        os.chroot(root)
        os.chdir("/")
        sys.meta_path[:] = [BuiltinImporter, FrozenImporter]
        data = pickle.dumps((True, call()))
    except BaseException as error:  # noqa: BLE001  the parent raises it
        data = pickle.dumps((False, _portable(error)))
    stream.write(data)


def _portable(error: BaseException) -> BaseException:
    """Return a form of an error that passes by pickle."""
    if isinstance(error, StagewrightError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    return RuntimeError("".join(traceback.format_exception(error)))
