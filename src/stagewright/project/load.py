"""Read a project: all files, all checks, all errors at once.

The caller gives the models of all kinds, so this package depends on none of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from stagewright.errors import Place, ProblemsError, Reason, StagewrightError, misspelt, nearest
from stagewright.project import overrides
from stagewright.project.check import (
    Unfinished,
    check_entries,
    check_paths,
    check_repos,
    check_services,
    doubtful_names,
)
from stagewright.project.fields import UNKNOWN, ProjectFile, Section, marked_values
from stagewright.project.head import check_keys, plain_table, project_info, variables_of
from stagewright.project.inferred import infer
from stagewright.project.limits import NodeLimits
from stagewright.project.lock import Lock
from stagewright.project.matrix import expand
from stagewright.project.model import (
    FILE_NAME,
    FORMAT,
    Checked,
    DistfilesTable,
    Entry,
    FetchTable,
    FileLocations,
    Project,
    Repo,
    epoch_of,
)
from stagewright.project.other_words import OfKind, hint_for_key, meant_key
from stagewright.project.overrides import Overrides
from stagewright.project.source import Source, read
from stagewright.project.tables import (
    NO_VARIABLE,
    PLAIN,
    Problems,
    Reader,
    Table,
    TextBudget,
    read_tables,
    resolve_extends,
    substitute,
)
from stagewright.project.tarballs import add_tarballs
from stagewright.project.validate import mentions, validate
from stagewright.project.wording import nearest_word
from stagewright.untrusted import is_utf8

if TYPE_CHECKING:
    from stagewright.project.part import Part

Kinds = Mapping[str, Mapping[str, type[Section]]]
"""Models by table and kind. A stage has its kind as a value (``kind = "stage4"``). In a seed or test, the name of a
setting is the kind (``bootstrap = "debian"``). Releases have one kind."""

Model = TypeVar("Model", bound=Section)

MATRIX_TABLES = ("seeds", "stages", "tests", "releases")
"""Tables whose entries may have a ``matrix``."""

IMPLIED = {"releases": "release"}
"""The kind of the entries of tables that have only one kind, by table."""


def find(start: Path) -> Path:
    """Return the project folder: ``start`` or the nearest parent folder with a project file.

    Raises ``NO_PROJECT`` if none has one.
    """
    start = start.absolute()
    for folder in [start, *start.parents]:
        if os.path.isfile(folder / FILE_NAME):  # noqa: PTH113  pathlib raises without permission to look
            return folder
    hint = "change to a project folder, or name one with -C DIR; stagewright init starts a new project"
    with contextlib.suppress(OSError):
        near = misspelt(FILE_NAME, [path.name for path in start.iterdir() if path.is_file()])
        hint = f"rename {start / near}" if near else hint
    raise StagewrightError(Reason.NO_PROJECT, f"{FILE_NAME} not found in {start} or its parent folders", hint=hint)


def load(
    folder: Path,
    kinds: Kinds,
    trees: Path | None = None,
    lock: Path | None = None,
    *,
    lenient: bool = False,
    given: Overrides | None = None,
    wanted: Sequence[str] = (),
) -> Project:
    """Read the project in a folder. Raises :class:`ProblemsError` with all errors, USAGE if its path is not UTF-8.

    ``trees`` is the store's folder of fetched repository trees. Trees that are not fetched yet are not checked.
    ``lock`` is another file of pins than ``stagewright.lock`` in the folder. ``lenient`` is as in
    :func:`project_from_tables`. ``given`` replaces variables and the version (project/overrides.py).

    ``wanted`` are names or node ids of entries. Of a large project without errors in them, only these entries and those
    that they need are read then (project/part.py).
    """
    folder = folder.absolute()
    if not is_utf8(folder):  # workers and records get it as JSON
        message = f"the path of the project is not UTF-8 (found {os.fsencode(folder)!r})"
        raise StagewrightError(Reason.USAGE, message, hint="rename the folder")

    def load_with(reader: Reader) -> Project:
        return _load(folder, kinds, reader, trees, lock, lenient=lenient, given=given or {})

    if wanted and (part := _part_for(folder / FILE_NAME, wanted)):
        with contextlib.suppress(StagewrightError):  # the whole project has all errors
            project = load_with(part.read)
            found = all(any(entry.is_named(word) for entry in project.all_entries()) for word in wanted)
            if found and not project.entries.get("releases"):  # a release can concern entries that it does not name
                return project
    return load_with(read)


def _part_for(file: Path, wanted: Sequence[str]) -> Part | None:
    from stagewright.project.part import part_for  # noqa: PLC0415  only large projects need its expressions

    return part_for(file, wanted)


def _load(
    folder: Path,
    kinds: Kinds,
    reader: Reader,
    trees: Path | None,
    lock: Path | None,
    *,
    lenient: bool,
    given: Overrides,
) -> Project:
    main = reader(folder / FILE_NAME)
    problems: Problems = []
    head, named = read_tables(main, folder, problems, PLAIN, reader)
    is_complete = all(problem.reason is Reason.DUPLICATE_NAME or meant_key(problem.hint) for problem in problems)
    is_complete &= check_keys(head, problems)
    _check_format(main, head, problems)
    used = overrides.apply(head, folder, given, problems)
    files = FileLocations(folder)
    try:
        project = project_from_tables(head, named, files, kinds, problems, trees=trees, lock=lock, lenient=lenient)
    except ProblemsError as error:
        raise error if is_complete else _without_names(error) from error
    return replace(project, given=used)


def _without_names(error: ProblemsError) -> ProblemsError:
    """Return the errors of a project that lacks a table or a file, without names that may be defined there."""
    return ProblemsError(problem for problem in error.problems if problem.reason is not Reason.UNKNOWN_NAME)


def project_from_tables(
    head: Table,
    named: dict[str, dict[str, Table]],
    files: FileLocations,
    kinds: Kinds,
    problems: Problems,
    *,
    trees: Path | None = None,
    lenient: bool = False,
    lock: Path | None = None,
) -> Project:
    """Return the project that plain tables describe. ``problems`` are the errors from reading these tables.

    ``named`` must have all tables of ``NAMED``; ``trees`` is as in :func:`load`. With ``lenient``, missing files are
    listed in ``missing`` of the project and not reported as errors. Raises :class:`ProblemsError` with all errors.
    """
    missing: Problems = [] if lenient else problems
    pins = Lock.read(lock) if lock else Lock.load(files.folder)
    info = project_info(head, problems)
    epoch = epoch_of(info.source_date_epoch) if info.source_date_epoch is not None else pins.epoch
    budget = TextBudget()
    variables = variables_of(head, info, epoch, problems, budget)
    info = info.model_copy(update={"version": variables["version"]})
    _resolve(named, variables, problems, budget)
    infer(named, head, kinds)
    sections = _named_sections(named, files, problems, missing)
    unfinished: list[Unfinished] = []
    entries = {
        name: _entries(name, named[name], models, problems, unfinished)
        for name, models in kinds.items()
        if name in named
    }
    tables = _plain_tables(head, variables, problems)
    check_entries(entries, unfinished, named, files, problems, missing)
    project = Project(
        files,
        info,
        epoch,
        variables,
        entries=entries,
        lock=pins,
        trees=trees,
        repo_places={name: _repo_place(repo, named["repos"][name]) for name, repo in sections["repos"].items()},
        missing=tuple(_unique(missing)) if lenient else (),
        **sections,
        **tables,
    )
    _check_project(project, head, named, problems)
    return project


def _named_sections(
    named: dict[str, dict[str, Table]], files: FileLocations, problems: Problems, missing: Problems
) -> dict[str, Any]:
    """Return the sections of a project that describe no nodes, by the name of their field."""
    repos = _sections(Repo, named["repos"], "repository", files, problems, missing)
    unknown = Repo(path=UNKNOWN)  # without a folder, packages are not looked up
    return {
        "repos": {name: repos.get(name, unknown) for name in named["repos"]},
        **{
            name: _sections(_model_of(name), named[name], label, files, problems, missing) if named[name] else {}
            for name, label in _RARE.items()
        },
    }


_RARE = {"binhosts": "binhost", "channels": "channel", "unreproducible": "difference", "remotes": "remote"}
"""Tables that few projects have, and the nouns for their entries. Their models are imported when they are used."""


def _model_of(table: str) -> type[Section]:
    from stagewright.project.top_level import TopLevelTables  # noqa: PLC0415

    model: type[Section] = get_args(TopLevelTables.model_fields[table].annotation)[1]
    return model


def _plain_tables(head: Table, variables: Mapping[str, str], problems: Problems) -> dict[str, Any]:
    """Return the tables of a project without names, by the name of their field."""
    return {
        "distfiles": plain_table(DistfilesTable, "distfiles", "mirrors = [...]", head, variables, problems),
        "fetch": plain_table(FetchTable, "fetch", "allow = [...]", head, variables, problems),
        "limits": plain_table(NodeLimits, "limits", 'timeout = "12h"', head, variables, problems),
    }


def _check_project(project: Project, head: Table, named: dict[str, dict[str, Table]], problems: Problems) -> None:
    """Check what needs the whole project. Raises :class:`ProblemsError` with all errors."""
    check_repos(project, named["repos"], problems)
    check_services(project, head, named["binhosts"], problems)
    for entry in project.all_entries():
        if isinstance(entry.model, Checked):
            errors = [error.at(entry.place(path)) for path, error in entry.model.check(project)]
            doubtful = doubtful_names(entry, project) if errors else ()  # it follows all references
            problems.extend(error for error in errors if not mentions(error, doubtful))
    if problems:
        raise ProblemsError(_unique(problems))


def _resolve(
    named: dict[str, dict[str, Table]], variables: Mapping[str, str], problems: Problems, budget: TextBudget
) -> None:
    """Resolve ``extends`` and matrices, and replace variables, in place."""
    named["stages"] = resolve_extends(named["stages"], named["templates"], problems)
    for name in MATRIX_TABLES:
        named[name] = expand(named[name], name, named["templates"], problems)
    named["stages"] = add_tarballs(named["stages"], problems)
    for tables in (tables for name, tables in named.items() if name != "templates"):
        for table in tables.values():
            own = substitute(dict(table.variables), variables, table, ("matrix",), problems, budget)
            table.data = substitute(table.data, {**variables, **own}, table, (), problems, budget)


def _check_format(main: Source, head: Table, problems: Problems) -> None:
    """Check the format of the project file. Raises ``FORMAT`` if it is newer: its other errors are not known."""
    found = main.data.get("format")
    if found == FORMAT and isinstance(found, int) and not isinstance(found, bool):
        return
    place = main.place(("format",))
    if isinstance(found, int) and found > FORMAT and not isinstance(found, bool):
        message = f"format {found} is newer than this Stagewright, which reads format {FORMAT}"
        raise StagewrightError(Reason.FORMAT, message, place=place, hint="install a newer Stagewright")
    if found is None and "format" in head.subtable("project").data:
        return  # an unknown key there
    message = "`format` is missing" if found is None else f"format {found!r} is not supported"
    hint = f"write `format = {FORMAT}` at the top"
    problems.append(StagewrightError(Reason.FORMAT, message, place=place, hint=hint))


def _repo_place(repo: Repo, table: Table) -> Place:
    """Return the place of the key that selects a repository's state, or else of its origin."""
    which = next((name for name in ("ref", "tag", "commit", "date") if getattr(repo, name) is not None), repo.origin)
    return table.place((which,))


