"""Checks across a project: references to entries, files, repositories, and cycles."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stagewright.errors import Place, Reason, StagewrightError, nearest
from stagewright.graph.node import Yields, circles, cycle_error
from stagewright.lazy_dataclass import dataclass
from stagewright.project.fields import UNKNOWN, ProjectFile, Ref, Section, marked, marked_values
from stagewright.project.forms import FORMS, Form
from stagewright.project.model import Entry, FileLocations, Project
from stagewright.project.names import NAME, NAME_HINT
from stagewright.project.source import KeyPath, setting_name
from stagewright.project.tables import Problems, Table
from stagewright.project.wording import article
from stagewright.untrusted import is_dir, is_file

Named = Mapping[str, Mapping[str, Table]]

Marked = Iterable[tuple[KeyPath, Any, str]]
"""Values that are marked: path, marker and value."""


@dataclass(frozen=True)
class Unfinished:
    """An entry with too many errors for a model: the class of the model, and the values that are not wrong."""

    name: str
    table: str
    model: type[Section]
    values: Table


def check_entries(
    entries: dict[str, dict[str, Entry]],
    unfinished: Iterable[Unfinished],
    named: Named,
    files: FileLocations,
    problems: Problems,
    missing: Problems,
) -> None:
    """Check names, references, files and cycles of all entries. Append errors to ``problems``.

    Errors about missing files are appended to ``missing``. Settings whose reference has an error become doubtful.
    """
    _check_names(named, problems)
    ambiguous = {name for name in named["seeds"] if name in named["stages"]}
    edges: dict[str, set[str]] = {}
    for table in entries.values():
        for entry in list(table.values()):
            references = marked(entry.model, Ref)
            own = f"{entry.table}.{entry.name}"
            edges[own], lost = _check_references(own, references, entry.place, entries, named, problems)
            table[entry.name] = replace(entry, doubtful=entry.doubtful | lost)
            check_paths(marked(entry.model, ProjectFile), files, entry.place, missing)
    for one in unfinished:
        place, data = one.values.place, one.values.data
        references = marked_values(one.model, data, Ref)
        own = f"{one.table}.{one.name}"
        edges[own], _ = _check_references(own, references, place, entries, named, problems)
        check_paths(marked_values(one.model, data, ProjectFile), files, place, missing)
    _check_cycles(edges, ambiguous, named, problems)


def doubtful_names(entry: Entry, project: Project) -> frozenset[str]:
    """Return the names of settings that are left out, of an entry and of all entries that it refers to."""
    found: frozenset[str] = frozenset()
    seen: set[str] = set()
    left = [entry]
    while left:
        one = left.pop()
        found |= one.doubtful
        for _, mark, value in marked(one.model, Ref):
            tables = (project.entries.get(table, {}) for table in mark.tables)
            other = next((table[value] for table in tables if value in table), None)
            if other and other.node_id not in seen:
                seen.add(other.node_id)
                left.append(other)
    return found


def check_version(version: str, head: Table, problems: Problems) -> None:
    """Check that the version is valid in file names."""
    if not re.fullmatch(NAME, version):
        message = f"project.version: {version!r} is not valid in file names"
        place = head.place(("project", "version"))
        problems.append(StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=NAME_HINT))


def check_services(project: Project, head: Table, tables: Mapping[str, Table], problems: Problems) -> None:
    """Check that fetch steps can reach the mirrors and binary package hosts that run on this computer.

    ``head`` has the tables without names, and ``tables`` those of the binary package hosts.
    """
    mirrors = enumerate(project.distfiles.mirrors)
    found = [(uri, head.place(("distfiles", "mirrors", number))) for number, uri in mirrors]
    found += [(host.uri, tables[name].place(("uri",))) for name, host in project.binhosts.items()]
    for uri, place in found:
        service = _local_service(uri)
        if service and service not in project.fetch.allow:
            message = f"{uri}: a service of this computer, which fetch steps cannot reach"
            hint = f'allow it: [fetch] with allow = ["{service}"]'
            problems.append(StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=hint))


def _local_service(uri: str) -> str:
    """Return the address and port of an address on the loopback interface, as ``fetch.allow`` names it, or ""."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(uri)
        address = ipaddress.ip_address("127.0.0.1" if parts.hostname == "localhost" else parts.hostname or "")
        if address.is_loopback:
            shown = f"[{address}]" if address.version == 6 else str(address)
            return f"{shown}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    return ""


