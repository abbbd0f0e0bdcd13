"""A release as a project: entries of all specs, seeds, repositories, and the files that Catalyst would leave."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagewright.catalyst.auto import Notice
from stagewright.catalyst.config import ENDINGS, ending
from stagewright.catalyst.convert import targets
from stagewright.catalyst.convert.common import COMPRESSIONS, EARLY, PACKED
from stagewright.catalyst.convert.conversion import Common, Conversion, Output
from stagewright.catalyst.convert.names import FileNames, of_seeds, of_specs
from stagewright.catalyst.convert.row import Row
from stagewright.catalyst.convert.rows import row_of
from stagewright.catalyst.convert.seeds import arch_of, seed_file
from stagewright.catalyst.convert.sheet import Sheet, text
from stagewright.catalyst.graph import Made, ReleaseGraph
from stagewright.catalyst.keys import Target
from stagewright.catalyst.release import Release
from stagewright.catalyst.tokens import fill
from stagewright.errors import Place, Reason, StagewrightError
from stagewright.project.model import FORMAT, Files
from stagewright.project.tables import NAMED, Table

STAMPS = {"TIMESTAMP": "{date}T000000Z", "DATESTAMP": "{date}"}
"""Tokens that become variables of the project, with their values when none is given."""

_MOMENT = re.compile(r"(20\d\d)(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")


@dataclass
class Converted:
    """A release as tables of a project, with what goes with them.

    ``refused`` are keys that cannot be honoured; a project without them is not what the specs say. ``applied`` tells
    for each key in use by which row it was converted.
    """

    head: Table
    sheets: list[Sheet]
    files: Files
    outputs: list[Output]
    refused: list[StagewrightError] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    applied: list[tuple[Made, str, Row]] = field(default_factory=list)

    def named(self) -> dict[str, dict[str, Table]]:
        """The tables of names, as the loader takes them."""
        tables: dict[str, dict[str, Table]] = {name: {} for name in NAMED}
        for sheet in self.sheets:
            tables[sheet.table][sheet.name] = sheet.made()
        return tables


def convert(
    release: Release, graph: ReleaseGraph, given: Mapping[str, str], repos: Mapping[str, Path] | None = None
) -> Converted:
    """The project that a release is; nothing is raised, and nothing is written.

    ``given`` are values of tokens that were left standing in the specs (see :data:`STAMPS`), ``repos`` the folders of
    ebuild repositories by name.
    """
    common = Common(release, of_specs(graph.made), FileNames({}))
    converter = _Release(release, graph, common, given)
    common.trees += (path for path in (repos or {}).values() if path.is_dir())
    for made in graph.made:
        if made.member.target is not Target.SNAPSHOT:
            converter.spec(made)
    converter.inherit_flags()
    converter.package_folders()
    converter.repositories(dict(repos or {}))
    elsewhere = {**common.files.taken, **converter.folders}
    return Converted(
        converter.head(),
        converter.sheets,
        Files(Path(release.config.storedir).absolute(), elsewhere),
        common.outputs,
        common.refused,
        common.notices,
        converter.applied,
    )


class _Release:
    """What the loop over the specs keeps."""

    def __init__(self, release: Release, graph: ReleaseGraph, common: Common, given: Mapping[str, str]) -> None:
        self.release, self.graph, self.common, self.given = release, graph, common, given
        self.sheets: list[Sheet] = []
        self.applied: list[tuple[Made, str, Row]] = []
        self.folders: dict[str, Path] = {}
        self.seeds: dict[str, Sheet] = {}
        self.treeish: tuple[str, Place] | None = None
        every = [source for made in graph.made for source in made.seeds.values()]
        self.seed_names = of_seeds(every)

    @property
    def tokens(self) -> dict[str, str]:
        """Values of the stamps, as far as they are known before the project is read."""
        return {name: self.given[name] for name in STAMPS if name in self.given}

    def spec(self, made: Made) -> None:
        """Convert one spec: first its entries, then its keys, in the order of the table."""
        target = made.member.target
        assert target
        conversion = Conversion(made, target, self.common.names[made.name], self.common)
        self._snapshot(conversion)
        targets.lay_out(conversion, self.source)
        first = "boot/kernel"  # what the keys of each kernel add to
        for name, entry in sorted(made.member.spec.entries.items(), key=lambda item: item[0] != first):
            key = made.member.keys.get(name)
            if key is None:
                continue  # told by the check of the spec
            row = row_of(key, target)
            self.applied.append((made, name, row))
            if entry.value is not None:
                row.convert(conversion, entry)
        targets.finish(conversion)
        if target in PACKED:
            self._packed(conversion)
        self.sheets += conversion.sheets.values()

    def source(self, conversion: Conversion, role: str) -> tuple[str, Place]:
        """The name of the entry that a spec starts from, and where the spec says so."""
        made = conversion.made
        key = "livecd/cdtar" if role == "medium" else "source_subpath"
        place = made.member.spec.place(key)
        if role in made.inputs:
            return self.common.names[made.inputs[role]], place
        identity = made.sources.get(role, "")
        if identity and identity not in self.seeds:
            self.seeds[identity] = self._seed(identity, conversion, place)
        return (self.seeds[identity].name if identity else ""), place

    def _seed(self, identity: str, conversion: Conversion, place: Place) -> Sheet:
        spec = conversion.spec
        sheet = Sheet("seeds", self.seed_names[identity], f"{spec.file}", place)
        order = spec.words("decompressor_search_order")
        sheet.put("file", text(seed_file(identity, order, self.release.config, self.tokens)), place)
        if arch := arch_of(spec.text("subarch")):
            sheet.put("arch", str(arch), spec.place("subarch"))
        self.sheets.append(sheet)
        return sheet

    def _snapshot(self, conversion: Conversion) -> None:
        """All specs must mean one snapshot."""
        treeish, place = conversion.spec.text("snapshot_treeish"), conversion.spec.place("snapshot_treeish")
        if self.treeish is None:
            self.treeish = (treeish, place)
        elif treeish != self.treeish[0]:
            why = f"{self.treeish[1].file} has another snapshot, {self.treeish[0]}"
            entry = conversion.spec.entries["snapshot_treeish"]
            conversion.refuse(entry, why, "build what has one snapshot in one run, and the rest in another")

    def inherit_flags(self) -> None:
        """Give stages after the second CHOST and flags of what they start from, where this run makes that.

        Catalyst reads them from the make.conf there, and not from its table.
        """
        sheets = {sheet.name: sheet for sheet in self.sheets}
        made = {self.common.names[item.name]: item for item in self.graph.made}

        def settle(name: str) -> None:
            item = made.pop(name, None)
            if item is None or item.member.target in EARLY or "source" not in item.inputs:
                return
            source = self.common.names[item.inputs["source"]]
            settle(source)
            for sheet in (sheets.get(name), sheets.get(f"{name}.live"), sheets.get(f"{name}.payload")):
                if sheet and source in sheets and "profile" in sheet.data:
                    _take_flags(sheet, sheets[source])

        for name in list(made):
            settle(name)

    def _packed(self, conversion: Conversion) -> None:
        """The tarball of a stage. Its name is that of Catalyst without ``rename_regexp``, which its output has."""
        made, spec = conversion.made, conversion.spec
        place = spec.place("version_stamp")
        sheet = conversion.sheets["tar"]
        sheet.put("root", conversion.name, place)
        sheet.put("name", text(made.identity.rpartition("/")[2]), place)
        mode = self.release.config.compression_mode
        if "compression" not in sheet.data and "compression_mode" not in spec.entries:
            tail = ending(mode)
            if tail not in COMPRESSIONS:
                modes = ", ".join(mode for mode, tail in ENDINGS.items() if tail in COMPRESSIONS)
                message = f"compression_mode: results cannot be packed by {mode!r} of catalyst.conf"
                hint = f"write one of {modes}"
                error = StagewrightError(Reason.NOT_SUPPORTED, message, place=spec.place("target"), hint=hint)
                self.common.refused.append(error)
            else:
                sheet.put("compression", COMPRESSIONS[tail], spec.place("target"))
        self.common.outputs.append(Output(sheet.name, f"builds/{made.artifacts[0]}", made))

    def package_folders(self) -> None:
        """Folders of binary packages for people, with Portage's index, where catalyst.conf has the option pkgcache."""
        if "pkgcache" not in self.release.config.options:
            return
        folders: dict[str, list[Made]] = {}
        for made in self.graph.made:
            if made.package_cache and made.member.target in PACKED:
                folders.setdefault(made.package_cache, []).append(made)
        for path, makers in folders.items():
            place = makers[0].member.spec.place("target")
            sheet = Sheet(
                "stages", f"{self.common.names[makers[0].name]}.packages", f"{makers[0].member.spec.file}", place
            )
            sheet.put("kind", "binhost", place)
            sheet.add("roots", [(self.common.names[made.name], place) for made in makers])
            self.sheets.append(sheet)
            self.common.outputs.append(Output(sheet.name, path, makers[0], folder=True))

    def repositories(self, repos: dict[str, Path]) -> None:
        """The repositories of the project: the snapshot, and those that specs name."""
        main = self.release.config.repo_name
        treeish, place = self.treeish or ("", Place(Path(self.release.config.storedir)))
        for name in (main, *(name for name in {**repos, **self.common.repos} if name != main)):
            sheet = Sheet("repos", name, "", place)
            sheet.put("path", f"repos/{name}", place)
            if name == main:
                sheet.put("main", True, place)
            snapshot = Path(
                self.release.config.storedir, "snapshots", f"{name}-{(treeish or 'x').replace('/', '-')}.sqfs"
            )
            path = repos.get(name) or self.common.repos.get(name) or snapshot  # where it is looked for
            self.folders[f"repos/{name}"] = path.absolute()
            self.sheets.append(sheet)
        seen = [(name, place) for name in (main, *(name for name in repos if name != main))]
        for sheet in self.sheets:
            if sheet.table == "stages" and "profile" in sheet.data:  # said each time: others' repositories never count
                own = [
                    (name, sheet.places[("repos", number)]) for number, name in enumerate(sheet.data.get("repos", []))
                ]
                sheet.put("repos", [], place)
                sheet.add("repos", [*seen, *own])

    def head(self) -> Table:
        """The top of the project."""
        used = {
            name for sheet in self.sheets for value in _texts(sheet.data) for name in re.findall(r"\{(\w+)\}", value)
        }
        variables = {name: self.given.get(name, default) for name, default in STAMPS.items() if name in used}
        moment = self._moment()
        version = (
            "{TIMESTAMP}" if "TIMESTAMP" in variables else moment.strftime("%Y%m%dT%H%M%SZ") if moment else "{date}"
        )
        project: dict[str, Any] = {"name": self.release.config.repo_name, "version": version}
        if moment:
            project["source_date_epoch"] = moment
        data: dict[str, Any] = {"format": FORMAT, "project": project}
        if variables:
            data["variables"] = variables
        place = Place(self.release.members[0].spec.file, 1, 1) if self.release.members else Place(Path())
        return Table(data, {(): place}, {(): place})

    def _moment(self) -> datetime.datetime | None:
        """The time stamp of everything: the newest version_stamp (catalyst-auto gives them the time of the commit)."""
        stamps = [fill(made.member.spec.text("version_stamp"), self.tokens) for made in self.graph.made]
        found = [_moment(match) for stamp in stamps for match in _MOMENT.finditer(stamp)]
        return max((moment for moment in found if moment), default=None)


def _take_flags(sheet: Sheet, source: Sheet) -> None:
    """Take over what is in a make.conf that Catalyst leaves."""
    place = sheet.places[("root",)]
    for setting in ("chost", "common_flags"):
        if setting in source.data:
            sheet.put(setting, source.data[setting], place)
        elif setting in sheet.data:
            del sheet.data[setting]
    for name, value in source.data.get("make_conf", {}).items():
        sheet.put(f"make_conf.{name}", value, place)


def _moment(match: re.Match[str]) -> datetime.datetime | None:
    try:
        return datetime.datetime(*map(int, match.groups()), tzinfo=datetime.UTC)  # type: ignore[arg-type,misc]
    except ValueError:
        return None


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for item in value.values() for found in _texts(item)]
    if isinstance(value, list):
        return [found for item in value for found in _texts(item)]
    return [value] if isinstance(value, str) else []
