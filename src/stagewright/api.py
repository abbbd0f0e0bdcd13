"""The public Python interface: everything that other programs may import (docs/python-api.md).

Names of other modules can change with every release. The names here, and the public attributes and methods of their
classes, change only as the changelog announces.
"""

from __future__ import annotations

from stagewright.engine.build import BuildResult
from stagewright.engine.build_options import BuildOptions
from stagewright.engine.doctor import Check
from stagewright.engine.fetching import FetchResult
from stagewright.engine.pins import PinChange, PinTarget
from stagewright.engine.plan import Plan, State, Step
from stagewright.engine.session import Session
from stagewright.engine.versions import VersionChange
from stagewright.errors import Exit, Place, ProblemsError, Reason, StagewrightError
from stagewright.events import (
    Event,
    Listener,
    ListenerDropped,
    NodeFinished,
    NodeMoved,
    NodeNotice,
    NodePhase,
    NodeProgress,
    NodeStarted,
    NodeWaiting,
    Published,
    RunFinished,
    RunStarted,
    Status,
)

__all__ = [
    "BuildOptions",
    "BuildResult",
    "Check",
    "Event",
    "Exit",
    "FetchResult",
    "Listener",
    "ListenerDropped",
    "NodeFinished",
    "NodeMoved",
    "NodeNotice",
    "NodePhase",
    "NodeProgress",
    "NodeStarted",
    "NodeWaiting",
    "PinChange",
    "PinTarget",
    "Place",
    "Plan",
    "ProblemsError",
    "Published",
    "Reason",
    "RunFinished",
    "RunStarted",
    "Session",
    "StagewrightError",
    "State",
    "Status",
    "Step",
    "VersionChange",
]
