"""``stagewright kinds``."""

from __future__ import annotations

import json
from typing import Any

import click

from stagewright.cli.complete import complete_kinds
from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.kinds.common.base import Stage
from stagewright.kinds.registry import by_kind, kinds, origins, summary
from stagewright.project.describe import settings
from stagewright.project.limits import NodeLimits
from stagewright.ui.streams import document

_WRITTEN = {
    "seeds": "[seeds.NAME], with the key that names the kind",
    "stages": '[stages.NAME], with kind = "..."',
    "tests": "[tests.NAME], with the key that names the kind",
    "releases": "[releases.NAME]",
}

_COMMON = {"limits", *(f"limits.{name}" for name in NodeLimits.model_fields)}
"""Settings of every entry."""


@click.command(name="kinds")
@click.argument("kind", required=False, shell_complete=complete_kinds)
@click.option("--markdown", is_flag=True, help="Print the settings of all kinds in Markdown (docs/kinds.md).")
@click.option("--json", "as_json", is_flag=True, help="Print the kinds, or one of them, with all settings as JSON.")
def command(kind: str | None, markdown: bool, as_json: bool) -> None:
    """List all kinds of entries, or describe one.

    With a KIND, its settings are listed, with their defaults.

    \b
      stagewright kinds
      stagewright kinds stage4
    """
    if markdown:
        document(reference())
    elif as_json:
        models = [_model(kind)] if kind else [model for table in _WRITTEN for model in kinds()[table].values()]
        document(json.dumps([_as_data(model) for model in models], indent=2) + "\n")
    elif kind:
        _settings(kind)
    else:
        for table, how in _WRITTEN.items():
            print(how)
            for name, model in sorted(kinds()[table].items()):
                print(f"  {name:<18}{summary(model)}{_origin(name)}")


def reference() -> str:
    """Return the settings of all kinds in Markdown."""
    lines = [
        "# Kinds of seeds, stages, tests and releases",
        "",
        "Written by `stagewright kinds --markdown`; a test keeps it true.",
        "",
        "## Limits of every entry",
        "",
        "Every seed, stage and test can have these settings. `[limits]` sets them for the whole project, and",
        "`--limit NAME=VALUE` of a build for all its nodes. They are not part of keys.",
        "",
        "| setting | default | |",
        "|---|---|---|",
        *(f"| `limits.{item.name}` | {_code(item.default)} | {item.text} |" for item in settings(NodeLimits)),
    ]
    for table, how in _WRITTEN.items():
        lines += ["", f"## `{how.partition(',')[0]}`{''.join(how.partition(',')[1:])}"]
        for name, model in sorted(kinds()[table].items()):
            lines += ["", f"### {name}", "", summary(model)[:1].upper() + summary(model)[1:], ""]
            lines += ["| setting | default | |", "|---|---|---|"]
            own = (item for item in settings(model) if item.name not in _COMMON)
            lines += [f"| `{item.name}` | {_code(item.default)} | {item.text} |" for item in own]
    return "\n".join(lines) + "\n"


def _origin(kind: str) -> str:
    return f" ({origins()[kind]})" if kind in origins() else ""


def _code(default: str) -> str:
    return default if default in ("required", "none", "") else f"`{default}`"


def _model(kind: str) -> type[Stage]:
    known = {name: model for name, model in by_kind().items() if model.table}
    if kind not in known:
        raise StagewrightError(Reason.UNKNOWN_KIND, f"unknown kind {kind!r}", hint=nearest(kind, known))
    return known[kind]


def _as_data(model: type[Stage]) -> dict[str, Any]:
    """Return a kind with its settings for programs; ``default`` is as a project file has it, or "required"."""
    items = [{"name": item.name, "default": item.default, "text": item.text} for item in settings(model)]
    return {"kind": model.kind, "table": model.table, "summary": summary(model), "settings": items}


def _settings(kind: str) -> None:
    model = _model(kind)
    print(f"{kind}: {summary(model)}{_origin(kind)}\n")
    for item in settings(model):
        note = item.default if item.default in ("required", "") else f"default {item.default}"
        print(f"  {item.name}" + (f" ({note})" if note else ""))
        print(f"      {item.text}")