def _sections(
    model: type[Model],
    tables: Mapping[str, Table],
    label: str,
    files: FileLocations,
    problems: Problems,
    missing: Problems,
) -> dict[str, Model]:
    """Return the valid entries of a table that has no kinds."""
    found = {}
    for name, table in tables.items():
        validated = validate(model, table, label, problems)
        check_paths(marked_values(model, validated.rest.data, ProjectFile), files, validated.rest.place, missing)
        if validated.model:
            found[name] = validated.model
    return found


def _entries(
    table_name: str,
    tables: Mapping[str, Table],
    kinds: Mapping[str, type[Section]],
    problems: Problems,
    unfinished: list[Unfinished],
) -> dict[str, Entry]:
    """Return the entries of a table. Entries with too many errors for a model are appended to ``unfinished``."""
    entries = {}
    for name, table in tables.items():
        kind = _kind(table_name, name, table, kinds, problems)
        if kind is None:
            continue
        data = {key: value for key, value in table.data.items() if not (table_name == "stages" and key == "kind")}
        label = f"{kind} stage" if table_name == "stages" else table_name[:-1]
        others = kinds if table_name == "stages" else {}
        found = validate(kinds[kind], replace(table, data=data), label, problems, OfKind(kind, others))
        places = {**found.rest.keys, **found.rest.places}
        if found.model:
            entries[name] = Entry(name, table_name, kind, found.model, places, found.unchecked)
        else:
            unfinished.append(Unfinished(name, table_name, kinds[kind], found.rest))
    return entries


