"""Convert a release to a project: entries of all specs, seeds, repositories, and the files that Catalyst would make."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagewright.catalyst.auto import Notice
from stagewright.catalyst.catalyst_conf import ENDINGS, ending
from stagewright.catalyst.convert import target_entries
from stagewright.catalyst.convert.common_keys import COMPRESSIONS, EARLY, TARBALL_TARGETS
from stagewright.catalyst.convert.conversion import Conversion, ConversionContext, SpecOutput
from stagewright.catalyst.convert.entry_draft import EntryDraft, plain, text
from stagewright.catalyst.convert.entry_names import FileNames, seed_names, spec_names
from stagewright.catalyst.convert.rule import ConversionRule
from stagewright.catalyst.convert.rule_table import rule_for
from stagewright.catalyst.convert.seed_files import arch_of, seed_file
from stagewright.catalyst.release import Release
from stagewright.catalyst.release_graph import ReleaseGraph, SpecResult
from stagewright.catalyst.spec_keys import Target
from stagewright.catalyst.tokens import replace_tokens
from stagewright.errors import Place, Reason, StagewrightError
from stagewright.project.model import FORMAT, FileLocations
from stagewright.project.tables import NAMED, Table

STAMPS = {"TIMESTAMP": "{date}T000000Z", "DATESTAMP": "{date}"}
"""Tokens that become variables of the project, with their default values."""

_MOMENT = re.compile(r"(20\d\d)(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")


@dataclass
class ConvertedRelease:
    """A release as tables of a project.

    ``refused`` are errors for keys that cannot be honoured. If there are any, the project does not match the specs.
    ``without_media`` are the specs whose medium does not exist for their architecture.
    ``applied`` lists the rule that converted each key.
    """

    head: Table
    drafts: list[EntryDraft]
    files: FileLocations
    outputs: list[SpecOutput]
    refused: list[StagewrightError] = field(default_factory=list)
    without_media: set[Path] = field(default_factory=set)
    notices: list[Notice] = field(default_factory=list)
    applied: list[tuple[SpecResult, str, ConversionRule]] = field(default_factory=list)

    def named(self) -> dict[str, dict[str, Table]]:
        """Return the tables of named entries for the project loader."""
        tables: dict[str, dict[str, Table]] = {name: {} for name in NAMED}
        for draft in self.drafts:
            tables[draft.table][draft.name] = draft.table_with_places()
        return tables


def convert(
    release: Release, graph: ReleaseGraph, given: Mapping[str, str], repos: Mapping[str, Path] | None = None
) -> ConvertedRelease:
    """Convert a release to a project. Nothing is raised and nothing is written.

    ``given`` are values of tokens that were not replaced in the specs (see :data:`STAMPS`). ``repos`` are the folders
    of ebuild repositories by name.
    """
    context = ConversionContext(release, spec_names(graph.results), FileNames({}))
    converter = _Release(release, graph, context, given)
    context.trees += (path for path in (repos or {}).values() if path.is_dir())
    for result in graph.results:
        if result.member.target is not Target.SNAPSHOT:
            converter.spec(result)
    converter.inherit_flags()
    converter.package_folders()
    converter.repositories(dict(repos or {}))
    elsewhere = {**context.files.taken, **converter.folders}
    return ConvertedRelease(
        converter.head(),
        converter.drafts,
        FileLocations(Path(release.config.storedir).absolute(), elsewhere),
        context.outputs,
        context.refused,
        context.without_media,
        context.notices,
        converter.applied,
    )


class _Release:
    """State of the loop over the specs."""

    def __init__(
        self, release: Release, graph: ReleaseGraph, context: ConversionContext, given: Mapping[str, str]
    ) -> None:
        self.release, self.graph, self.context, self.given = release, graph, context, given
        self.drafts: list[EntryDraft] = []
        self.applied: list[tuple[SpecResult, str, ConversionRule]] = []
        self.folders: dict[str, Path] = {}
        self.seeds: dict[str, EntryDraft] = {}
        self.treeish: tuple[str, Place] | None = None
        every = [source for result in graph.results for source in result.seeds.values()]
        self.seed_names = seed_names(every)

    @property
    def tokens(self) -> dict[str, str]:
        """Values of the stamps that the user gave."""
        return {name: self.given[name] for name in STAMPS if name in self.given}

    def spec(self, result: SpecResult) -> None:
        """Convert one spec: first its entries, then its keys."""
        target = result.member.target
        assert target
        conversion = Conversion(result, target, self.context.names[result.name], self.context)
        self._snapshot(conversion)
        target_entries.make_entries(conversion, self.source)
        first = "boot/kernel"  # the keys of each kernel add to its entries
        for name, entry in sorted(result.member.spec.entries.items(), key=lambda item: item[0] != first):
            key = result.member.keys.get(name)
            if key is None:
                continue  # reported by the check of the spec
            rule = rule_for(key, target)
            self.applied.append((result, name, rule))
            if entry.value is not None:
                rule.convert(conversion, entry)
        target_entries.finish_entries(conversion)
        if target in TARBALL_TARGETS:
            self._packed(conversion)
        self.drafts += conversion.drafts.values()

    def source(self, conversion: Conversion, role: str) -> tuple[str, Place]:
        """Return the name of the entry that a spec starts from, and the place of the key that names it."""
        result = conversion.result
        key = "livecd/cdtar" if role == "medium" else "source_subpath"
        place = result.member.spec.place(key)
        if role in result.inputs:
            return self.context.names[result.inputs[role]], place
        identity = result.sources.get(role, "")
        if identity and identity not in self.seeds:
            self.seeds[identity] = self._seed(identity, conversion, place)
        return (self.seeds[identity].name if identity else ""), place

    def _seed(self, identity: str, conversion: Conversion, place: Place) -> EntryDraft:
        spec = conversion.spec
        draft = EntryDraft("seeds", self.seed_names[identity], f"{spec.file}", place)
        order = spec.words("decompressor_search_order")
        draft.put("file", text(seed_file(identity, order, self.release.config, self.tokens)), place)
        if arch := arch_of(spec.text("subarch")):
            draft.put("arch", str(arch), spec.place("subarch"))
        self.drafts.append(draft)
        return draft

    def _snapshot(self, conversion: Conversion) -> None:
        """Refuse a spec with another snapshot than the first one."""
        treeish, place = conversion.spec.text("snapshot_treeish"), conversion.spec.place("snapshot_treeish")
        if self.treeish is None:
            self.treeish = (treeish, place)
        elif treeish != self.treeish[0]:
            why = f"all specs of a run must have the same snapshot ({self.treeish[1].file} has {self.treeish[0]})"
            entry = conversion.spec.entries["snapshot_treeish"]
            conversion.refuse(entry, why, "build specs with different snapshots in separate runs")

    def inherit_flags(self) -> None:
        """Copy CHOST and flags from the source of each stage after stage2, if this run makes the source.

        Catalyst reads them from the make.conf in the source and not from its table.
        """
        drafts = {draft.name: draft for draft in self.drafts}
        waiting = {self.context.names[item.name]: item for item in self.graph.results}

        def inherit(name: str) -> None:
            item = waiting.pop(name, None)
            if item is None or item.member.target in EARLY or "source" not in item.inputs:
                return
            source = self.context.names[item.inputs["source"]]
            inherit(source)
            for draft in (drafts.get(name), drafts.get(f"{name}.live"), drafts.get(f"{name}.payload")):
                if draft and source in drafts and "profile" in draft.data:
                    _take_flags(draft, drafts[source])

        for name in list(waiting):
            inherit(name)

    def _packed(self, conversion: Conversion) -> None:
        """Add the tarball of a stage, with the name after ``rename_regexp``."""
        result, spec = conversion.result, conversion.spec
        place = spec.place("version_stamp")
        draft = conversion.drafts["tar"]
        draft.put("root", conversion.name, place)
        name, suffix = _file_name(result, ending(spec.text("compression_mode") or self.release.config.compression_mode))
        draft.put("name", text(name), place)
        if suffix:
            draft.put("suffix", text(suffix), spec.place("rename_regexp"))
        mode = self.release.config.compression_mode
        if "compression" not in draft.data and "compression_mode" not in spec.entries:
            tail = ending(mode)
            if tail not in COMPRESSIONS:
                modes = ", ".join(mode for mode, tail in ENDINGS.items() if tail in COMPRESSIONS)
                message = f"compression_mode: results cannot be packed with {mode!r} (from catalyst.conf)"
                hint = f"write one of {modes}"
                error = StagewrightError(Reason.NOT_SUPPORTED, message, place=spec.place("target"), hint=hint)
                self.context.refused.append(error)
            else:
                draft.put("compression", COMPRESSIONS[tail], spec.place("target"))
        self.context.outputs.append(SpecOutput(draft.name, f"builds/{result.artifacts[0]}", result))

    def package_folders(self) -> None:
        """Add published folders of binary packages with Portage's index, if catalyst.conf has the option pkgcache."""
        if "pkgcache" not in self.release.config.options:
            return
        folders: dict[str, list[SpecResult]] = {}
        for result in self.graph.results:
            if result.package_cache and result.member.target in TARBALL_TARGETS:
                folders.setdefault(result.package_cache, []).append(result)
        for path, makers in folders.items():
            place = makers[0].member.spec.place("target")
            draft = EntryDraft(
                "stages", f"{self.context.names[makers[0].name]}.packages", f"{makers[0].member.spec.file}", place
            )
            draft.put("kind", "binhost", place)
            draft.add("roots", [(self.context.names[result.name], place) for result in makers])
            self.drafts.append(draft)
            self.context.outputs.append(SpecOutput(draft.name, path, makers[0], folder=True))

    def repositories(self, repos: dict[str, Path]) -> None:
        """Add the repositories of the project: the snapshot, and those that specs name."""
        main = self.release.config.repo_name
        treeish, place = self.treeish or ("", Place(Path(self.release.config.storedir)))
        for name in (main, *(name for name in {**repos, **self.context.repos} if name != main)):
            draft = EntryDraft("repos", name, "", place)
            draft.put("path", f"repos/{name}", place)
            if name == main:
                draft.put("main", True, place)
            snapshot = Path(
                self.release.config.storedir, "snapshots", f"{name}-{(treeish or 'x').replace('/', '-')}.sqfs"
            )
            path = repos.get(name) or self.context.repos.get(name) or snapshot
            self.folders[f"repos/{name}"] = path.absolute()
            self.drafts.append(draft)
        seen = [(name, place) for name in (main, *(name for name in repos if name != main))]
        for draft in self.drafts:
            if draft.table == "stages" and "profile" in draft.data:  # always set: specs never share their repositories
                own = [
                    (name, draft.places[("repos", number)]) for number, name in enumerate(draft.data.get("repos", []))
                ]
                draft.put("repos", [], place)
                draft.add("repos", [*seen, *own])

    def head(self) -> Table:
        """Return the top of the project file."""
        used = {
            name for draft in self.drafts for value in _texts(draft.data) for name in re.findall(r"\{(\w+)\}", value)
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
        if self.release.config.distdir:
            data["distfiles"] = {"folder": plain(str(Path(self.release.config.distdir).absolute()))}
        place = Place(self.release.members[0].spec.file, 1, 1) if self.release.members else Place(Path())
        return Table(data, {(): place}, {(): place})

    def _moment(self) -> datetime.datetime | None:
        """Return the time stamp of all results: the newest version_stamp (in catalyst-auto, the commit's time)."""
        stamps = [
            replace_tokens(result.member.spec.text("version_stamp"), self.tokens) for result in self.graph.results
        ]
        found = [_moment(match) for stamp in stamps for match in _MOMENT.finditer(stamp)]
        return max((moment for moment in found if moment), default=None)


def _file_name(result: SpecResult, tail: str | None) -> tuple[str, str]:
    """Return the name of a tarball and its suffix, which is empty if it is that of its compression (``tail``)."""
    plain_name, file = result.identity.rpartition("/")[2], result.artifacts[0].rpartition("/")[2]
    if tail and file.endswith(f".{tail}"):
        return file.removesuffix(f".{tail}"), ""
    if file.startswith(f"{plain_name}."):
        return plain_name, file.removeprefix(f"{plain_name}.")
    name, _, suffix = file.rpartition(".")
    return (name, suffix) if name else (file, "")


def _take_flags(draft: EntryDraft, source: EntryDraft) -> None:
    """Copy the settings that Catalyst writes to the make.conf of a result."""
    place = draft.places[("root",)]
    for setting in ("chost", "common_flags"):
        if setting in source.data:
            draft.put(setting, source.data[setting], place)
        elif setting in draft.data:
            del draft.data[setting]
    for name, value in source.data.get("make_conf", {}).items():
        draft.put(f"make_conf.{name}", value, place)


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
