"""The packages of the extra ``stagewright[farm]``."""

from __future__ import annotations

import importlib
from typing import Any

from stagewright.errors import Reason, StagewrightError


def required(module: str) -> Any:
    """Return a module of the extra. Raises: MISSING_TOOL if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        what = f"Python package {module}: not installed"
        raise StagewrightError(Reason.MISSING_TOOL, what, hint='pip install "stagewright[farm]"') from error
