"""bill: the bill of materials of a root, of the parts of a payload, or of a folder of binary packages.

Releases add these nodes to the graph. A project file cannot have a stage of this kind. The bill is not part of an
artifact, so the code that makes bills does not rebuild artifacts when it changes.

The result is a folder::

    NAME.json           the bill of a part; that of a root or of packages is called ``bill.json``
    NAME.files.gz       the files that the bill is about (release/file_list.py)
    copyright/PACKAGE   the copyright files of packages of Debian
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.confined import Tree
from stagewright.graph.given import Given
from stagewright.graph.node import Node, Yields
from stagewright.kinds.common.artifact import ArtifactKind, Ingredient
from stagewright.kinds.common.base import INTERNAL, Scope, Stage
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.parts import PartRecords
from stagewright.kinds.common.records import Records, read_data
from stagewright.kinds.common.work import Built, Work
from stagewright.kinds.releases.part_bills import part_bills, part_files
from stagewright.kinds.releases.root_bill import root_bill
from stagewright.portage.index import entries_of
from stagewright.project.fields import FilesRef, RootRef
from stagewright.release.bill import BILL, Bill, joined
from stagewright.release.components import bill_of_index
from stagewright.release.file_list import FILES, ListedFile, files_of_index, write_file_list
from stagewright.release.owners import PackageRecord
from stagewright.root.overlay import mount_layers

COPYRIGHT = "copyright"
"""The folder with the copyright files of packages of Debian."""

_INDEX = "Packages"


class BillFacts(Facts):
    """Facts of a bill."""

    components: int
    unowned: int


class BillStage(Stage, kind="bill", table=INTERNAL):
    """A node of kind ``bill``."""

    yields = Yields.ARTIFACT
    facts_model = BillFacts

    root: RootRef | None = None
    """A root."""
    files: FilesRef | None = None
    """A payload, or another stage whose result has records of packages."""

    def build(self, work: Work[StageContext]) -> Built:
        """Write the bill."""
        tree = work.new_folder("tree")
        found = _of_root(work) if self.root else _of_files(work)
        for name, bill in found.bills.items():
            bill.write(tree / f"{name}.json")
            write_file_list(found.files[name], tree / f"{name}.{FILES}")
        _write_copyrights(tree / COPYRIGHT, found.packages)
        return Built(tree, BillFacts(**_sizes(found.bills.values())))


@dataclass(frozen=True)
class _Found:
    """Bills and the files that they are about, by name, and the records of packages of Debian and Portage."""

    bills: Mapping[str, Bill]
    files: Mapping[str, Sequence[ListedFile]]
    packages: Sequence[PackageRecord] = ()


_ONE = Path(BILL).stem
"""The name of a bill that is the only one of its node."""


def _of_root(work: Work[StageContext]) -> _Found:
    layers = work.store.stack(work.inputs["root"].key)
    bill, owners, files = root_bill(work, "root", mount_layers(layers, work.folder / "view"))
    return _Found({_ONE: bill}, {_ONE: files}, owners.packages)


def _of_files(work: Work[StageContext]) -> _Found:
    data = read_data(work.store, Yields.ARTIFACT, work.meta("files"))
    if "parts" not in data:
        entries = list(entries_of(Tree(work.artifact("files"), links=False).text(_INDEX)))
        bill = bill_of_index(entries, Records.of_data(data).by_package)
        return _Found({_ONE: bill}, {_ONE: files_of_index(entries)})
    records, node = PartRecords.of_data(data), work.meta("files").node
    return _Found(part_bills(records, node), part_files(records, node), records.installed)


def _write_copyrights(folder: Path, packages: Iterable[PackageRecord]) -> None:
    folder.mkdir()
    for package in packages:
        if package.copyright and "/" not in package.name:
            (folder / package.name).write_text(f"{package.copyright}\n", encoding="utf-8")


def _sizes(bills: Iterable[Bill]) -> dict[str, int]:
    every = joined(bills)
    return {"components": len(every.components), "unowned": sum(one.count for one in every.unowned)}


class BillInput(Given):
    """The bill of an ingredient of an artifact: the role of its node, and the ingredient."""

    role: str
    ingredient: Ingredient

    def read(self, tree: Path) -> Bill:
        """Return the bill of the ingredient, from the result of its node."""
        return joined(Bill.read(path) for path in self._paths(tree))

    def file_lists(self, tree: Path) -> list[Path]:
        """Return the lists of the files that the bill is about, from the result of its node."""
        return [path.with_name(f"{path.stem}.{FILES}") for path in self._paths(tree)]

    def _paths(self, tree: Path) -> Iterator[Path]:
        if (tree / BILL).is_file():
            yield tree / BILL
            return
        kernels = self.ingredient.kernels
        wanted = {"modules", "firmware", *self.ingredient.parts}
        for path in sorted(tree.glob("*.json")):
            kind, _, kernel = path.stem.partition("-")
            if path.stem in wanted or (kind in ("kernel", "initramfs") and (kernels is None or kernel in kernels)):
                yield path


def bill_inputs(scope: Scope, artifacts: Sequence[str]) -> list[tuple[BillInput, ...]]:
    """Return the bills of the ingredients of each artifact."""
    found = [_ingredients(scope, name) for name in artifacts]
    roles = _roles(found)
    return [tuple(BillInput(role=roles[one.stage], ingredient=one) for one in some) for some in found]


def bill_nodes(scope: Scope, artifacts: Sequence[str]) -> dict[str, Node]:
    """Return the nodes of the bills of all ingredients of artifacts, by the role that they have in a release."""
    roles = _roles([_ingredients(scope, name) for name in artifacts])
    return {role: _node(scope, stage) for stage, role in roles.items()}


def read_bills(work: Work[Any], inputs: Mapping[str, Sequence[BillInput]]) -> dict[str, Bill | None]:
    """Return the bills of artifacts by role; None for an artifact without ingredients."""

    def bill(found: Sequence[BillInput]) -> Bill | None:
        return joined(one.read(work.artifact(one.role)) for one in found) if found else None

    return {role: bill(found) for role, found in inputs.items()}


def file_lists_of(work: Work[Any], inputs: Mapping[str, Sequence[BillInput]]) -> dict[str, list[Path]]:
    """Return the lists of the files of artifacts, several for each, by role."""
    return {
        role: [path for one in some for path in one.file_lists(work.artifact(one.role))]
        for role, some in inputs.items()
    }


def copyrights_of(work: Work[Any], inputs: Mapping[str, Sequence[BillInput]]) -> list[Path]:
    """Return the folders with the copyright files of the packages in bills."""
    roles = dict.fromkeys(one.role for found in inputs.values() for one in found)
    return [work.artifact(role) / COPYRIGHT for role in roles]


def _ingredients(scope: Scope, name: str) -> list[Ingredient]:
    model = scope.entry(name).model
    assert isinstance(model, ArtifactKind), "the project was checked"
    return model.ingredients(name, scope)


def _roles(found: Iterable[Iterable[Ingredient]]) -> dict[str, str]:
    """Return the role of each stage or seed of which an artifact has something."""
    stages = dict.fromkeys(one.stage for some in found for one in some)
    return {stage: f"bills.{number:03}" for number, stage in enumerate(stages)}


def _node(scope: Scope, name: str) -> Node:
    """Return the node of the bill of a stage or seed."""
    model = scope.entry(name).model
    is_root = isinstance(model, Stage) and model.yields is Yields.LAYER
    stage = BillStage(root=name) if is_root else BillStage(files=name)
    return stage.node(f"bill:{name}", scope)
