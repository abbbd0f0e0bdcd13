"""``stagewright schema``."""

from __future__ import annotations

import json

import click

from stagewright.kinds.registry import by_kind, kinds, summary
from stagewright.project.schema import schema


@click.command(name="schema")
def command() -> None:
    """Print the JSON schema of project files.

    Editors with support for TOML use it to complete and check stagewright.toml.

    \b
      stagewright schema > stagewright.schema.json
    """
    summaries = {name: summary(model) for name, model in by_kind().items()}
    print(json.dumps(schema(kinds(), summaries), indent=2))
