"""``stagewright kinds``."""

from __future__ import annotations

import click

from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.stages.base import Stage
from stagewright.stages.registry import by_kind, kinds, summary

_WRITTEN = {
    "seeds": "[seeds.NAME] with a key",
    "stages": "[stages.NAME] with kind =",
    "tests": "[tests.NAME] with a key",
}


@click.command(name="kinds")
@click.argument("kind", required=False)
def command(kind: str | None) -> None:
    """List the kinds of seeds, stages and tests, or the settings of one KIND."""
    if kind:
        _settings(kind)
        return
    for table, how in _WRITTEN.items():
        print(how)
        for name, model in sorted(kinds()[table].items()):
            print(f"  {name:<16}{summary(model)}")


def _settings(kind: str) -> None:
    known = {name: model for name, model in by_kind().items() if model.table}
    if kind not in known:
        raise StagewrightError(Reason.UNKNOWN_KIND, f"unknown kind {kind!r}", hint=nearest(kind, known))
    model: type[Stage] = known[kind]
    print(f"{kind}: {summary(model)}\n")
    for name, info in model.model_fields.items():
        default = "required" if info.is_required() else f"default {_plain(info.get_default())}"
        print(f"  {name:<20}{default}")


def _plain(value: object) -> str:
    import json  # noqa: PLC0415

    from pydantic import BaseModel  # noqa: PLC0415

    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return "none" if data is None else json.dumps(data)