def check_repos(project: Project, tables: Mapping[str, Table], problems: Problems) -> None:
    """Check that repositories have the names that the project gives them, and that their masters exist (PMS 4.3).

    Missing folders are already reported. Trees that are not fetched yet are checked after their fetch.
    """
    repos = project.repos
    for name, repo in repos.items():
        path = project.repo_path(name)
        if repo.path and not is_dir(path):
            continue
        for number, other in enumerate(repo.eclass_overrides):
            if other not in tables:
                message = f"eclass_overrides.{number}: repository {other!r} not found"
                place = tables[name].place(("eclass_overrides", number))
                hint = nearest(other, tables)
                problems.append(StagewrightError(Reason.UNKNOWN_NAME, message, place=place, hint=hint))
        layout = layout_of(path)
        own = layout.get("repo-name") or _first_line(path / "profiles" / "repo_name")
        if own and own != name:
            place = tables[name].place((), of_key=True)
            where = repo.path or getattr(repo, repo.origin)
            message = f"repos.{name}: the repository in {where!r} has another name ({own!r})"
            problems.append(StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=f"write [repos.{own}]"))
        for master in layout.get("masters", "").split():
            if master not in tables:
                place = tables[name].place((), of_key=True)
                message = f"repos.{name}: its master repository {master!r} is missing in the project"
                hint = f"add [repos.{master}]"
                problems.append(StagewrightError(Reason.UNKNOWN_NAME, message, place=place, hint=hint))


