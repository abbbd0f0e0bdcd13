"""Functions that run inside a root: in a thread whose root directory is that root.

Links in a root may point anywhere. Inside, none of them leads outside of the root.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_CLONE_FS = 0x200
"""Flag of unshare(2): the root directory, the working directory and the umask."""

_here = threading.local()
_c_library = ctypes.CDLL(None, use_errno=True)


def inside(root: Path, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a thread whose root directory is ``root``, and return its result.

    On Linux each thread can have a separate root directory, see unshare(2) (CLONE_FS) and chroot(2). The other
    threads keep theirs. Open file descriptors that are arguments stay usable.

    The function may only work on files. The modules that it needs must be imported before: inside, an import fails.
    Otherwise Python would run modules of the root, which may have the same paths, with the rights of this process. For
    the same reason it must not call functions of the C library that read files or load plug-ins: user names
    (``pwd``, ``grp``), host names, local time, locales.

    Raises: what the function raises; OSError if the root does not exist or the process is not allowed to change it.
    """
    answer: Future[T] = Future()

    def call() -> None:
        try:
            _enter(root)
            answer.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  the caller raises it
            answer.set_exception(error)

    threading.Thread(target=call, name=f"inside {root}", daemon=True).start()
    return answer.result()


def _enter(root: Path) -> None:
    """Make a folder the root directory of this thread."""
    if _c_library.unshare(_CLONE_FS):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    os.chroot(root)
    os.chdir("/")
    _here.inside = True


class _NothingOfARoot:
    """An importer that refuses every module file, in threads that are inside a root."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not getattr(_here, "inside", False):
            return None
        importers: list[Any] = [BuiltinImporter, FrozenImporter]
        for importer in importers:
            if spec := importer.find_spec(name, path, target):
                return spec  # type: ignore[no-any-return]
        raise ModuleNotFoundError(f"No module named {name!r} inside a root", name=name)


sys.meta_path.insert(0, _NothingOfARoot)