def _kind(
    table_name: str, name: str, table: Table, kinds: Mapping[str, type[Section]], problems: Problems
) -> str | None:
    if table_name in IMPLIED:
        return IMPLIED[table_name]
    if table_name != "stages":
        found = [kind for kind in kinds if kind in table.data]
        if len(found) == 1:
            return found[0]
        known, given = ", ".join(sorted(kinds)), " and ".join(sorted(found)) or "none"
        message = f"{table_name[:-1]} {name} needs exactly one of the keys {known} (found {given})"
        near = {key: nearest_word(key, list(kinds)) for key in table.data}
        key = next((key for key, hint in near.items() if hint.startswith("did")), None) if not found else None
        place = table.place((key,) if key else (), of_key=True)
        hint = near[key] if key else f"write exactly one of them: it is the kind of the {table_name[:-1]}"
        problems.append(StagewrightError(Reason.UNKNOWN_KIND, message, place=place, hint=hint))
        return None
    kind = table.data.get("kind")
    if isinstance(kind, str) and kind in kinds:
        return kind
    if kind is None and table.is_partial:
        return None
    if kind is None:
        other = next((key for key in table.data if meant_key(hint_for_key(key, ["kind"], None)) == "kind"), None)
        place = table.place((other,) if other else (), of_key=True)
        hint = "did you mean 'kind'?" if other else f"add kind = one of {', '.join(sorted(kinds))}"
        inner = next((key for key, value in table.data.items() if isinstance(value, dict) and "kind" in value), None)
        if inner:
            hint = f'a name with a dot needs quotes: [stages."{name}.{inner}"]'
        problems.append(StagewrightError(Reason.MISSING_KEY, f"stage {name} has no kind", place=place, hint=hint))
    else:
        place, hint = table.place(("kind",)), nearest(str(kind), kinds)
        problems.append(StagewrightError(Reason.UNKNOWN_KIND, f"unknown kind {kind!r}", place=place, hint=hint))
    return None


def _unique(problems: Problems) -> Problems:
    """Remove repeated errors: a wrong value is reported again for each stage that inherits it.

    Errors with the same place and reason are the same error. But a table can lack several keys, and a text can name
    several unknown variables: their messages are compared, too.
    """
    several = (Reason.MISSING_KEY, Reason.UNKNOWN_NAME)
    seen: dict[tuple[Place | None, Reason, str], StagewrightError] = {}
    unknown = {problem.place for problem in problems if problem.message.startswith(NO_VARIABLE)}
    for problem in problems:
        if problem.place in unknown and not problem.message.startswith(NO_VARIABLE):
            continue  # the value has a variable without a value
        seen.setdefault((problem.place, problem.reason, problem.message if problem.reason in several else ""), problem)
    return list(seen.values())
