"""The tables of a project that have no names below them: [project], [variables] and tables of plain values."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from stagewright.errors import Reason, StagewrightError
from stagewright.project.check import check_version
from stagewright.project.fields import Section
from stagewright.project.model import ProjectInfo
from stagewright.project.names import NAME
from stagewright.project.other_words import hint_for_key
from stagewright.project.tables import NAMED, PLAIN, Problems, Table, TextBudget, substitute
from stagewright.project.validate import validate
from stagewright.project.wording import describe_value

Model = TypeVar("Model", bound=Section)

_STAND_IN = "project"
"""Name of a project, or a version, if the given one is wrong: valid wherever a variable stands for it."""


def check_keys(head: Table, problems: Problems) -> bool:
    """Check the names of the keys at the top of the project file. Return True if no table is unknown."""
    unknown = False
    for key, value in head.data.items():
        if key in PLAIN:
            continue
        hint = hint_for_key(key, sorted({*PLAIN, *NAMED}), None)
        if key in ProjectInfo.model_fields and not isinstance(value, dict):
            hint = "write it below [project]"
        unknown |= isinstance(value, dict)
        place = head.place((key,), of_key=True)
        problems.append(StagewrightError(Reason.UNKNOWN_KEY, f"unknown key {key!r}", place=place, hint=hint))
    return not unknown


def project_info(head: Table, problems: Problems) -> ProjectInfo:
    """Return the table [project], with stand-ins for what is wrong."""
    given = head.data.get("project")
    found: dict[str, Any] = {}
    if isinstance(given, dict):
        validated = validate(ProjectInfo, head.subtable("project"), "project", problems)
        if validated.model:
            return validated.model
        found = validated.rest.data
    elif given is not None or not (ProjectInfo.model_fields.keys() & head.data.keys()):
        what = "[project] is missing" if given is None else f"project: must be a table (found {describe_value(given)})"
        name = given if isinstance(given, str) and re.fullmatch(NAME, given) else "..."
        reason = Reason.MISSING_KEY if given is None else Reason.INVALID_VALUE
        place, hint = head.place(("project",)), f'write [project] with name = "{name}"'
        problems.append(StagewrightError(reason, what, place=place, hint=hint))
    return ProjectInfo.model_validate({"name": _STAND_IN, **found})


def plain_table(
    model: type[Model], name: str, example: str, head: Table, variables: Mapping[str, str], problems: Problems
) -> Model:
    """Return a table of the project that contains values only, like ``example``; its defaults if it is invalid."""
    given = head.data.get(name, {})
    table = head.subtable(name)
    if not isinstance(given, dict):
        message, hint = f"{name!r} must be a table", f"write [{name}] with {example}"
        problems.append(StagewrightError(Reason.INVALID_VALUE, message, place=head.place((name,)), hint=hint))
        return model()
    table.data = substitute(given, variables, table, (), problems)
    return validate(model, table, f"table [{name}]", problems).model or model()


def variables_of(head: Table, info: ProjectInfo, epoch: int, problems: Problems, budget: TextBudget) -> dict[str, str]:
    """Return the built-in variables and those of [variables], with stand-ins for what is wrong."""
    day = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    known = {"date": day.strftime("%Y%m%d"), "name": info.name, "arch": info.arch}
    builtin = {*known, "version"}
    own = head.data.get("variables", {})
    for key, value in own.items() if isinstance(own, dict) else [("variables", own)]:
        place = head.place(("variables", key))
        if not isinstance(value, str):
            wanted = "text" if isinstance(own, dict) else "table"
            message = f"{key}: must be a {wanted} (found {describe_value(value)})"
            hint = f'write [variables] with {key if isinstance(own, dict) else "name"} = "value"'
            problems.append(StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=hint))
            known.setdefault(key, str(value))
        elif key in builtin:
            message, hint = f"variable {key!r} is built in and cannot be set", "choose another name"
            place = head.place(("variables", key), of_key=True)
            problems.append(StagewrightError(Reason.DUPLICATE_NAME, message, place=place, hint=hint))
        else:
            known[key] = substitute(value, known, head, ("variables", key), problems, budget)
    found = len(problems)
    version = substitute(info.version, known, head, ("project", "version"), problems)
    if len(problems) == found:
        check_version(version, head, problems)
    return {**known, "version": version if len(problems) == found else _STAND_IN}
