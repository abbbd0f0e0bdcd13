"""Tests of machines: the public Python API (docs/testing.md), and what runs the tests of a project.

:class:`Machine` is a virtual machine with the methods of a person: log in, run commands, wait for services, press keys,
look at the screen. A container is a :class:`Guest`, with those methods that need only a console. ``steps`` are the same
methods as tables of a project file, ``script`` is the whole test, ``perform`` runs it, and ``boot`` starts and stops
the machines. ``results`` are the reports.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stagewright.errors import Reason, StagewrightError
from stagewright.testing.results import MachineResult, Report, State, StepResult

if TYPE_CHECKING:
    from stagewright.testing.guest import Guest
    from stagewright.testing.machine import Machine
    from stagewright.testing.screen import Region

_ON_DEMAND = {"Guest": "guest", "Machine": "machine", "Region": "screen"}
"""Modules of classes that are imported when they are used: the settings of tests are in this package, too."""


def __getattr__(name: str) -> Any:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ON_DEMAND[name]}"), name)


__all__ = ["Guest", "Machine", "MachineResult", "Reason", "Region", "Report", "StagewrightError", "State", "StepResult"]