def layout_of(repo: Path) -> dict[str, str]:
    """Return the settings in a repository's metadata/layout.conf."""
    path = repo / "metadata" / "layout.conf"
    lines = path.read_text(errors="replace", encoding="utf-8").splitlines() if is_file(path) else []
    pairs = (line.partition("#")[0].partition("=") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


def _first_line(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip() if is_file(path) else ""


def _check_names(named: Named, problems: Problems) -> None:
    for table_name, tables in named.items():
        for name, table in tables.items():
            if not re.fullmatch(NAME, name):
                problems.append(
                    StagewrightError(
                        Reason.INVALID_VALUE,
                        f"invalid name {name!r}",
                        place=table.place((), of_key=True),
                        hint=NAME_HINT,
                    )
                )
            earlier = next((other for other in _TARGETS[: _position(table_name)] if name in named[other]), None)
            if earlier:
                problems.append(
                    StagewrightError(
                        Reason.DUPLICATE_NAME,
                        f"{table_name}.{name}: the name is already used by {earlier}.{name} "
                        f"at {named[earlier][name].place((), of_key=True)}",
                        place=table.place((), of_key=True),
                        hint="rename one of the two: seeds, stages, tests and releases must have different names",
                    )
                )


_MOST_NAMES = 12
"""Most names that a hint lists."""


def _of_yield(mark: Ref, entries: Mapping[str, Mapping[str, Entry]]) -> str:
    """Return the hint with the entries that make what a reference needs."""
    tables = [entries.get(table, {}) for table in mark.tables]
    fitting = [name for table in tables for name, entry in table.items() if entry.model_yields and _fits(mark, entry)]
    if not fitting:
        kinds = "livecd-stage3 or diskimage-stage2" if mark.yields is Yields.ARTIFACT else "stage4"
        kinds = " or ".join(kind for form in mark.forms for kind in form.kinds) or kinds
        return f"add a stage of a kind such as {kinds}"
    return f"name one of {', '.join(fitting)}" if len(fitting) <= _MOST_NAMES else "name another stage"


def _fits(mark: Ref, entry: Entry | None) -> bool:
    """Return True if an entry makes what a reference needs, as far as this is known."""
    return not entry or not _mismatch(mark, entry)


def _mismatch(mark: Ref, entry: Entry) -> tuple[str, str] | None:
    """Return what a reference needs and what the entry makes instead; None if it fits, as far as this is known."""
    made = FORMS.get(entry.kind) if entry.table == "stages" else None
    forms = " or ".join(mark.forms).replace(" or a disk image", " or disk image")
    if mark.yields and getattr(entry.model, "yields", mark.yields) is not mark.yields:
        if mark.yields is Yields.LAYER:
            return "a root", "files"
        return forms or "files, such as an image", "a root"
    return (forms, str(made)) if mark.forms and made and made not in mark.forms else None


_TARGETS = ("seeds", "stages", "tests", "releases")
"""Tables whose names are targets of commands. Their names must differ from each other."""


def _position(table: str) -> int:
    return _TARGETS.index(table) if table in _TARGETS else 0


def _check_references(
    own: str,
    references: Marked,
    place: Callable[[KeyPath], Place],
    entries: Mapping[str, Mapping[str, Entry]],
    named: Named,
    problems: Problems,
) -> tuple[set[str], set[str]]:
    """Check the references of an entry, and append an error for each that is wrong.

    Return the entries that it refers to, as TABLE.NAME, and the names of settings with a wrong reference.
    """
    found, lost = set(), set()
    for path, mark, value in references:
        if value == UNKNOWN:
            continue
        table = next((table for table in mark.tables if value in named[table]), None)
        if table:
            found.add(f"{table}.{value}")
            target = entries.get(table, {}).get(value)
            if target and (mismatch := _mismatch(mark, target)):
                wanted, made = mismatch
                message = f"{setting_name(path)}: must name a stage that makes {wanted} ({value!r} makes {made})"
                hint = _other_test(path, value, target) or _of_yield(mark, entries)
                problems.append(StagewrightError(Reason.INVALID_VALUE, message, place=place(path), hint=hint))
                lost.add(str(path[0]))
            continue
        lost.add(str(path[0]))
        known = [
            name
            for table in mark.tables
            for name in named[table]
            if f"{table}.{name}" != own and _fits(mark, entries.get(table, {}).get(name))
        ]
        what = " or ".join(table[:-1] for table in mark.tables).replace("repo", "repository")
        message, hint = f"{setting_name(path)}: {what} {value!r} not found", nearest(value, known)
        other = next((table for table in _TARGETS if value in named[table]), None)
        if other:
            message = f"{setting_name(path)}: must name {article(what)} ({value!r} is {article(other[:-1])})"
            hint = f"name one of {', '.join(known)}" if 0 < len(known) <= _MOST_NAMES else f"name {article(what)}"
            hint = _of_yield(mark, entries) if mark.yields else hint
        if not known:
            hint = f"add {article(what)}, and name it here" if other else f"add [{mark.tables[0]}.{value}]"
        problems.append(StagewrightError(Reason.UNKNOWN_NAME, message, place=place(path), hint=hint))
    return found, lost


def _other_test(path: KeyPath, value: str, target: Entry) -> str:
    """Return the hint with the kind of test that starts what an entry makes; "" if the reference is not of a test."""
    made = FORMS.get(target.kind)
    tested_by = made.tested_by if made else ""
    tests = {form.tested_by for form in Form} - {""}
    return f'write {tested_by} = "{value}"' if tested_by and len(path) == 1 and path[0] in tests else ""


def check_paths(paths: Marked, files: FileLocations, place: Callable[[KeyPath], Place], problems: Problems) -> None:
    """Check that files and folders of the project exist and have the required type."""
    for path, mark, value in paths:
        target = files.path(value)
        if Path(value).is_absolute() or ".." in Path(value).parts:
            problem, hint = "is outside of the project", "copy or link it into the project"
        elif not os.path.exists(target):  # noqa: PTH110  pathlib raises for names that are too long
            problem, hint = "does not exist", _near_file(value, target)
        elif mark.folder is True and not is_dir(target):
            problem, hint = "is not a folder", "name the folder of the files"
        elif mark.folder is False and not is_file(target):
            problem, hint = "is not a file", "name one file"
        else:
            continue
        message = f"{setting_name(path)}: {value!r} {problem}"
        problems.append(StagewrightError(Reason.MISSING_FILE, message, place=place(path), hint=hint))


def _near_file(value: str, target: Path) -> str:
    """Return the hint for a file that does not exist: the file of its folder with the most similar name."""
    if value.startswith("~") or "$" in value:
        return "write a path in the project: ~ and variables of the shell have no meaning here"
    there: list[str] = []
    with contextlib.suppress(OSError):  # a folder that is missing, or that this user cannot read
        there = [str(Path(value).parent / found.name) for found in target.parent.iterdir()]
    hint = nearest(value, there)
    return hint if hint.startswith("did you mean") else f"create {target}, or write another path"


def _check_cycles(edges: Mapping[str, set[str]], ambiguous: Set[str], named: Named, problems: Problems) -> None:
    for way in circles(edges):
        table, _, name = way[0].partition(".")
        names = [step.partition(".")[2] for step in way]
        if not ambiguous.isdisjoint(names):
            continue  # the seed of this name can be meant
        problems.append(cycle_error(names, named[table][name].place((), of_key=True)))
