"""A release: specs from files, folders and the sets of catalyst-auto, with the configuration of all specs."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stagewright.catalyst.auto import AutoConf, Notice, looks_like_auto, read_auto
from stagewright.catalyst.catalyst_conf import CatalystConfig, read_config
from stagewright.catalyst.spec import Spec, read_spec
from stagewright.catalyst.spec_keys import PLACEHOLDERS, SpecKey, Target
from stagewright.catalyst.tokens import replace_spec_tokens
from stagewright.errors import Place, Reason, StagewrightError


@dataclass(frozen=True)
class Member:
    """A spec of a release and the names of its sets."""

    spec: Spec
    sets: tuple[str, ...] = ()
    optional: bool = False

    @functools.cached_property
    def target(self) -> Target | None:
        """Target of the spec, or None if it is unknown."""
        word = self.spec.text("target")
        return Target(word) if word in set(Target) else None

    @functools.cached_property
    def keys(self) -> Mapping[str, SpecKey]:
        """Valid keys of the spec by name, with the names of its kernels and packages in them."""
        found: dict[str, SpecKey] = {}
        for name, key in self.target.keys.items() if self.target else ():
            part = next((part for part in PLACEHOLDERS if part in name), None)
            names = [name.replace(part, word) for word in self.spec.words(PLACEHOLDERS[part])] if part else [name]
            found |= dict.fromkeys(names, key)
        return found


@dataclass
class Release:
    """All specs and settings of a release, with the errors and notices from reading them."""

    members: list[Member] = field(default_factory=list)
    config: CatalystConfig = field(default_factory=CatalystConfig)
    autos: list[AutoConf] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)  # given by the user, searched for files of other machines
    problems: list[StagewrightError] = field(default_factory=list)
    absent: list[StagewrightError] = field(default_factory=list)  # for specs that sets name and that do not exist
    clashes: list[StagewrightError] = field(default_factory=list)  # for specs that make the file of another tree's spec
    notices: list[Notice] = field(default_factory=list)
    unread: set[Path] = field(default_factory=set)  # files that are not specs

    @property
    def complete(self) -> bool:
        """True if sets list all specs of the release."""
        return any(auto.sets for auto in self.autos)

    @property
    def errors(self) -> list[StagewrightError]:
        """All errors of specs and configurations. Two trees may make the same file."""
        return [*self.problems, *self.absent]

    def without(self, files: Collection[Path]) -> Release:
        """Return the release without the specs in these files, and without the errors of specs."""
        kept = [member for member in self.members if member.spec.file not in files]
        specs = {member.spec.file for member in self.members} | self.unread
        problems = [problem for problem in self.problems if not (problem.place and problem.place.file in specs)]
        notices = [notice for notice in self.notices if notice.place.file not in files]
        return replace(self, members=kept, problems=problems, absent=[], clashes=[], notices=notices, unread=set())

    @functools.cached_property
    def kernel_configs(self) -> Mapping[str, Path]:
        """Files below the KCONFIG_DIRs by base name, as catalyst-auto finds them."""
        folders = [auto.kconfig_dir for auto in self.autos if auto.kconfig_dir]
        return {path.name: path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}


def read_release(paths: Sequence[Path], conf: Iterable[Path], given: Mapping[str, str]) -> Release:
    """Read a release. Errors are collected in its ``problems``.

    ``paths`` are specs and folders of specs, ``conf`` files of Catalyst and catalyst-auto, ``given`` the values of
    ``--set``.
    """
    release = Release()
    catalyst = []
    for file in conf:
        try:
            if looks_like_auto(file):
                release.autos.append(read_auto(file, given, release.problems, release.notices))
            else:
                catalyst.append(file)
        except StagewrightError as error:
            release.problems.append(error)
    release.config = read_config(catalyst, release.problems, release.notices)
    files = _of_sets(release)
    for path in paths:
        release.folders.append(path if os.path.isdir(path) else path.parent)  # noqa: PTH112
        for file in _below(path, release.problems):
            files.setdefault(Path(os.path.abspath(file)), (file, [], []))  # noqa: PTH100  keeps symbolic links
    if not files and not release.errors:
        hint = "name specs, folders of specs, or a catalyst-auto configuration with --conf"
        release.problems.append(StagewrightError(Reason.USAGE, "no specs given", hint=hint))
    for file, sets, optional in files.values():
        try:
            spec = read_spec(file)
        except StagewrightError as error:
            release.problems.append(error)
            release.unread.add(file)
            continue
        replace_spec_tokens(spec, given)
        release.members.append(Member(spec, tuple(sets), any(optional)))
    return release


_Files = dict[Path, tuple[Path, list[str], list[bool]]]


def _of_sets(release: Release) -> _Files:
    """Return the specs of all sets with the names of their sets, in the order in which catalyst-auto builds them."""
    files: _Files = {}
    for auto in release.autos:
        folder = auto.specs_dir or auto.file.parent
        release.folders.append(folder)
        for group in auto.sets:
            words = [(word, place, False) for word, place in group.specs]
            words += [(word, place, True) for word, place in group.optional]
            for word, place, optional in words:
                file = folder / word
                if not os.path.isfile(file):  # noqa: PTH113  pathlib raises for names that are too long
                    release.absent.append(_missing(f"set {group.name!r}: {file} not found", place))
                    continue
                key = Path(os.path.abspath(file))  # noqa: PTH100
                _, sets, kinds = files.setdefault(key, (file, [], []))
                sets.append(group.name)
                kinds.append(optional)
    return files


def _missing(message: str, place: Place) -> StagewrightError:
    return StagewrightError(Reason.MISSING_FILE, message, place=place, hint="correct the name, or SPECS_DIR")


def _below(path: Path, problems: list[StagewrightError]) -> list[Path]:
    if not os.path.isdir(path):  # noqa: PTH112
        return [path]
    found = sorted(file for file in path.rglob("*.spec") if file.is_file())
    if not found:
        hint = "name a folder with files that end in .spec"
        problems.append(StagewrightError(Reason.MISSING_FILE, "no specs found", place=Place(path), hint=hint))
    return found
