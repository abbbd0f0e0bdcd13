"""All kinds: those of Stagewright and those of other packages; and the graph that a project becomes with them.

``MODULES`` says where each kind of Stagewright is. A module is imported when a project first uses its kind: all of them
take longer than everything else that a start does. Another package adds a kind by an entry point of the group
``stagewright.kinds``, with the name of the kind and its class (docs/adding-a-kind.md)::

    [project.entry-points."stagewright.kinds"]
    oci-archive = "stagewright_oci.oci_archive:OciArchive"
"""

from __future__ import annotations

import importlib
import inspect
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from typing import TYPE_CHECKING

from stagewright.arch import MACHINES
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Graph
from stagewright.kinds.common.artifact import check_growth_limits, check_output_names
from stagewright.kinds.common.base import INTERNAL, Scope, Stage
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.plugin_search import names_plugins
from stagewright.kinds.common.tools import Tool, emulator
from stagewright.project.model import Project

if TYPE_CHECKING:
    from stagewright.store.meta import Meta

TABLES = ("seeds", "stages", "tests", "releases", INTERNAL)
"""The tables of the registry: those of a project file, and the one of internal kinds."""

GROUP = "stagewright.kinds"
"""The group of entry points by which other packages add kinds."""


MODULES: dict[str, dict[str, str]] = {
    "seeds": {
        "bootstrap": "seeds.bootstrap",
        "file": "seeds.file",
        "mirror": "seeds.mirror",
        "oci": "seeds.oci",
        "project": "seeds.project",
        "url": "seeds.url",
    },
    "stages": {
        "binhost": "artifacts.binhost",
        "diskimage-stage1": "media.diskimage_stage1",
        "diskimage-stage2": "media.diskimage_stage2",
        "embedded": "stages.embedded",
        "livecd-stage1": "media.livecd_stage1",
        "livecd-stage2": "media.livecd_stage2",
        "livecd-stage3": "media.livecd_stage3",
        "netboot": "media.netboot",
        "pxeboot": "media.pxeboot",
        "stage1": "stages.stage1",
        "stage2": "stages.stage2",
        "stage3": "stages.stage3",
        "stage3-root": "stages.stage3_root",
        "stage4": "stages.stage4",
        "tarball": "artifacts.tarball",
        "update-feed": "artifacts.update_feed",
    },
    "tests": {
        "boots": "tests.boots",
        "machines": "tests.machines",
        "netboots": "tests.netboots",
        "rebuilds": "tests.rebuilds",
        "starts": "tests.starts",
        "updates": "tests.updates",
    },
    "releases": {"release": "releases.release"},
    INTERNAL: {
        "bill": "releases.bill",
        "squashfs": "media.squashfs",
        "stage3-root.prepared": "stages.stage3_prepared",
    },
}
"""The modules of the kinds of Stagewright below ``stagewright.kinds``, by table and kind."""


_PACKAGE = "stagewright.kinds"


class Models(Mapping[str, type[Stage]]):
    """The models of the kinds of some tables. Looking one up imports its module."""

    def __init__(self, *tables: str) -> None:
        found = ((kind, table) for table in tables for kind in (*MODULES[table], *Stage.registry.get(table, {})))
        self._tables = dict(sorted(found))

    def __getitem__(self, kind: str) -> type[Stage]:
        table = self._tables[kind]
        if kind not in Stage.registry.get(table, {}):
            importlib.import_module(f"{_PACKAGE}.{MODULES[table][kind]}")
        return Stage.registry[table][kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __contains__(self, kind: object) -> bool:
        return kind in self._tables


@cache
def kinds() -> dict[str, Models]:
    """Return the models of all kinds, by table and kind.

    Raises: BAD_PLUGIN if a kind of another package cannot be loaded.
    """
    load_plugins(entry_points(group=GROUP) if names_plugins(GROUP) else ())
    return {table: Models(table) for table in TABLES}


def load_plugins(entries: Iterable[EntryPoint]) -> None:
    """Load the kinds of other packages, which registers them. Raises: BAD_PLUGIN for the first that does not fit."""
    for entry in sorted(entries, key=lambda entry: (_distribution(entry), entry.name)):
        _load(entry)


def _load(entry: EntryPoint) -> None:
    own = next((module for kinds_of_table in MODULES.values() if (module := kinds_of_table.get(entry.name))), None)
    if own:
        importlib.import_module(f"{_PACKAGE}.{own}")  # so that the two kinds of one name are noticed
    try:
        model = entry.load()
        if inspect.isclass(model) and issubclass(model, Stage):
            model.model_rebuild()  # errors in its fields are found here and not when a project uses it
    except Exception as error:
        what = f"cannot load kind {entry.name!r} from {entry.value} ({type(error).__name__}: {error})"
        raise _bad_plugin(entry, what, "".join(traceback.format_exception(error))) from error
    if all(kinds_of_table.get(entry.name) is not model for kinds_of_table in Stage.registry.values()):
        raise _bad_plugin(entry, f"{entry.value} is not the class of a kind called {entry.name!r}")


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"


def _bad_plugin(entry: EntryPoint, what: str, detail: str = "") -> StagewrightError:
    name = entry.dist.name if entry.dist else "PACKAGE"
    hint = f"install a version of {name} for this version of Stagewright, or run: pip uninstall {name}"
    return StagewrightError(Reason.BAD_PLUGIN, f"{_distribution(entry)}: {what}", detail=detail, hint=hint)


@cache
def origins() -> dict[str, str]:
    """Return the packages that kinds come from, by kind: name and version. Kinds of Stagewright are missing."""
    return {entry.name: _distribution(entry) for entry in entry_points(group=GROUP)}


@cache
def by_kind() -> Models:
    """Return the models of all kinds, by the name that nodes have. Looking one up imports its module."""
    kinds()
    return Models(*TABLES)


def facts_of(meta: Meta) -> Facts:
    """Return the facts of a result in the store, by the model of its kind."""
    model = by_kind().get(meta.kind)
    return (model.facts_model if model else Facts).of(meta)


def model_of(kind: str, module: str) -> type[Stage] | None:
    """Return the model of a kind. If its module is known, only this is imported: all kinds take time."""
    if module:
        importlib.import_module(module)
    known = (models[kind] for models in Stage.registry.values() if kind in models)
    return next(known, None) or by_kind().get(kind)


def module_of(kind: str) -> str:
    """Return the name of the module of a kind."""
    return by_kind()[kind].__module__


def summary(model: type[Stage]) -> str:
    """Return the purpose of a kind: the first line of its module, without the name and requirement numbers."""
    line = (inspect.getdoc(inspect.getmodule(model)) or "").partition("\n")[0]
    return re.sub(r" \(R\d+(, R\d+)*\)", "", line.partition(": ")[2] or line).rstrip(".")


def tool_of(program: str) -> Tool:
    """Return a program that a kind needs, or an emulator, with the packages that have it.

    Kinds that a project uses are imported already and come first.
    """
    used = (model for models in list(Stage.registry.values()) for model in list(models.values()))
    needs = (
        tool for model in chain(used, by_kind().values()) for tool in (*model.required_tools, *model.optional_tools)
    )
    return next(tool for tool in chain(needs, map(emulator, MACHINES)) if tool.program == program)


def graph_of(project: Project) -> Graph:
    """Return the graph of a project: the nodes of every entry, and the nodes of each target."""
    scope = Scope(project)
    for entry in project.all_entries():
        assert isinstance(entry.model, Stage)
        entry.model.expand(entry.name, scope)
    check_output_names(scope)
    check_growth_limits(scope)
    return Graph.of(scope.nodes.values(), scope.targets)
