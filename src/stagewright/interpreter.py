"""Commands that run Python as this process does: the same interpreter, the same import path, the same Stagewright."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import stagewright

NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
"""The variable that keeps Python from writing compiled modules (python(1))."""


def package_path() -> str:
    """Return the folder (or the zip file) that this process imported Stagewright from."""
    return str(Path(stagewright.__file__).absolute().parent.parent)


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with the interpreter and the import path of this process.

    The new process imports the same Stagewright, be it installed, a checkout or a zip file. It never imports from the
    working directory, which is that of the user's project.
    """
    return [*interpreter(), "-m", module, *arguments]


def interpreter() -> list[str]:
    """Return the first words of a command that runs Python as this process does, see :func:`python`.

    A Python that a worker starts must not write bytecode either (:func:`stagewright.ids.marked`).
    """
    path = dict.fromkeys([package_path(), *(str(Path(entry).absolute()) for entry in sys.path if entry)])
    bytecode = [f"{NO_BYTECODE}=1"] if NO_BYTECODE in os.environ else []
    return ["env", f"PYTHONPATH={os.pathsep.join(path)}", *bytecode, sys.executable, "-P"]
