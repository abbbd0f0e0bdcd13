"""Tests of machines: the public Python API (docs/testing.md), and what runs the tests of a project.

:class:`Machine` is a virtual machine with the methods of a person: log in, run commands, wait for services, press keys,
look at the screen. A container is a :class:`Guest`, with those methods that need only a console. ``steps`` are the same
methods as tables of a project file, ``script`` is the whole test, ``perform`` runs it, and ``boot`` starts and stops
the machines. ``results`` are the reports.
"""

from stagewright.errors import Reason, StagewrightError
from stagewright.testing.guest import Guest
from stagewright.testing.machine import Machine
from stagewright.testing.results import MachineResult, Report, State, StepResult
from stagewright.testing.screen import Region

__all__ = ["Guest", "Machine", "MachineResult", "Reason", "Region", "Report", "StagewrightError", "State", "StepResult"]
