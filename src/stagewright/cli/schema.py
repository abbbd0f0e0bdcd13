"""``stagewright schema``."""

from __future__ import annotations

import json
from typing import Any

import click

from stagewright.kinds.common.manifest_schema import manifest_schema
from stagewright.kinds.registry import by_kind, kinds, summary
from stagewright.project.schema import schema
from stagewright.ui.event_schema import event_schema


def _project() -> dict[str, Any]:
    return schema(kinds(), {name: summary(model) for name, model in by_kind().items()})


SCHEMAS = {"project": _project, "events": event_schema, "manifest": manifest_schema}
"""The functions that return the schemas, by the word for them."""


@click.command(name="schema")
@click.argument("what", type=click.Choice(list(SCHEMAS)), default="project", metavar="[project|events|manifest]")
def command(what: str) -> None:
    """Print a schema of projects, events or manifests.

    Editors with support for TOML use that of project files to complete and check
    stagewright.toml. The others are for programs: `events` describes a line that
    `build --progress json` prints, `manifest` the manifest.json of an artifact.

    \b
      stagewright schema > stagewright.schema.json
      stagewright schema events
    """
    print(json.dumps(SCHEMAS[what](), indent=2))
