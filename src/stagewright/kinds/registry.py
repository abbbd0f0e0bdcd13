"""All kinds, found by importing every module of this package; and the graph that a project becomes with them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from functools import cache

import stagewright.kinds
from stagewright.arch import MACHINES
from stagewright.graph.node import Graph
from stagewright.kinds.common.artifact import check_output_names
from stagewright.kinds.common.base import Scope, Stage
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.tools import Tool, emulator
from stagewright.project.model import Project
from stagewright.store.store import Meta

TABLES = ("seeds", "stages", "tests", "")
"""Where kinds are written in a project; the nameless table holds kinds that only other kinds make."""


@cache
def kinds() -> dict[str, dict[str, type[Stage]]]:
    """Models of all kinds, by table and kind."""
    for module in pkgutil.walk_packages(stagewright.kinds.__path__, f"{stagewright.kinds.__name__}."):
        importlib.import_module(module.name)
    return {table: dict(Stage.registry.get(table, {})) for table in TABLES}


@cache
def by_kind() -> dict[str, type[Stage]]:
    """All kinds by the name that nodes carry."""
    return {kind: model for table in kinds().values() for kind, model in table.items()}


def facts_of(meta: Meta) -> Facts:
    """Return the facts of a result in the store, by the model of its kind."""
    model = by_kind().get(meta.kind)
    return (model.facts_model if model else Facts).of(meta)


def module_of(kind: str) -> str:
    """The module that builds a kind."""
    return by_kind()[kind].__module__


def summary(model: type[Stage]) -> str:
    """The first line of the module that a kind lives in: what it is for. Requirement numbers are left out."""
    line = (inspect.getdoc(inspect.getmodule(model)) or "").partition("\n")[0]
    return re.sub(r" \(R\d+(, R\d+)*\)", "", line.partition(": ")[2] or line).rstrip(".")


def tool_of(program: str) -> Tool:
    """A program that some kind needs, or an emulator, with the packages that bring it."""
    needs = [tool for model in by_kind().values() for tool in (*model.required_tools, *model.optional_tools)]
    return next(tool for tool in [*needs, *map(emulator, MACHINES)] if tool.program == program)


def graph_of(project: Project) -> Graph:
    """Return the graph of a project: the nodes of every entry, and the nodes of each target."""
    scope = Scope(project)
    for entry in project.all_entries():
        assert isinstance(entry.model, Stage)
        entry.model.expand(entry.name, scope)
    check_output_names(scope)
    return Graph.of(scope.nodes.values(), scope.targets)
