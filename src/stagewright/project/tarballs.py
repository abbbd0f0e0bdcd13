"""``tar`` of a stage: the stage and its tarball in one entry.

::

    [stages.base]
    kind = "stage3"
    root = "stage1"
    tar = true                          # or the settings of a tarball: tar = { compression = "xz" }

adds the entry ``[stages."base.tar"]`` of kind ``tarball`` with ``root = "base"``.
"""

from __future__ import annotations

from dataclasses import replace

from stagewright.errors import Reason, StagewrightError
from stagewright.project.tables import Problems, Table

SETTING = "tar"

KIND = "tarball"


def add_tarballs(stages: dict[str, Table], problems: Problems) -> dict[str, Table]:
    """Return the stages without ``tar``, each with the tarball that it asks for after it."""
    found: dict[str, Table] = {}
    for name, table in stages.items():
        data = {key: value for key, value in table.data.items() if key != SETTING}
        found[name] = replace(table, data=data)
        wanted = table.data.get(SETTING, False)
        if wanted is False:
            continue
        place = table.place((SETTING,))
        own = f"{name}.{SETTING}"
        if wanted is not True and not isinstance(wanted, dict):
            message = f"tar: must be true or a table (found {wanted!r})"
            hint = 'write tar = true, or the settings of the tarball: tar = { compression = "xz" }'
            problems.append(StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=hint))
        elif own in stages:
            message = f"stages.{own}: the name is used by an entry, and by tar of {name}"
            hint = "remove one of the two"
            problems.append(StagewrightError(Reason.DUPLICATE_NAME, message, place=place, hint=hint))
        elif fixed := {"kind", "root"} & (wanted.keys() if isinstance(wanted, dict) else set()):
            key = sorted(fixed)[0]
            message = f"tar.{key}: set by the stage"
            where = table.place((SETTING, key), of_key=True)
            problems.append(StagewrightError(Reason.UNKNOWN_KEY, message, place=where, hint="remove it"))
        else:
            found[own] = _tarball(name, table)
    return found


def _tarball(name: str, table: Table) -> Table:
    """Return the entry of a tarball."""
    wanted = table.data[SETTING]
    inner = table.subtable(SETTING)
    place = table.place((SETTING,))
    places = {(): place, ("root",): place, ("kind",): place, **inner.places}
    settings = wanted if isinstance(wanted, dict) else {}
    root = name.replace("{", "{{").replace("}", "}}")  # names are final, and values have variables
    return Table({"kind": KIND, "root": root, **settings}, places, {(): place, **inner.keys}, table.variables)
