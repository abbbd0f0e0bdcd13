"""What comes between reading a project and building it: the plan, and the repositories that building takes."""

from __future__ import annotations

from collections.abc import Sequence

from stagewright.engine.plan import Plan, make_plan
from stagewright.engine.repositories import bring, missing
from stagewright.events import Listener
from stagewright.kinds.registry import kinds
from stagewright.project.load import load
from stagewright.project.model import Project
from stagewright.store.store import Store


def planned(project: Project, store: Store, targets: Sequence[str], listeners: Sequence[Listener]) -> Plan:
    """The plan for some targets, with every repository in the store that what is to be made will see.

    A project whose repositories had to be fetched is checked again with what is in them.
    """
    plan = make_plan(project, store, targets)
    names = missing(project, store, [step.node for step in plan.to_build])
    if not names:
        return plan
    bring(project, store, names, listeners)
    return make_plan(load(project.folder, kinds(), project.trees), store, targets)
