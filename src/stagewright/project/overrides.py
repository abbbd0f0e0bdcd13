"""Values that one user or one run gives to a project: ``--set``, ``STAGEWRIGHT_VAR_*`` and ``stagewright.local.toml``.

They replace the version of the project and variables that it has; the local file may also have the tables that change
no result. A value of ``--set`` comes before one of the environment, and that before the local file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stagewright.errors import Place, Reason, StagewrightError, nearest
from stagewright.lazy_dataclass import dataclass
from stagewright.project.source import Source, read
from stagewright.project.tables import Problems, Table
from stagewright.project.wording import describe_value

LOCAL = "stagewright.local.toml"
"""Name of the file with the values of one user, which git ignores."""

PREFIX = "STAGEWRIGHT_VAR_"
"""Beginning of the names of environment variables that give values."""

VERSION = "version"
"""The name that stands for the version of the project."""

_TABLES = ("distfiles", "fetch", "limits")
"""Tables that the local file may have: they change neither results nor keys."""


@dataclass(frozen=True)
class Override:
    """A value, and where it comes from: ``--set``, the name of an environment variable, or a place in a file."""

    value: str
    origin: str
    place: Place | None = None


Overrides = Mapping[str, Override]
"""Values by the name of a variable, or ``version``."""


def parse_set(words: Iterable[str]) -> dict[str, Override]:
    """Return the values of ``--set``. Raises: USAGE."""
    found = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name.isidentifier():
            hint = "write --set NAME=VALUE, for example --set version=1.2"
            raise StagewrightError(Reason.USAGE, f"--set {word}: not NAME=VALUE", hint=hint)
        found[name] = Override(value, "--set")
    return found


def of_environment(environment: Mapping[str, str] | None = None) -> dict[str, Override]:
    """Return the values of the environment."""
    found = os.environ if environment is None else environment
    return {
        name.removeprefix(PREFIX): Override(value, name)
        for name, value in found.items()
        if name.startswith(PREFIX) and name != PREFIX
    }


def apply(head: Table, folder: Path, given: Overrides, problems: Problems) -> dict[str, Override]:
    """Put the values into the top of a project file. Return those that the project uses, with their origins.

    The local file in the folder is read, too.
    """
    local = read(folder / LOCAL) if (folder / LOCAL).exists() else None
    values = {**(_of_file(head, local, problems) if local else {}), **given}
    own = head.data.get("variables")
    known = [VERSION, *(own if isinstance(own, dict) else ())]
    used = {}
    for name, override in values.items():
        if name in known:
            _put(head, ("project" if name == VERSION else "variables"), name, override)
            used[name] = override
        else:
            start = "" if override.place else f"{override.origin}: "
            what = f"{start}this project has no variable {name!r}"
            hint = nearest(name, known)
            problems.append(StagewrightError(Reason.UNKNOWN_NAME, what, place=override.place, hint=hint))
    return used


def _put(head: Table, table: str, name: str, override: Override) -> None:
    found = head.data.get(table)
    if isinstance(found, dict):
        head.data[table] = {**found, name: override.value}
        head.places[(table, name)] = override.place or Place(Path(override.origin))


def _of_file(head: Table, local: Source, problems: Problems) -> dict[str, Override]:
    """Return the values of the local file, and put its tables into the top of the project."""
    found: dict[str, Override] = {}
    for key, data in local.data.items():
        path = (key,)
        if key in _TABLES and isinstance(data, dict):
            _merge(head, local, key, data)
        elif (key == "variables" and isinstance(data, dict)) or (
            key == "project" and isinstance(data, dict) and set(data) <= {VERSION}
        ):
            found |= {name: _override(local, (key, name), value, problems) for name, value in data.items()}
        else:
            what = f"{key!r} is not allowed in {LOCAL}"
            hint = f"it has only [project] version, [variables], {', '.join(f'[{name}]' for name in _TABLES)}"
            problems.append(StagewrightError(Reason.UNKNOWN_KEY, what, place=local.place(path, of_key=True), hint=hint))
    return found


def _override(local: Source, path: tuple[str, ...], value: Any, problems: Problems) -> Override:
    place = local.place(path)
    if not isinstance(value, str):
        what, hint = f"{path[-1]}: must be a text (found {describe_value(value)})", f'write {path[-1]} = "{value}"'
        problems.append(StagewrightError(Reason.INVALID_VALUE, what, place=place, hint=hint))
    return Override(str(value), f"{local.file.name}:{place.line}", place)


def _merge(head: Table, local: Source, table: str, data: Mapping[str, Any]) -> None:
    found = head.data.get(table)
    head.data[table] = {**(found if isinstance(found, dict) else {}), **data}
    for places, others in ((head.places, local.values), (head.keys, local.keys)):
        places.update({path: place for path, place in others.items() if path[0] == table})
